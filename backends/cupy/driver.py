"""The one call of CUDA's driver that CuPy does not make: a launch that may begin early.

A kernel usually begins when the one before it has ended and its results are in memory: a gap of a
microsecond, ten times a layer.  On Hopper a launch can say that it may begin while the one before
still ends (programmatic dependent launch; CUDA programming guide, section 6.2.3.6).  Then the
kernel itself waits, when it comes to what the one before it wrote: `wait_for_previous` in
kernels/numbers.cuh.  What it does before, such as asking for its first weights, takes no time.

Captured into a graph, such a launch becomes an edge that says the same.
"""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from refimpl.errors import UnsupportedError

MAY_BEGIN_EARLY = 6  # CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION


class Attribute(ctypes.Structure):
    """CUlaunchAttribute: a union of 64 bytes, of which this one takes an int."""

    _fields_ = (
        ("id", ctypes.c_int),
        ("pad", ctypes.c_int),
        ("value", ctypes.c_int),
        ("rest", ctypes.c_int * 15),
    )


class Config(ctypes.Structure):
    """CUlaunchConfig."""

    _fields_ = (
        ("grid", ctypes.c_uint * 3),
        ("block", ctypes.c_uint * 3),
        ("shared", ctypes.c_uint),
        ("stream", ctypes.c_void_p),
        ("attributes", ctypes.POINTER(Attribute)),
        ("n_attributes", ctypes.c_uint),
    )


@dataclass(frozen=True)
class Large:
    """An argument of more than eight bytes: it is passed by value, from where it lies."""

    memory: Any
    address: int

    @classmethod
    def of_words(cls, n: int) -> "Large":
        """Room for n words, at a multiple of 64 bytes.

        >>> Large.of_words(16).address % 64
        0
        """
        memory = (ctypes.c_uint64 * (n + 8))()
        return cls(memory, -(-ctypes.addressof(memory) // 64) * 64)


EARLY = Attribute(id=MAY_BEGIN_EARLY, value=1)


@cache
def driver() -> Any:
    return ctypes.CDLL("libcuda.so.1")


def launch_early(
    function: int, grid: Sequence[int], threads: int, shared: int, stream: int, args: Sequence[Any]
) -> None:
    """cuLaunchKernelEx; `args` are arrays of the device, NumPy's scalars, and Large."""
    words = (ctypes.c_uint64 * len(args))(*(word(a) for a in args))
    start = ctypes.addressof(words)
    places = (ctypes.c_void_p * len(args))(
        *(a.address if isinstance(a, Large) else start + 8 * i for i, a in enumerate(args))
    )
    config = Config(
        grid=(*grid, *(1,) * (3 - len(grid))),
        block=(threads, 1, 1),
        shared=shared,
        stream=stream,
        attributes=ctypes.pointer(EARLY),
        n_attributes=1,
    )
    failed = driver().cuLaunchKernelEx(
        ctypes.byref(config), ctypes.c_void_p(function), places, None
    )
    if failed:
        raise UnsupportedError(f"CUDA's driver refused a launch: error {failed}")


def word(x: Any) -> int:
    """An argument's bytes, in the first bytes of eight.

    >>> word(np.int32(-1)) == 2**32 - 1, word(np.float32(1)) == 0x3F800000
    (True, True)
    """
    if isinstance(x, Large):
        return 0  # it lies elsewhere
    if isinstance(x, np.generic):
        return int.from_bytes(x.tobytes(), "little")
    return int(x.data.ptr)
