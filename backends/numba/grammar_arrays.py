"""One number for all arrays: a header of addresses that compiled code reads.

Numba needs about a tenth of a microsecond to unpack each array argument, and a mask looks at two
dozen of them.  So the arrays stay where they are, their addresses stand in a header, and a call
passes the address of that.  `Header` keeps the arrays alive.

>>> header = Header(2)
>>> header[1] = np.array([5, 6], np.int32)
>>> int(second(header.address))
6
"""

import ctypes
import operator
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core.typing import signature
from numba.core.typing.templates import AbstractTemplate, infer_global
from numba.extending import intrinsic, lower_builtin, models, register_model
from numpy import ndarray

from backends.numba.compile import jit_masks_cached

_Bytes = ctypes.c_char * 0


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

    def copy(self) -> "Header":
        """Another one, of the same arrays so far."""
        other = Header(len(self.arrays))
        other.arrays[:], other.addresses[:] = self.arrays, self.addresses
        return other


def address_of(array: ndarray) -> int:
    """Where an array begins, in a third of the time that `array.ctypes.data` takes.

    The array must be writable and, as compiled code reads it, in one piece; others are refused.
    """
    return ctypes.addressof(_Bytes.from_buffer(array))  # type: ignore[arg-type]


class Growing:
    """Rows of integers, more and more of them; `array` has room for some yet to come."""

    def __init__(self, columns: int, kind: Any = np.int32):
        self.array: ndarray = np.zeros((16, columns), kind)
        self.size = 0

    def more(self, rows: int) -> int:
        """So many rows of zeros at the end; the number of the first."""
        first, self.size = self.size, self.size + rows
        while self.size > len(self.array):
            self.array = np.concatenate([self.array, np.zeros_like(self.array)])
        return first

    def extend(self, rows: Any) -> int:
        """Puts rows at the end; the number of the first."""
        first = self.more(len(rows))
        if len(rows):
            self.array[first : self.size] = rows
        return first

    def add(self, row: Any) -> int:
        n = self.more(1)
        self.array[n] = row
        return n


def signed(words: list[int]) -> list[int]:
    """Words of 64 bits as int64 writes them."""
    return [w - (w >> 63 << 64) for w in words]


class Words(types.Type):
    """Integers of one width somewhere in memory, read and written as int64.

    So whatever is done with them is compiled for int64 alone, not once for each width.
    """

    def __init__(self, dtype: Any):
        super().__init__(f"Words({dtype})")
        self.dtype = dtype


register_model(Words)(models.PointerModel)


@infer_global(operator.getitem)
class _Reading(AbstractTemplate):
    def generic(self, args: Any, kws: Any) -> Any:
        if isinstance(args[0], Words):
            return signature(types.int64, args[0], types.int64)
        return None


@infer_global(operator.setitem)
class _Writing(AbstractTemplate):
    def generic(self, args: Any, kws: Any) -> Any:
        if isinstance(args[0], Words):
            return signature(types.none, args[0], types.int64, types.int64)
        return None


@lower_builtin(operator.getitem, Words, types.int64)
def _read(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    words, place = args
    value = builder.load(builder.gep(words, [place]))
    return context.cast(builder, value, sig.args[0].dtype, types.int64)


@lower_builtin(operator.setitem, Words, types.int64, types.int64)
def _write(context: Any, builder: Any, sig: Any, args: Any) -> None:
    words, place, value = args
    value = context.cast(builder, value, types.int64, sig.args[0].dtype)
    builder.store(value, builder.gep(words, [place]))


def _words_of(dtype: Any) -> Any:
    """`words(header, place)`: the array at that place."""

    def typed(typing: Any, header: Any, place: Any) -> Any:
        return Words(dtype)(types.int64, types.int64), _load_address

    return intrinsic(typed)


def _load_address(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    header, place = args
    addresses = builder.inttoptr(header, ir.IntType(64).as_pointer())
    address = builder.load(builder.gep(addresses, [place]))
    unchanged = builder.module.add_metadata([])  # while a call runs: it need not be loaded again
    address.set_metadata("invariant.load", unchanged)
    return builder.inttoptr(address, context.get_value_type(sig.return_type))


int64s, int32s, uint32s, uint8s = map(
    _words_of, (types.int64, types.int32, types.uint32, types.uint8)
)


@intrinsic
def uint32s_at(typing: Any, address: Any) -> Any:
    """An array by its address."""

    def cast(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], context.get_value_type(sig.return_type))

    return Words(types.uint32)(types.int64), cast


@jit_masks_cached
def second(header: int) -> int:
    """The second number of the array at place 1, for the example above."""
    return int32s(header, 1)[1]
