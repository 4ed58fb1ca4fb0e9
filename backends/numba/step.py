"""A whole forward step, compiled: every layer, every token of the batch, on all threads at once.

It is `refimpl.model.forward` for the families that have rotation, gated feed-forward and RMSNorm,
with the same operations in the same places, on the same bits: a test holds the two together.  What
is gained is time between operations.  All threads run this function side by side.  Where one needs
what another made, they meet at a barrier, which costs a tenth of a microsecond.

Weights' formats are unknown here, and who does which part of a product is settled in `shares`.
Gate and up have equally many rows, so a thread that has made some of both can join them at once.
"""

from typing import Any

import numpy as np

from backends.numba import rows
from backends.numba.atomics import barrier
from backends.numba.compile import entry, jit, jit_call
from backends.numba.records import layers_at, model_at, product_at, step_at
from backends.numba.shares import caller, multiply, multiply_rows, pack, share, take, token_share
from backends.numba.simd_memory import load_int

call_attend, call_read = caller(4), caller(4)


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
