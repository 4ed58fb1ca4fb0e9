"""One number for all arrays: a header of addresses that compiled code reads.

Numba needs about a tenth of a microsecond to unpack each array argument, and a mask looks at two
dozen of them.  So the arrays stay where they are, their addresses stand in a header, and a call
passes the address of that.  `Header` keeps the arrays alive.

>>> header = Header(2)
>>> header[1] = np.array([5, 6], np.int32)
>>> int(second(header.address))
6
"""

from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic
from numpy import ndarray

from backends.numba.compile import jit_masks

_inline = jit_masks(inline="always")


class Header:
    """Arrays by place.  An array that was replaced must be put in again."""

    def __init__(self, size: int):
        self.arrays: list[Any] = [None] * size
        self.addresses = np.zeros(size, np.int64)
        self.address = address_of(self.addresses)

    def __setitem__(self, place: int, array: ndarray) -> None:
        if array is not self.arrays[place]:
            self.arrays[place] = array
            self.addresses[place] = address_of(array)

    def __getitem__(self, place: int) -> Any:
        return self.arrays[place]


def address_of(array: ndarray) -> int:
    """Where an array begins; a tenth of the time that `array.ctypes.data` takes."""
    interface = array.__array_interface__
    assert interface["strides"] is None, "compiled code reads arrays in one piece"
    return int(interface["data"][0])


class Growing:
    """Rows of integers, more and more of them; `array` has room for some yet to come."""

    def __init__(self, columns: int, kind: Any = np.int32):
        self.array: ndarray = np.zeros((16, columns), kind)
        self.size = 0

    def extend(self, rows: Any) -> int:
        """Puts rows at the end; the number of the first."""
        first, self.size = self.size, self.size + len(rows)
        while self.size > len(self.array):
            self.array = np.concatenate([self.array, np.zeros_like(self.array)])
        if len(rows):
            self.array[first : self.size] = rows
        return first

    def add(self, row: Any) -> int:
        return self.extend((row,))


def signed(words: list[int]) -> list[int]:
    """Words of 64 bits as int64 writes them."""
    return [w - (w >> 63 << 64) for w in words]


def _pointer_to(kind: Any) -> Any:
    def typed(typing: Any, address: Any) -> Any:
        return types.CPointer(kind)(types.int64), _to_pointer

    return intrinsic(typed)


def _to_pointer(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    return builder.inttoptr(args[0], context.get_value_type(signature.return_type))


_int64_at, _int32_at = _pointer_to(types.int64), _pointer_to(types.int32)
_uint64_at, _uint32_at = _pointer_to(types.uint64), _pointer_to(types.uint32)
_uint8_at = _pointer_to(types.uint8)


@_inline
def int64s(header: int, place: int) -> Any:
    return _int64_at(_int64_at(header)[place])


@_inline
def int32s(header: int, place: int) -> Any:
    return _int32_at(_int64_at(header)[place])


@_inline
def uint64s(header: int, place: int) -> Any:
    return _uint64_at(_int64_at(header)[place])


@_inline
def uint32s(header: int, place: int) -> Any:
    return _uint32_at(_int64_at(header)[place])


@_inline
def uint32s_at(address: int) -> Any:
    return _uint32_at(address)


@_inline
def uint8s(header: int, place: int) -> Any:
    return _uint8_at(_int64_at(header)[place])


@jit_masks()
def second(header: int) -> int:
    """The second number of the array at place 1, for the example above."""
    return int32s(header, 1)[1]
