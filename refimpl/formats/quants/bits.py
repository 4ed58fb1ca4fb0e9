"""Small integers packed into bytes: the two orders ggml uses, and how to undo them quickly.

*Striped*: a run of bytes is read field by field.  Field 0 (the lowest bits) of every byte of the
run comes first, then field 1 of every byte, and so on; one mask unpacks a whole run.

    run of 4 bytes, width 4:    byte   0     1     2     3
                                low    w0    w1    w2    w3
                                high   w4    w5    w6    w7

*In order*: field i of the string of bits is weight i, lowest bits first.  A table turns one byte
into all its fields at once.

Either way `at` leaves the fields at that bit of their bytes, ready to be joined with others by `|`.

>>> unpack_striped(np.array([[0x40, 0x51]], np.uint8), 4, run=2)
array([[0, 1, 4, 5]], dtype=uint8)
>>> unpack_in_order(np.array([[0x40, 0x51]], np.uint8), 4)
array([[0, 4, 1, 5]], dtype=uint8)
"""

from functools import cache
from math import gcd
from typing import Any

import numpy as np
from jaxtyping import Float32, Num, UInt8
from numpy import ndarray


def f32(x: Num[ndarray, "*n"]) -> Float32[ndarray, "*n"]:
    """Widened to float32 (NumPy would keep float16 * int8 in float16)."""
    return x.astype(np.float32)


def unpack_striped(
    packed: UInt8[ndarray, "n bytes"], width: int, *, run: int, at: int = 0
) -> UInt8[ndarray, "n weights"]:
    """The fields of `width` bits, striped over runs of `run` bytes.

    Works on words of up to eight bytes: what a shift carries into the next byte is masked away.
    """
    n, n_bytes = packed.shape
    words = as_words(packed, gcd(run, 8)).reshape(n, n_bytes // run, 1, run // gcd(run, 8))
    fields = [shift_right(words, place - at) for place in range(0, 8, width)]
    stripes = np.concatenate(fields, axis=2)
    stripes &= every_byte(((1 << width) - 1) << at, stripes.dtype)
    return stripes.view(np.uint8).reshape(n, n_bytes * 8 // width)


def pack_striped(
    fields: UInt8[ndarray, "n weights"], width: int, *, run: int
) -> UInt8[ndarray, "n bytes"]:
    """The inverse of `unpack_striped`."""
    n, n_fields = fields.shape
    n_bytes = n_fields * width // 8
    stripes = fields.reshape(n, n_bytes // run, 8 // width, run)
    places = np.arange(0, 8, width, dtype=np.uint8)[:, None]
    packed: ndarray = np.bitwise_or.reduce(stripes << places, axis=2)
    return packed.reshape(n, n_bytes)


def unpack_in_order(
    packed: UInt8[ndarray, "n bytes"], width: int, *, at: int = 0
) -> UInt8[ndarray, "n weights"]:
    """The fields of `width` bits, one after the other."""
    fields: ndarray = _fields_of_byte(width, at).take(packed)
    return fields.view(np.uint8)


def pack_in_order(fields: UInt8[ndarray, "n weights"], width: int) -> UInt8[ndarray, "n bytes"]:
    """The inverse of `unpack_in_order`: a run of one byte."""
    return pack_striped(fields, width, run=1)


@cache
def _fields_of_byte(width: int, at: int) -> ndarray:
    """[256]: all the fields of a byte, as one unsigned integer with one byte per field."""
    every = np.arange(256, dtype=np.uint8)[:, None]
    fields = every >> np.arange(0, 8, width, dtype=np.uint8) & np.uint8((1 << width) - 1)
    return wide(fields << np.uint8(at))


def wide(rows: ndarray) -> ndarray:
    """[n, k] bytes as [n] integers of k bytes: indexing then moves a whole row with one load."""
    return as_words(rows, rows.shape[1])[:, 0]


def as_words(rows: ndarray, size: int) -> ndarray:
    """[n, bytes] as [n, bytes / size] little-endian integers."""
    return np.ascontiguousarray(rows).view(f"<u{size}")


def shift_right(words: ndarray, by: int) -> ndarray:
    """words >> by, to the left where `by` is negative."""
    shifted: ndarray = words >> words.dtype.type(by) if by >= 0 else words << words.dtype.type(-by)
    return shifted


def every_byte(value: int, word: np.dtype) -> Any:
    """The word whose bytes all are `value`."""
    return np.frombuffer(bytes([value]) * word.itemsize, dtype=word)[0]
