"""The three small number formats inside MXFP4 and NVFP4: E2M1, E8M0 and E4M3 without a sign.

Sources: OCP Microscaling Formats (MX) 1.0, section 5.3; ggml_e8m0_to_fp32_half,
ggml_ue4m3_to_fp32 in ggml-impl.h (0.25).  The E2M1 values are doubled, which makes them integers,
and the scales halved.

>>> e8m0_halved()[[126, 127, 128]].tolist(), ue4m3_halved()[[0x38, 0x7E, 0x7F, 0xFF]].tolist()
([0.25, 0.5, 1.0], [0.5, 224.0, 0.0, 240.0])
"""

from functools import cache

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

E2M1_DOUBLED = np.array([0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12], dtype=np.int8)


@cache
def e8m0_halved() -> Float32[ndarray, "256"]:
    """2**(e - 128) for every byte; the first two are subnormal in float32, and exact."""
    return np.ldexp(np.float32(1), np.arange(256) - 128).astype(np.float32)


@cache
def ue4m3_halved() -> Float32[ndarray, "256"]:
    """Half of the E4M3 value of every byte, its top bit ignored."""
    byte = np.arange(256)
    exponent, mantissa = byte >> 3 & 15, byte & 7
    subnormal = np.ldexp(mantissa / 8, -6)
    normal = np.ldexp(1 + mantissa / 8, exponent - 7)
    value = np.where(exponent == 0, subnormal, normal) / 2
    value[0x7F] = 0
    return value.astype(np.float32)
