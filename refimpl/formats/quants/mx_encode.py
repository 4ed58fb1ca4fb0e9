"""How ggml makes MXFP4 and NVFP4: a scale from the largest magnitude, then the nearest E2M1 value.

Sources: quantize_row_mxfp4_ref, quantize_row_nvfp4_ref, best_index_mxfp4 in ggml-quants.c and
ggml_fp32_to_ue4m3 in ggml-impl.h (0.25).
"""

import numpy as np
from jaxtyping import Float32, UInt8
from numpy import ndarray

from refimpl.formats.quants.bits import pack_striped
from refimpl.formats.quants.encode import Fields, truncate
from refimpl.formats.quants.mx_values import E2M1_DOUBLED, e8m0_halved, ue4m3_halved

Importance = Float32[ndarray, "n weights"] | None


def nearest_e2m1(
    x: Float32[ndarray, "n group"], d: Float32[ndarray, "n"]
) -> UInt8[ndarray, "n group"]:
    """The index of the nearest value times d; of equally near ones, the first."""
    best = np.zeros(x.shape, dtype=np.uint8)
    least = np.abs(x)
    for i, value in enumerate(E2M1_DOUBLED.astype(np.float32)):
        error = np.abs(value * d[:, None] - x)
        better = error < least
        best[better] = i
        least = np.where(better, error, least)
    return best


def floor_log2(x: Float32[ndarray, "n"]) -> Float32[ndarray, "n"]:
    """floorf(log2f(x)).  Just below a power of two log2f rounds up to it, and so does this."""
    log2: ndarray = np.log2(x.astype(np.float64))
    return np.floor(log2.astype(np.float32))


def encode_mxfp4(x: Float32[ndarray, "n 32"], importance: Importance) -> Fields:
    """The power of two that puts the largest magnitude in [4, 8) (the largest E2M1 value is 6)."""
    largest = np.abs(x).max(axis=1)
    exponent = truncate(floor_log2(largest) + np.float32(125))
    e = np.where(largest > 0, exponent, 0).astype(np.uint8)
    return {"e": e, "qs": pack_striped(nearest_e2m1(x, e8m0_halved()[e]), 4, run=16)}


def to_ue4m3(x: Float32[ndarray, "n"]) -> UInt8[ndarray, "n"]:
    """The nearest unsigned E4M3, ties away from zero; from 248 on, ggml gives 0x7E (448) at once.

    Normal numbers: the bit after the mantissa decides, and a carry moves into the exponent.
    """
    clipped = np.minimum(x, np.float32(448))
    bits = clipped.view(np.uint32)
    normal = (bits >> np.uint32(20)) - np.uint32(120 << 3) + (bits >> np.uint32(19) & np.uint32(1))
    subnormal = np.minimum(truncate(clipped * np.float32(512) + np.float32(0.5)), 7)
    small = clipped < np.float32(2.0**-6)
    normal = np.where(normal < 0x78, normal, np.uint32(0x7E))
    return np.where(small, subnormal, normal).astype(np.uint8)


def encode_nvfp4(x: Float32[ndarray, "n 64"], importance: Importance) -> Fields:
    """The scale that takes the largest magnitude of each 16 to 6, the largest E2M1 value."""
    groups = x.reshape(-1, 16)
    d = to_ue4m3(np.abs(groups).max(axis=1) / np.float32(6))
    q = nearest_e2m1(groups, ue4m3_halved()[d])
    return {"d": d.reshape(-1, 4), "qs": pack_striped(q.reshape(-1, 64), 4, run=8)}
