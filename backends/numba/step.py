"""A whole forward step, compiled: every layer, every token of the batch, on all threads at once.

It is `refimpl.model.forward` for the families that have rotation, gated feed-forward and RMSNorm,
with the same operations in the same places, on the same bits: a test holds the two together.  What
is gained is time between operations.  All threads run this function side by side.  Where one needs
what another made, they meet at a barrier, which costs a tenth of a microsecond.

Weights' formats are unknown here.  A `MATRIX` brings the addresses of its kernels along, and says
which packing of its input they read.

Shares: of a matrix, each thread takes a run of groups of 16 rows; of what is done by row, a run of
tokens.  Gate and up have equally many rows, so a thread that has made some of both can join them at
once.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from backends.numba import rows
from backends.numba.activations import FLOATS, Q8_0, Q8_K, pack_floats, pack_q8_0, pack_q8_k
from backends.numba.atomics import barrier
from backends.numba.compile import entry, jit, jit_call
from backends.numba.records import layers_at, model_at, product_at, step_at
from backends.numba.simd import floats, i64, load_float, load_int, store_floats, store_int

F = np.float32


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


call_multiply, call_attend, call_read = caller(10), caller(4), caller(6)


@entry(3)
def step(address: int, thread: int, threads: int) -> None:
    """The job: logits of the plan's rows; of a part of a model, what it has of this."""
    one_step(address, thread, threads)


@entry(3)
def greedy_steps(address: int, thread: int, threads: int) -> None:
    """The job: several steps, each after the tokens that the last one made most probable."""
    s = step_at(address)
    for i in range(s.n_steps):
        one_step(address, thread, threads)
        barrier(s.barrier, threads)
        if thread == 0:
            go_on(s, i)
        barrier(s.barrier, threads)


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
    pack(p, p.x, p.x_bytes, p.n, p.matrix, p.matrix, p.matrix, thread, threads)
    multiply(p, p.matrix, p.y, p.y_bytes, p.n, thread, threads)


@jit_call
def go_on(s: Any, i: int) -> None:
    """Choose a token for every sequence, and make the plan that of one token each.

    `refimpl.kv.plan.Plan.after`, in place: what is read of a sequence lies behind what was written
    of those before it.
    """
    p = s.plan
    for j in range(p.n_sequences):
        token = greatest(s.logits + j * s.logits_bytes, s.vocab)
        store_int(s.chosen + 4 * (j * s.n_steps + i), token)
        position = load_int(p.positions + 4 * load_int(p.rows + 4 * j)) + 1
        block, place = position // p.block_size, position % p.block_size
        if block < p.table_width:  # else this was the last step
            at = p.tables + 4 * (j * p.table_width + block)
            store_int(p.slots + 4 * j, load_int(at) * p.block_size + place)
        store_int(p.tokens + 4 * j, token)
        store_int(p.positions + 4 * j, position)
        store_int(p.rows + 4 * j, j)
        store_int(p.starts + 4 * j, j)
    store_int(p.starts + 4 * p.n_sequences, p.n_sequences)
    p.n = p.n_sequences


@jit
def greatest(row: int, n: int) -> int:
    """The place of the greatest of n floats, the first of equals (NaN counts as the greatest)."""
    best, found = load_float(row), 0
    for i in range(1, n):
        x = load_float(row + 4 * i)
        if not x <= best and best == best:
            best, found = x, i
    return found


@jit
def share(n: int, thread: int, threads: int) -> Any:
    """A thread's part of n things."""
    return n * thread // threads, n * (thread + 1) // threads


@jit_call
def embed(s: Any, m: Any, thread: int, threads: int) -> None:
    b = s.buffers
    scratch = b.scratch + thread * b.scratch_bytes
    for t in range(*share(s.plan.n, thread, threads)):
        token = load_int(s.plan.tokens + 4 * t)
        x = b.x + t * b.dim_bytes
        for i in range(0, b.dim_bytes, 64):
            store_floats(x + i, floats(F(0.0)))
        call_read(m.read_row, (m.embedding.data, m.dim, np.int64(token), x, m.identity, scratch))
        if m.embed_scale != 1.0:
            rows.scale_row(x, m.embed_scale, m.dim)
    barrier(s.barrier, threads)


