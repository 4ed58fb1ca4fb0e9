"""Attention of prompts on a GPU: warps that walk together over the keys give a warp's own bits."""

import ml_dtypes
import numpy as np
import pytest

from refimpl.kv.plan import Plan
from tests.device.test_cupy import HEADS, KV_HEADS, backend_or_skip
from tests.laws.engines import shapes_unchecked


@pytest.fixture(autouse=True)
def _weights_of_their_own():
    with shapes_unchecked():
        yield


@pytest.mark.parametrize("cache", ["float16", "bfloat16"])
@pytest.mark.parametrize(
    ("dim", "context", "window", "soft_cap", "spread"),
    [
        (64, 300, None, None, 0),
        (128, 700, None, None, 0),
        (128, 700, None, None, 12),
        (128, 700, 100, None, 0),
        (64, 300, None, 30.0, 0),
    ],
)
def test_a_prompts_attention_has_the_same_bits_when_warps_walk_together(
    monkeypatch, cache, dim, context, window, soft_cap, spread
):
    """`spread`: values lie so many powers of two apart, and so do weights: the sums of wgmma and of
    mma.sync must not differ in what they cut off."""
    backend = backend_or_skip(cache=cache)
    import cupy

    from backends.cupy import attention
    from backends.cupy.batch import Shape, put_plan

    rng = np.random.default_rng(0)
    counts, blocks = np.array([context, 130, 1]), -(-context // 16)
    half = np.float16 if cache == "float16" else ml_dtypes.bfloat16
    both = rng.standard_normal((2, 3 * blocks, KV_HEADS, 16, dim))
    both[1] *= 2.0 ** rng.integers(-spread, spread + 1, both[1].shape)
    keys, values = (cupy.asarray(x.view(np.uint16)) for x in both.astype(half))
    starts = np.array([0, *np.cumsum(counts)], np.int32)
    q = rng.standard_normal((int(starts[-1]), HEADS, dim)) * (1 + spread / 2)
    q = cupy.asarray(q.astype(np.float32))
    sinks = cupy.asarray(rng.standard_normal(HEADS).astype(np.float32))
    places = np.arange(starts[-1], dtype=np.int32)
    plan = Plan(
        tokens=places,
        positions=places,
        slots=places,
        block_size=16,
        context_lens=np.full(3, context, np.int32),
        block_tables=rng.permutation(3 * blocks).astype(np.int32).reshape(3, blocks),
        seq_starts=starts,
        rows=places[:1],
    )
    shape = Shape(heads=HEADS, kv_heads=KV_HEADS, dim=dim, cache=cache, block_size=16)
    outs = []
    for together in (lambda *args: True, lambda *args: False):
        monkeypatch.setattr(attention, "walks_together", together)
        work = attention.walk_work(plan, shape)
        over = attention.Attention(backend.launcher, shape, put_plan(plan), work)
        outs.append(cupy.full_like(q, np.nan))
        over(
            outs[-1],
            q,
            keys,
            values,
            scale=dim**-0.5,
            window=window,
            soft_cap=soft_cap,
            sinks=sinks,
        )
    some, alone = (backend.host(out) for out in outs)
    assert np.isfinite(some).all() and np.array_equal(some, alone)
