"""Attention over any cache on a GPU: a token alone gets the bits that it has within a prompt."""

import numpy as np
import pytest

from backends.cupy.cache import row_bytes
from refimpl.kv.plan import Plan
from tests.device.test_cupy import backend_or_skip

LENGTHS = np.array([700, 256, 33, 1], np.int32)
KV_HEADS = 2


def cache_of(rng, cache, dim, pages):
    """Keys or values as bytes; of q8_0 with scales around 1/64."""
    rows = (pages, KV_HEADS, 16)
    if cache == "float32":
        return rng.standard_normal((*rows, dim)).astype(np.float32).view(np.uint8)
    if cache == "float16":
        return rng.standard_normal((*rows, dim)).astype(np.float16).view(np.uint8)
    data = rng.integers(0, 256, (*rows, row_bytes(cache, dim)), np.uint8)
    scales = rng.uniform(0.01, 0.02, (*rows, dim // 32)).astype(np.float16)
    data[..., dim:] = scales.view(np.uint8)
    return data


@pytest.mark.parametrize(
    ("cache", "dim", "group", "window", "soft_cap", "sinks"),
    [
        ("float32", 128, 4, None, None, False),
        ("float32", 80, 3, 100, None, True),
        ("float32", 7, 1, None, 30.0, False),
        ("float32", 512, 2, None, None, False),
        ("float16", 96, 12, 300, None, True),
        ("q8_0", 128, 8, None, None, True),
        ("q8_0", 256, 5, 300, 30.0, False),
        ("q8_0", 32, 1, None, None, False),
        ("q8_0", 96, 2, None, None, True),
    ],
)
def test_a_token_alone_has_the_bits_that_it_has_in_a_prompt(
    cache, dim, group, window, soft_cap, sinks
):
    backend = backend_or_skip(cache=cache)
    import cupy

    from backends.cupy.attention import Attention, walk_work
    from backends.cupy.batch import Shape, put_plan

    rng, heads, blocks = np.random.default_rng(0), KV_HEADS * group, -(-LENGTHS // 16)
    tables = np.zeros((len(LENGTHS), blocks.max()), np.int32)
    ids = rng.permutation(int(blocks.sum())).astype(np.int32)
    for s, end in enumerate(np.cumsum(blocks)):
        tables[s, : blocks[s]] = ids[end - blocks[s] : end]
    keys, values = (cupy.asarray(cache_of(rng, cache, dim, len(ids))) for _ in range(2))
    own = cupy.asarray(rng.standard_normal(heads).astype(np.float32)) if sinks else None
    shape = Shape(heads=heads, kv_heads=KV_HEADS, dim=dim, cache=cache, block_size=16)
    q = rng.standard_normal((int(LENGTHS.sum()), heads, dim)).astype(np.float32)

    def attended(queries, positions, counts, lens):
        plan = Plan(
            tokens=positions,
            positions=positions,
            slots=positions,
            block_size=16,
            context_lens=lens,
            block_tables=tables,
            seq_starts=np.array([0, *np.cumsum(counts)], np.int32),
            rows=positions[:1],
        )
        batch, out = put_plan(plan), cupy.full(queries.shape, np.nan, np.float32)
        over = Attention(backend.launcher, shape, batch, walk_work(plan, shape))
        options = {"window": window, "soft_cap": soft_cap, "sinks": own}
        over(out, cupy.asarray(queries), keys, values, scale=dim**-0.5, **options)
        return backend.host(out)

    every = np.concatenate([np.arange(n, dtype=np.int32) for n in LENGTHS])
    prompt = attended(q, every, LENGTHS, LENGTHS)
    assert np.isfinite(prompt).all()
    starts = np.cumsum(LENGTHS) - LENGTHS
    for back in (0, 1, 300, 600):
        last = np.maximum(LENGTHS - 1 - back, 0)
        alone = attended(q[starts + last], last, np.ones_like(LENGTHS), last + 1)
        assert np.array_equal(alone, prompt[starts + last])
