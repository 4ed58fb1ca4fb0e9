"""Signs of eight weights at a time, as the IQ2 and IQ3 formats store them.

A bit of 1 is a minus.  The `S` formats store all eight bits.  The `XXS` and `XS` formats store
seven and choose the quantised values so that the number of minus signs is even: the eighth bit is
the parity of the others (ksigns_iq2xs in ggml-common.h).

>>> apply_signs(np.array([[1, 2, 3, 4, 5, 6, 7, 8]], np.int8), ALL_SIGNS[[[0b11]]])
array([[-1, -2,  3,  4,  5,  6,  7,  8]], dtype=int8)
>>> apply_signs(np.array([[1, 2, 3, 4, 5, 6, 7, 8]], np.int8), EVEN_SIGNS[[[1]]])
array([[-1,  2,  3,  4,  5,  6,  7, -8]], dtype=int8)
"""

import numpy as np
from jaxtyping import Int8, UInt64
from numpy import ndarray

from refimpl.formats.quants.bits import wide


def _factors(bytes_: ndarray) -> UInt64[ndarray, "n"]:
    bits = np.unpackbits(bytes_[:, None], axis=1, bitorder="little")
    return wide(np.where(bits, np.int8(-1), np.int8(1)))


def with_parity(seven: ndarray) -> ndarray:
    """The byte whose eighth bit makes the number of ones even."""
    eight: ndarray = seven | (np.bitwise_count(seven) & 1) << 7
    return eight


ALL_SIGNS = _factors(np.arange(256, dtype=np.uint8))
"""[256]: eight factors -1 or 1 in one 64-bit word, for every byte of signs."""

EVEN_SIGNS = _factors(with_parity(np.arange(128, dtype=np.uint8)))
"""[128]: the same for seven stored bits."""


def apply_signs(
    magnitudes: Int8[ndarray, "n weights"], factors: UInt64[ndarray, "n groups"]
) -> Int8[ndarray, "n weights"]:
    signed: ndarray = magnitudes * factors.view(np.int8)
    return signed
