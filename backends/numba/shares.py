"""A matrix times the tokens of a batch, by all threads: who packs which, who multiplies which.

Of what is done by row of x, each thread has a run of tokens; of what is done by row of W, threads
take runs of groups of 16 rows as they come free (`take`), since a neighbour may have slowed one of
them down.  Weights' formats are unknown here: a `MATRIX` brings the addresses of its kernels along,
and says which packing of its input they read.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from backends.numba import rows
from backends.numba.activations import (
    FLOATS,
    HALVES,
    PAIRS,
    Q8_0,
    Q8_K,
    pack_floats,
    pack_halves,
    pack_pairs,
    pack_q8_0,
    pack_q8_k,
)  # fmt: skip
from backends.numba.atomics import barrier, fetch_add, read
from backends.numba.compile import jit, jit_call
from backends.numba.matmul import tile_width
from backends.numba.simd import i64
from backends.numba.simd_memory import prefetch

ASKED_BYTES = 1 << 18
"""Weights that fit a second-level cache beside all else."""


def caller(arity: int) -> Any:
    """Call compiled code by its address, with `arity` words."""

    @intrinsic
    def call(context: Any, function: Any, words: Any) -> Any:
        def generate(context: Any, b: Any, sig: Any, args: Any) -> Any:
            kind = ir.FunctionType(ir.VoidType(), [i64] * arity)
            values = [b.extract_value(args[1], i) for i in range(arity)]
            b.call(b.inttoptr(args[0], kind.as_pointer()), values)
            return context.get_dummy_value()

        return types.void(types.intp, types.UniTuple(types.intp, arity)), generate

    return call


call_multiply = caller(10)


@jit
def share(n: int, thread: int, threads: int) -> Any:
    """A thread's part of n things."""
    return n * thread // threads, n * (thread + 1) // threads


@jit
def token_share(n: int, thread: int, threads: int) -> Any:
    """Whole tiles for every thread, so that nobody writes into another's."""
    first, last = share((n + 7) // 8, thread, threads)
    return 8 * first, min(n, 8 * last)


@jit_call
def pack(
    s: Any, x: int, row_bytes: int, n: int, a: Any, b: Any, c: Any, thread: int, threads: int
) -> Any:
    """Rows of x as the matrices a, b and c read them (often all three the same).

    Returns the first rows of a that this thread is to multiply.  A thread that has no rows of x to
    pack asks for those meanwhile: so memory is read while nobody multiplies, too.
    """
    taken = take(a, threads)
    needed = (1 << a.packing) | (1 << b.packing) | (1 << c.packing)
    columns, buffers = a.columns, s.buffers
    scratch = buffers.scratch + thread * buffers.scratch_bytes
    padded = (columns + 31) // 32 * 32
    start, stop = token_share(n, thread, threads)
    if start >= stop:
        ask_for(a, taken)
    for t in range(start, stop):
        row = x + t * row_bytes
        place, first = t % 8, t // 8 * 8
        width = tile_width(n - first)
        if needed & (1 << FLOATS):
            out = buffers.floats + 4 * first * padded
            pack_floats(row, columns, padded, out, width, place)
        if needed & (1 << HALVES):
            out = buffers.halves + 4 * first * padded
            pack_halves(row, columns, padded, out, width, place, scratch)
        if needed & (1 << PAIRS):
            out = buffers.pairs + 2 * first * padded
            pack_pairs(row, columns, padded, out, width, place, scratch)
        if needed & (1 << Q8_0):
            codes, scales, sums = packed_at(buffers.small, first, columns, 8)
            pack_q8_0(row, columns, codes, scales, sums, width, place, scratch)
        if needed & (1 << Q8_K):
            codes, scales, sums = packed_at(buffers.large, first, columns, 64)
            pack_q8_k(row, columns, codes, scales, sums, width, place, scratch)
    barrier(s.barrier, threads)
    return taken


@jit
def ask_for(matrix: Any, taken: Any) -> None:
    """The beginning of the rows that this thread has taken, into its second-level cache."""
    first, last = taken
    size = min(ASKED_BYTES, (last - first) * matrix.group_bytes)
    for line in range(0, size, 64):
        prefetch(matrix.data + first * matrix.group_bytes + line)


@jit
def packed_at(packed: Any, token: int, columns: int, columns_per_scale_byte: int) -> Any:
    """Where the codes, scales and sums of a tile begin whose first token is `token`."""
    return (
        packed.codes + token * columns,
        packed.scales + token * (columns // columns_per_scale_byte),
        packed.sums + token * (columns // 32 * 12),
    )


@jit
def packed_for(b: Any, matrix: Any) -> Any:
    """What a matrix reads."""
    if matrix.packing == Q8_0:
        found = (b.small.codes, b.small.scales, b.small.sums)
    elif matrix.packing == Q8_K:
        found = (b.large.codes, b.large.scales, b.large.sums)
    elif matrix.packing == HALVES:
        found = (b.halves, 0, 0)
    elif matrix.packing == PAIRS:
        found = (b.pairs, 0, 0)
    else:
        found = (b.floats, 0, 0)
    return found


@jit
def take(matrix: Any, threads: int) -> Any:
    """Groups of rows that nobody has taken yet; an empty run when all are.

    Many at first, few at the end: threads that are not equally fast finish at nearly the same time,
    and the shared counter is rarely touched.
    """
    groups, left = matrix.groups, matrix.groups - read(matrix.taken)
    first = groups
    size = max(left // (2 * threads), min(matrix.least, (groups + threads - 1) // threads))
    if left > 0:
        first = fetch_add(matrix.taken, size)
    return min(first, groups), min(first + size, groups)


@jit_call
def multiply(
    s: Any, matrix: Any, taken: Any, y: int, y_bytes: int, n: int, threads: int
) -> None:  # fmt: skip
    """y = W x + bias for n packed tokens: the rows taken, then more as this thread takes them."""
    first, last = taken
    while first < last:
        multiply_rows(s, matrix, y, y_bytes, n, first, last)
        first, last = take(matrix, threads)


@jit_call
def multiply_rows(
    s: Any, matrix: Any, y: int, y_bytes: int, n: int, first: int, last: int
) -> None:  # fmt: skip
    """Groups first .. last - 1 of 16 rows."""
    x, scales, sums = packed_for(s.buffers, matrix)
    words = (matrix.data, first, last, matrix.blocks, x, scales, sums, y, y_bytes, n)
    call_multiply(matrix.multiply, words)
    if matrix.bias != 0:
        for t in range(n):
            row = 64 * first
            rows.add_row(y + t * y_bytes + row, matrix.bias + row, 16 * (last - first))
