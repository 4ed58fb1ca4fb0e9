"""A whole forward step, compiled: every layer, every token of the batch, on all threads at once.

It is `refimpl.model.forward` for the families that have rotation, gated feed-forward and RMSNorm,
with the same operations in the same places, on the same bits: a test holds the two together.  What
is gained is time between operations.  All threads run this function side by side.  Where one needs
what another made, they meet at a barrier, which costs a tenth of a microsecond.

Weights' formats are unknown here.  A `MATRIX` brings the addresses of its kernels along, and says
which packing of its input they read.

Shares: of a matrix, threads take runs of groups of 16 rows as they come free (`take`), since a
neighbour may have slowed one of them down; of what is done by row, each has a run of tokens.  Gate
and up have equally many rows, so a thread that has made some of both can join them at once.
"""

from typing import Any

import numpy as np
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
from backends.numba.compile import entry, jit, jit_call
from backends.numba.matmul import tile_width
from backends.numba.records import layers_at, model_at, product_at, step_at
from backends.numba.simd import i64, load_int, prefetch

F = np.float32
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


call_multiply, call_attend, call_read = caller(10), caller(4), caller(4)


@entry(3)
def step(address: int, thread: int, threads: int) -> None:
    """The job: logits of the plan's rows; of a part of a model, what it has of this."""
    one_step(address, thread, threads)


@jit_call
def one_step(address: int, thread: int, threads: int) -> None:
    s = step_at(address)
    m = model_at(s.model)
    layers = layers_at(m.layers, m.n_layers)
    if m.embedding.data != 0:
        embed(s, m, thread, threads)
    for i in range(m.n_layers):
        attention(address, s, m, layers[i], i, thread, threads)
        feed_forward(s, m, layers[i], thread, threads)
    if m.output.data != 0:
        logits(s, m, thread, threads)


@entry(3)
def attend_alone(address: int, thread: int, threads: int) -> None:
    """One layer's attention: store the new keys and values, then attend."""
    s = step_at(address)
    if s.cache.store != 0:
        call_attend(s.cache.store, (address, s.layer, thread, threads))
        barrier(s.barrier, threads)
    call_attend(s.cache.attend, (address, s.layer, thread, threads))


@entry(3)
def product(address: int, thread: int, threads: int) -> None:
    """One matrix times some rows."""
    p = product_at(address)
    taken = pack(p, p.x, p.x_bytes, p.n, p.matrix, p.matrix, p.matrix, thread, threads)
    multiply(p, p.matrix, taken, p.y, p.y_bytes, p.n, threads)


@jit
def share(n: int, thread: int, threads: int) -> Any:
    """A thread's part of n things."""
    return n * thread // threads, n * (thread + 1) // threads


@jit_call
def embed(s: Any, m: Any, thread: int, threads: int) -> None:
    b = s.buffers
    for t in range(*share(s.plan.n, thread, threads)):
        token = load_int(s.plan.tokens + 4 * t)
        x = b.x + t * b.dim_bytes
        call_read(m.read_row, (m.embedding.data, m.dim, np.int64(token), x))
        if m.embed_scale != 1.0:
            rows.scale_row(x, m.embed_scale, m.dim)
    barrier(s.barrier, threads)


