"""Small integers packed into 32-bit words.

A row of words is one string of bits, lowest bit first, and value i is the `bits` bits from bit
i * bits on.  For 2, 4 and 8 bits a word holds whole values.  3 does not divide 32: every three
words hold 32 values, and two of them lie across a boundary between words:

    word 0                       word 1                           word 2
    | v0 | .. | v9 | v10 (low 2) | v10 (high) | v11 | .. | v21 (low) | v21 (high 2) | v22 | ..

>>> words = np.array([[0x7654_3210, -1]], dtype=np.int32)
>>> unpack_words(words, 4).tolist()
[[0, 1, 2, 3, 4, 5, 6, 7, 15, 15, 15, 15, 15, 15, 15, 15]]
>>> straddling = np.array([[0b01 << 30, 0b1, 0]], dtype=np.uint32).view(np.int32)
>>> unpack_words(straddling, 3)[0, 9:12].tolist()         # v10 = 0b1_01
[0, 5, 0]
"""

import numpy as np
from jaxtyping import Int32, UInt8
from numpy import ndarray

from refimpl.formats.quants.bits import unpack_in_order


def unpack_words(words: Int32[ndarray, "rows words"], bits: int) -> UInt8[ndarray, "rows values"]:
    """All the values of each row, which they fill."""
    packed = as_bytes(words)
    if 8 % bits:
        return unpack_eights(packed, bits)
    return unpack_in_order(packed, bits)


def unpack_eights(packed: UInt8[ndarray, "rows bytes"], bits: int) -> UInt8[ndarray, "rows values"]:
    """Values that do not divide a byte: eight of them are `bits` whole bytes, and one integer."""
    eights = np.zeros((len(packed), packed.shape[1] // bits, 8), np.uint8)
    eights[:, :, :bits] = packed.reshape(len(packed), -1, bits)
    strings = eights.view("<u8")  # [rows, eights, 1]
    places = np.arange(8, dtype=np.uint64) * np.uint64(bits)
    values = np.empty_like(eights)
    for k, place in enumerate(places):
        values[:, :, k] = (strings[:, :, 0] >> place) & np.uint64((1 << bits) - 1)
    return values.reshape(len(packed), -1)


def as_bytes(words: Int32[ndarray, "rows words"]) -> UInt8[ndarray, "rows bytes"]:
    """The words as they lie in the file, lowest byte first."""
    return np.ascontiguousarray(words, dtype="<i4").view(np.uint8)
