"""What threads say to each other: words of memory that are read and written in one piece.

A cache line is 64 bytes; words that different threads write lie on lines of their own.
"""

import sys
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from backends.numba.compile import jit
from backends.numba.processor import X86
from backends.numba.simd import at, i32, i64

LINE = 64
SPINS = 4000
"""How often a thread looks before it lets others run: about 100 microseconds."""


@intrinsic
def fetch_add(context: Any, address: Any, by: Any) -> Any:
    """Add and return what was there before."""

    def generate(context: Any, b: Any, sig: Any, args: Any) -> Any:
        return b.atomic_rmw("add", at(b, args[0], i64), args[1], "seq_cst")

    return types.intp(types.intp, types.intp), generate


@intrinsic
def read(context: Any, address: Any) -> Any:
    """What another thread has written, and all that it wrote before."""

    def generate(context: Any, b: Any, sig: Any, args: Any) -> Any:
        return b.load_atomic(at(b, args[0], i64), "seq_cst", 8)

    return types.intp(types.intp), generate


@intrinsic
def write(context: Any, address: Any, value: Any) -> Any:
    def generate(context: Any, b: Any, sig: Any, args: Any) -> Any:
        b.store_atomic(args[1], at(b, args[0], i64), "seq_cst", 8)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp), generate


@intrinsic
def pause(context: Any) -> Any:
    """Tell the processor that this is a waiting loop."""

    def generate(context: Any, b: Any, sig: Any, args: Any) -> Any:
        if X86:
            kind = ir.FunctionType(ir.VoidType(), [])
            b.call(cgutils.get_or_insert_function(b.module, kind, "llvm.x86.sse2.pause"), [])
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def give_way(context: Any) -> Any:
    """Let another process have this core, if one wants it."""
    name = "SwitchToThread" if sys.platform == "win32" else "sched_yield"

    def generate(context: Any, b: Any, sig: Any, args: Any) -> Any:
        kind = ir.FunctionType(i32, [])
        b.call(cgutils.get_or_insert_function(b.module, kind, name), [])
        return context.get_dummy_value()

    return types.void(), generate


@jit
def wait_until_changed(address: int, value: int, most: int) -> int:
    """Spin, then yield, until the word is no longer `value`; at most `most` looks (0: for ever)."""
    looks = 0
    while read(address) == value:
        looks += 1
        if looks == most:
            return 0
        if looks > SPINS:
            give_way()
        else:
            pause()
    return 1


@jit
def barrier(board: int, threads: int) -> None:
    """Nobody goes on before everybody is here.

    Two words: how many have arrived, and how many times all have.  The last to arrive resets the
    first and moves the second, for which the others wait.
    """
    if threads > 1:
        times = read(board + LINE)
        if fetch_add(board, 1) == threads - 1:
            write(board, 0)
            write(board + LINE, times + 1)
        else:
            wait_until_changed(board + LINE, times, 0)
