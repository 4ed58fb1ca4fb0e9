"""The way back: a Python value as the bytes of a GGUF value.

What has a type keeps it (NumPy scalars and arrays).  A plain number takes the first type of UINT32,
INT32, UINT64, INT64 that holds it, or FLOAT32; a list takes the first that holds all its numbers.
An empty list is an empty array of strings: an empty array of numbers has a dtype, so pass that.

Invariant: reading what `encode(exact(v))` wrote gives `exact(v)`.

>>> exact(7), exact(-7), exact(2**40), exact([1, -1])
(np.uint32(7), np.int32(-7), np.uint64(1099511627776), array([ 1, -1], dtype=int32))
>>> encode(exact("hi"), "little").hex(" ", -4)
'08000000 02000000 00000000 6869'
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy import ndarray

from refimpl.errors import InputError
from refimpl.formats.gguf.cursor import ByteOrder
from refimpl.formats.gguf.values import MAX_DEPTH, NUMBERS, Exact, ValueType

TYPE_OF = {dtype: kind for kind, dtype in NUMBERS.items()}
INTEGERS = (np.uint32, np.int32, np.uint64, np.int64)


def exact(value: Any) -> Exact:
    """The value with a type for every number in it."""
    if isinstance(value, str):
        return value
    if isinstance(value, np.generic):
        return _known(value)
    if isinstance(value, bool | int | float):
        number: np.generic = _numbers([value])[0]
        return number
    if isinstance(value, ndarray):
        return _exact_array(value)
    if isinstance(value, list | tuple):
        return _exact_list(value)
    raise InputError(f"GGUF metadata cannot hold a {type(value).__name__}: {value!r}")


def _exact_array(array: ndarray) -> Exact:
    if array.dtype.kind in "UO":  # strings, or anything
        return exact(array.tolist())
    if array.ndim == 1:
        return _known(array)
    return exact(list(array) if array.ndim else array[()])


def _exact_list(values: Sequence[Any]) -> Exact:
    if all(isinstance(v, str) for v in values):
        return list(values)
    if all(isinstance(v, list | tuple | ndarray) for v in values):
        return [exact(v) for v in values]
    if all(isinstance(v, np.generic) for v in values) and len({v.dtype for v in values}) == 1:
        return _known(np.array(values))
    return _numbers(values)


def _known(value: np.generic | ndarray) -> Exact:
    if value.dtype.newbyteorder("=") in TYPE_OF:
        return value
    raise InputError(f"GGUF metadata has no {value.dtype}; use float32 or an integer type")


def _numbers(values: Sequence[Any]) -> ndarray:
    """Plain numbers, all in the first type that holds them all."""
    kinds = {type(v) for v in values}
    if kinds == {bool}:
        return np.array(values)
    if kinds == {int}:
        return np.array(values, _integer_type(min(values), max(values)))
    if kinds <= {int, float}:
        return _float32(values)
    names = ", ".join(sorted(kind.__name__ for kind in kinds))
    raise InputError(f"the elements of a GGUF array have one type, and here are several: {names}")


def _integer_type(low: int, high: int) -> type[np.integer[Any]]:
    for dtype in INTEGERS:
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return dtype
    raise InputError(f"GGUF has no integer type that holds both {low} and {high}")


def _float32(values: Sequence[int | float]) -> ndarray:
    try:
        with np.errstate(over="raise"):
            return np.array(values, np.float64).astype(np.float32)
    except (FloatingPointError, OverflowError):
        big = max(values, key=abs)
        raise InputError(f"{big} is too large for FLOAT32; to keep it pass np.float64") from None


def encode(value: Exact, byte_order: ByteOrder) -> bytes:
    """The type of an exact value, then the value."""
    return _type_of(value).to_bytes(4, byte_order) + _payload(value, byte_order, depth=0)


def encode_string(text: str, byte_order: ByteOrder) -> bytes:
    try:
        utf8 = text.encode()
    except UnicodeEncodeError as cause:
        raise InputError(f"{text!r} is not valid Unicode and cannot be stored: {cause}") from None
    return len(utf8).to_bytes(8, byte_order) + utf8


def _type_of(value: Exact) -> ValueType:
    if isinstance(value, str):
        return ValueType.STRING
    if isinstance(value, np.generic):
        return TYPE_OF[value.dtype]
    return ValueType.ARRAY


def _payload(value: Exact, byte_order: ByteOrder, depth: int) -> bytes:
    if isinstance(value, str):
        return encode_string(value, byte_order)
    if isinstance(value, np.generic):
        return _swapped(value, byte_order)
    if depth == MAX_DEPTH:
        raise InputError(f"arrays may be nested {MAX_DEPTH} deep, no deeper")
    if isinstance(value, ndarray):
        element = TYPE_OF[value.dtype.newbyteorder("=")]
        body = _swapped(value, byte_order)
    else:
        element = _type_of(value[0]) if value else ValueType.STRING
        body = b"".join(_payload(v, byte_order, depth + 1) for v in value)
    return element.to_bytes(4, byte_order) + len(value).to_bytes(8, byte_order) + body


def _swapped(numbers: np.generic | ndarray, byte_order: ByteOrder) -> bytes:
    array = np.asarray(numbers)  # a scalar has no byte order to set
    return array.astype(array.dtype.newbyteorder(byte_order)).tobytes()