@jit_call
def attention(
    address: int, s: Any, m: Any, layer: Any, i: int, thread: int, threads: int
) -> None:  # fmt: skip
    b, n = s.buffers, s.plan.n
    norm_rows(b.x, b.h, layer.attn_norm, n, m.dim, b.dim_bytes, m.eps, thread, threads)
    pack(s, b.h, b.dim_bytes, n, layer.q, layer.k, layer.v, thread, threads)
    multiply(s, layer.q, b.q, b.q_bytes, n, thread, threads)
    multiply(s, layer.k, b.k, b.kv_bytes, n, thread, threads)
    multiply(s, layer.v, b.v, b.kv_bytes, n, thread, threads)
    barrier(s.barrier, threads)
    for t in range(*share(n, thread, threads)):
        position = load_int(s.plan.positions + 4 * t)
        heads(b.q + t * b.q_bytes, m.heads, m, layer, layer.q_norm, position)
        heads(b.k + t * b.kv_bytes, m.kv_heads, m, layer, layer.k_norm, position)
    call_attend(s.cache.store, (address, i, thread, threads))  # of the same tokens
    barrier(s.barrier, threads)
    call_attend(s.cache.attend, (address, i, thread, threads))
    barrier(s.barrier, threads)
    pack(s, b.a, b.q_bytes, n, layer.o, layer.o, layer.o, thread, threads)
    multiply(s, layer.o, b.h, b.dim_bytes, n, thread, threads)
    add_rows(s, m, layer.post_attn_norm, thread, threads)


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
    pack(s, b.h, b.dim_bytes, n, layer.gate, layer.up, layer.up, thread, threads)
    multiply(s, layer.gate, b.gate, b.ffn_bytes, n, thread, threads)
    multiply(s, layer.up, b.up, b.ffn_bytes, n, thread, threads)
    first, last = share(layer.gate.groups, thread, threads)
    for t in range(n):
        row = t * b.ffn_bytes + 64 * first
        rows.glu_row(b.gate + row, b.up + row, 16 * (last - first), m.activation)
    barrier(s.barrier, threads)
    pack(s, b.gate, b.ffn_bytes, n, layer.down, layer.down, layer.down, thread, threads)
    multiply(s, layer.down, b.h, b.dim_bytes, n, thread, threads)
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
    pack(s, b.h, b.dim_bytes, n, m.output, m.output, m.output, thread, threads)
    multiply(s, m.output, s.logits, s.logits_bytes, n, thread, threads)
    if m.logit_cap != 0.0:
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
def wide_tokens(n: int) -> int:
    """How many of n tokens go in tiles of eight: all but one or two that are left over."""
    return n // 8 * 8 if n % 8 < 3 else n


@jit
def token_share(n: int, thread: int, threads: int) -> Any:
    """Whole tiles for every thread, so that nobody writes into another's."""
    wide = wide_tokens(n)
    tiles = (wide + 7) // 8
    first, last = 8 * (tiles * thread // threads), min(n, 8 * (tiles * (thread + 1) // threads))
    if thread == threads - 1:
        last = n
    return first, last


@jit_call
def pack(
    s: Any, x: int, row_bytes: int, n: int, a: Any, b: Any, c: Any, thread: int, threads: int
) -> None:
    """Rows of x as the matrices a, b and c read them (often all three the same)."""
    needed = (1 << a.packing) | (1 << b.packing) | (1 << c.packing)
    columns, wide, buffers = a.columns, wide_tokens(n), s.buffers
    scratch = buffers.scratch + thread * buffers.scratch_bytes
    for t in range(*token_share(n, thread, threads)):
        row = x + t * row_bytes
        width, place, first = 1, 0, t
        if t < wide:
            width, place, first = 8, t % 8, t // 8 * 8
        if needed & (1 << FLOATS):
            padded = (columns + 31) // 32 * 32
            out = buffers.floats + 4 * first * padded
            pack_floats(row, columns, padded, out, width, place)
        if needed & (1 << Q8_0):
            codes, scales, sums = packed_at(buffers.small, first, columns, 8)
            pack_q8_0(row, columns, codes, scales, sums, width, place, scratch)
        if needed & (1 << Q8_K):
            codes, scales, sums = packed_at(buffers.large, first, columns, 64)
            pack_q8_k(row, columns, codes, scales, sums, width, place, scratch)
    barrier(s.barrier, threads)


@jit
def packed_at(packed: Any, token: int, columns: int, columns_per_scale_byte: int) -> Any:
    """Where the codes, scales and sums of a tile begin whose first token is `token`."""
    return (
        packed.codes + token * columns,
        packed.scales + token * (columns // columns_per_scale_byte),
        packed.sums + token * (columns // 32 * 12),
    )


@jit
def packed_for(b: Any, matrix: Any, token: int) -> Any:
    """What a matrix reads, from a token on."""
    if matrix.packing == Q8_0:
        found = packed_at(b.small, token, matrix.columns, 8)
    elif matrix.packing == Q8_K:
        found = packed_at(b.large, token, matrix.columns, 64)
    else:
        padded = (matrix.columns + 31) // 32 * 32
        found = (b.floats + 4 * token * padded, 0, 0)
    return found


@jit_call
def multiply(s: Any, matrix: Any, y: int, y_bytes: int, n: int, thread: int, threads: int) -> None:
    """This thread's rows of y = W x + bias, for n packed tokens."""
    b = s.buffers
    first, last = share(matrix.groups, thread, threads)
    wide = wide_tokens(n)
    if wide:
        x, scales, sums = packed_for(b, matrix, 0)
        call_multiply(
            matrix.eight,
            (matrix.data, first, last, matrix.blocks, x, scales, sums, y, y_bytes, (wide + 7) // 8),
        )
    if wide < n:
        x, scales, sums = packed_for(b, matrix, wide)
        y_wide = y + wide * y_bytes
        call_multiply(
            matrix.one,
            (matrix.data, first, last, matrix.blocks, x, scales, sums, y_wide, y_bytes, n - wide),
        )
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
