"""Attention over a cache, outside a fused step: the kernel of `attention`, called for one layer.

The same code in the same order as inside a step, so that composed and fused models agree in every
bit.  PagedAttention: Kwon et al. 2023, section 4.1; the definition is `refimpl.kv.paged`.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float32, Integer
from numpy import ndarray

from backends.numba.attention import scratch_bytes
from backends.numba.cache import Cache
from backends.numba.memory import huge
from backends.numba.plans import CheckedPlan, checked_plan
from backends.numba.pool import Pool
from backends.numba.records import LAYER, MODEL, STEP
from backends.numba.runtime import padded
from backends.numba.step import attend_alone
from refimpl.errors import InputError
from refimpl.kv.plan import Plan

Heads = Float32[ndarray, "tokens heads head_dim"]


def attend(
    pool: Pool,
    cache: Cache,
    layer: int,
    plan: CheckedPlan,
    q: Heads,
    new: tuple[Heads, Heads] | None,
    options: Mapping[str, Any],
) -> Heads:
    """Queries q of a plan; `new` keys and values are stored first."""
    step, model, layers = np.zeros(1, STEP), np.zeros(1, MODEL), np.zeros(layer + 1, LAYER)
    n_heads, head_dim = q.shape[1:]
    if n_heads % cache.kv_heads or head_dim != cache.head_dim:
        raise InputError(f"queries {q.shape} do not fit {cache.kv_heads} heads of {cache.head_dim}")
    out = np.empty_like(q)
    sinks = options.get("sinks")
    held = None if sinks is None else np.ascontiguousarray(sinks, np.float32)
    record, memory = step[0], huge(pool.threads * padded(scratch_bytes(cache.width), 64) + 64)
    record["model"], record["layer"], record["barrier"] = model.ctypes.data, layer, pool.board
    record["cache"], record["plan"] = cache.record, plan.record
    buffers = record["buffers"]
    buffers["q"], buffers["q_bytes"] = q.ctypes.data, 4 * n_heads * head_dim
    buffers["a"] = out.ctypes.data
    buffers["kv_bytes"] = 4 * cache.kv_heads * head_dim
    buffers["scratch"] = memory.ctypes.data
    buffers["scratch_bytes"] = padded(scratch_bytes(cache.width), 64)
    if new is None:
        record["cache"]["store"] = 0
    else:
        buffers["k"], buffers["v"] = (x.ctypes.data for x in new)
    model[0]["layers"], model[0]["n_layers"] = layers.ctypes.data, len(layers)
    model[0]["heads"], model[0]["kv_heads"] = n_heads, cache.kv_heads
    model[0]["head_dim"] = head_dim
    model[0]["attn_scale"], model[0]["attn_cap"] = options["scale"], options.get("soft_cap") or 0.0
    layers[layer]["window"] = options.get("window") or 0
    layers[layer]["sinks"] = 0 if held is None else held.ctypes.data
    if len(q):
        pool.run(attend_alone, step.ctypes.data)
    return out


def attend_contiguous(
    pool: Pool,
    q: Heads,
    k: Float32[ndarray, "context kv_heads head_dim"],
    v: Float32[ndarray, "context kv_heads head_dim"],
    positions: Integer[ndarray, " tokens"],
    options: Mapping[str, Any],
) -> Heads:
    """The operation of `refimpl.ops`: keys and values in the order of their positions."""
    if k.shape != v.shape:
        raise InputError("keys and values of different lengths are not supported here")
    n = len(k)
    cache = Cache(
        kind="float32", n_layers=1, n_slots=padded(n, 16), block_size=16,
        kv_heads=k.shape[1], head_dim=k.shape[2],
    )  # fmt: skip
    contents = []
    for x in (k, v):
        wide = np.zeros((n, 1, k.shape[1], cache.width), np.float32)
        wide[:, 0, :, : k.shape[2]] = x
        contents.append(wide.view(np.uint32))
    cache.write(np.arange(n), contents)
    if len(q) and not 0 <= positions.min() <= positions.max() < n:
        raise InputError(f"a query's position lies outside its context of {n}")
    tokens = np.zeros(len(q), np.int32)
    plan = Plan(
        tokens=tokens,
        positions=positions.astype(np.int32),
        slots=tokens,
        context_lens=np.array([n], np.int32),
        block_tables=np.arange(-(-n // 16), dtype=np.int32)[None],
        seq_starts=np.array([0, len(q)], np.int32),
        rows=tokens,
        block_size=16,
    )
    return attend(pool, cache, 0, checked_plan(plan, tokens, cache), q, None, options)