@jit_call
def attention(
    address: int, s: Any, m: Any, layer: Any, i: int, thread: int, threads: int
) -> None:  # fmt: skip
    b, n = s.buffers, s.plan.n
    norm_rows(b.x, b.h, layer.attn_norm, n, m.dim, b.dim_bytes, m.eps, thread, threads)
    taken = pack(s, b.h, b.dim_bytes, n, layer.q, layer.k, layer.v, thread, threads)
    multiply(s, layer.q, taken, b.q, b.q_bytes, n, threads)
    multiply(s, layer.k, take(layer.k, threads), b.k, b.kv_bytes, n, threads)
    multiply(s, layer.v, take(layer.v, threads), b.v, b.kv_bytes, n, threads)
    barrier(s.barrier, threads)
    for pair in range(*share(n * m.kv_heads, thread, threads)):
        rotate_group(s, m, layer, pair // m.kv_heads, pair % m.kv_heads)
    call_attend(s.cache.store, (address, i, thread, threads))  # of the same tokens and heads
    barrier(s.barrier, threads)
    call_attend(s.cache.attend, (address, i, thread, threads))
    barrier(s.barrier, threads)
    taken = pack(s, b.a, b.q_bytes, n, layer.o, layer.o, layer.o, thread, threads)
    multiply(s, layer.o, taken, b.h, b.dim_bytes, n, threads)
    add_rows(s, m, layer.post_attn_norm, thread, threads)


@jit
def rotate_group(s: Any, m: Any, layer: Any, t: int, head: int) -> None:
    """A token's key/value head, and the query heads that read it."""
    b, group = s.buffers, m.heads // m.kv_heads
    q = b.q + t * b.q_bytes + 4 * head * group * m.head_dim
    k = b.k + t * b.kv_bytes + 4 * head * m.head_dim
    position = load_int(s.plan.positions + 4 * t)
    heads(q, group, m, layer, layer.q_norm, position)
    heads(k, 1, m, layer, layer.k_norm, position)


@jit
def heads(x: int, n: int, m: Any, layer: Any, norm: int, position: int) -> None:
    """Normalise (in some families) and rotate the heads of a token."""
    for h in range(n):
        head = x + 4 * h * m.head_dim
        if norm != 0:
            rows.rms_norm(head, norm, m.head_dim, m.eps, head)
        at = 4 * position * layer.pairs
        rows.rotate(head, layer.cos + at, layer.sin + at, layer.pairs, layer.interleaved)


@jit_call
def feed_forward(s: Any, m: Any, layer: Any, thread: int, threads: int) -> None:
    b, n = s.buffers, s.plan.n
    norm_rows(b.x, b.h, layer.ffn_norm, n, m.dim, b.dim_bytes, m.eps, thread, threads)
    first, last = pack(s, b.h, b.dim_bytes, n, layer.gate, layer.up, layer.up, thread, threads)
    while first < last:
        multiply_rows(s, layer.gate, b.gate, b.ffn_bytes, n, first, last)
        multiply_rows(s, layer.up, b.up, b.ffn_bytes, n, first, last)
        for t in range(n):
            row = t * b.ffn_bytes + 64 * first
            rows.glu_row(b.gate + row, b.up + row, 16 * (last - first), m.activation)
        first, last = take(layer.gate, threads)
    barrier(s.barrier, threads)
    taken = pack(s, b.gate, b.ffn_bytes, n, layer.down, layer.down, layer.down, thread, threads)
    multiply(s, layer.down, taken, b.h, b.dim_bytes, n, threads)
    add_rows(s, m, layer.post_ffw_norm, thread, threads)


@jit_call
def logits(s: Any, m: Any, thread: int, threads: int) -> None:
    """Of the rows that are wanted; they are moved to the front of `h` first."""
    b, n = s.buffers, s.plan.n_rows
    barrier(s.barrier, threads)
    for r in range(*share(n, thread, threads)):
        x = b.x + load_int(s.plan.rows + 4 * r) * b.dim_bytes
        rows.rms_norm(x, m.output_norm, m.dim, m.eps, b.h + r * b.dim_bytes)
    barrier(s.barrier, threads)
    taken = pack(s, b.h, b.dim_bytes, n, m.output, m.output, m.output, thread, threads)
    multiply(s, m.output, taken, s.logits, s.logits_bytes, n, threads)
    if m.logit_cap != 0.0:
        barrier(s.barrier, threads)
        first, last = share(m.output.groups, thread, threads)
        for r in range(n):
            row = s.logits + r * s.logits_bytes + 64 * first
            rows.cap_row(row, 16 * (last - first), m.logit_cap)


@jit_call
def norm_rows(
    x: int, h: int, weight: int, n: int, dim: int, row_bytes: int, eps: float,
    thread: int, threads: int,
) -> None:  # fmt: skip
    """h = norm(x), by tokens as `pack` shares them; no barrier: whoever packs has normed."""
    for t in range(*token_share(n, thread, threads)):
        rows.rms_norm(x + t * row_bytes, weight, dim, eps, h + t * row_bytes)


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


@jit_call
def add_rows(s: Any, m: Any, norm: int, thread: int, threads: int) -> None:
    """x += h, or x += norm(h) where the family has a norm there."""
    b, n = s.buffers, s.plan.n
    barrier(s.barrier, threads)
    for t in range(*token_share(n, thread, threads)):
        x, h = b.x + t * b.dim_bytes, b.h + t * b.dim_bytes
        if norm != 0:
            rows.rms_norm(h, norm, m.dim, m.eps, h)
        rows.add_row(x, h, m.dim)
