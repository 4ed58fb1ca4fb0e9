"""The values of GGUF's metadata: thirteen types, stepped over or read.

A value is read *exact*: a number is a NumPy scalar and an array of numbers a NumPy array, so that
their types are kept and writing them gives the same bytes again (`encode`).  `plain` then turns a
scalar into the bool, int or float that a program wants.  A string is a `str`, an array of strings a
`list[str]`, and an array of arrays a list.

Source: the GGUF specification (ggml, docs/gguf.md), `gguf_metadata_value_type`.

>>> from pathlib import Path
>>> from refimpl.formats.gguf.cursor import Source
>>> stored = bytes.fromhex("05000000 0200000000000000 ffffffff 07000000")    # int32[2]: -1, 7
>>> cursor = Cursor(Source(path=Path("x.gguf"), data=stored, byte_order="little"))
>>> describe(cursor, ValueType.ARRAY)
'INT32[2]'
>>> cursor.pos = 0
>>> read(cursor, ValueType.ARRAY)
array([-1,  7], dtype=int32)
"""

from collections.abc import Mapping
from enum import IntEnum
from typing import Any

import numpy as np
from jaxtyping import Shaped
from numpy import ndarray

from refimpl.formats.gguf.cursor import Cursor

Exact = np.generic | str | ndarray | list[Any]
Value = bool | int | float | str | ndarray | list[Any]


class ValueType(IntEnum):
    """What a value is; the numbers are those in the file."""

    UINT8 = 0
    INT8 = 1
    UINT16 = 2
    INT16 = 3
    UINT32 = 4
    INT32 = 5
    FLOAT32 = 6
    BOOL = 7
    STRING = 8
    ARRAY = 9
    UINT64 = 10
    INT64 = 11
    FLOAT64 = 12


NUMBERS: Mapping[ValueType, np.dtype] = {
    ValueType.UINT8: np.dtype(np.uint8),
    ValueType.INT8: np.dtype(np.int8),
    ValueType.UINT16: np.dtype(np.uint16),
    ValueType.INT16: np.dtype(np.int16),
    ValueType.UINT32: np.dtype(np.uint32),
    ValueType.INT32: np.dtype(np.int32),
    ValueType.FLOAT32: np.dtype(np.float32),
    ValueType.BOOL: np.dtype(np.bool_),
    ValueType.UINT64: np.dtype(np.uint64),
    ValueType.INT64: np.dtype(np.int64),
    ValueType.FLOAT64: np.dtype(np.float64),
}

MIN_BYTES: Mapping[ValueType, int] = {
    **{kind: dtype.itemsize for kind, dtype in NUMBERS.items()},
    ValueType.STRING: 8,  # its length
    ValueType.ARRAY: 12,  # its type and its count
}

MAX_DEPTH = 4  # of arrays in arrays; the specification sets no bound, models use one level


def read_type(cursor: Cursor) -> ValueType:
    start = cursor.pos
    code = cursor.u32()
    if code not in MIN_BYTES:
        raise cursor.source.error(start, f"value type {code}, which GGUF does not define")
    return ValueType(code)


def read_array_header(cursor: Cursor) -> tuple[ValueType, int]:
    """The type of the elements, and how many there are."""
    kind = read_type(cursor)
    return kind, cursor.count(f"elements of type {kind.name}", MIN_BYTES[kind])


def skip(cursor: Cursor, kind: ValueType, depth: int = 0) -> None:
    """Step over a value; what is decided here is only where it ends."""
    if kind is ValueType.STRING:
        cursor.skip_strings(1)
    elif kind is ValueType.ARRAY:
        _skip_array(cursor, depth + 1)
    else:
        cursor.take(NUMBERS[kind].itemsize)


def _skip_array(cursor: Cursor, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise cursor.error(f"arrays are nested more than {MAX_DEPTH} deep")
    kind, n = read_array_header(cursor)
    if kind is ValueType.STRING:
        cursor.skip_strings(n)
    elif kind is ValueType.ARRAY:
        for _ in range(n):
            _skip_array(cursor, depth + 1)
    else:
        cursor.take(n * NUMBERS[kind].itemsize)


def read(cursor: Cursor, kind: ValueType) -> Exact:
    """The exact value.  An array must have been stepped over before: that bounds its depth."""
    if kind is ValueType.STRING:
        return cursor.strings(1)[0]
    if kind is ValueType.ARRAY:
        return _read_array(cursor)
    number: np.generic = _read_numbers(cursor, kind, 1)[0]
    return number


def _read_array(cursor: Cursor) -> ndarray | list[Any]:
    kind, n = read_array_header(cursor)
    if kind is ValueType.STRING:
        return cursor.strings(n)
    if kind is ValueType.ARRAY:
        return [_read_array(cursor) for _ in range(n)]
    return _read_numbers(cursor, kind, n)


def _read_numbers(cursor: Cursor, kind: ValueType, n: int) -> Shaped[ndarray, "n"]:
    start = cursor.pos
    numbers = cursor.numbers(NUMBERS[kind], n)
    if kind is ValueType.BOOL and numbers.view(np.uint8).max(initial=0) > 1:
        raise cursor.source.error(start, "a bool that is neither 0 nor 1")
    return numbers


def describe(cursor: Cursor, kind: ValueType) -> str:
    """The type in words, with the length of an array, which is not read: `STRING[128256]`."""
    if kind is not ValueType.ARRAY:
        return kind.name
    element, n = read_array_header(cursor)
    return f"{element.name}[{n}]"


def plain(value: Exact) -> Value:
    """A scalar as bool, int or float; anything else as it is."""
    python: Value = value.item() if isinstance(value, np.generic) else value
    return python
