"""Attention of single tokens on a GPU: however splits are read and added up, the bits are one."""

import ml_dtypes
import numpy as np
import pytest

from refimpl.kv.plan import Plan
from tests.device.test_cupy import backend_or_skip

LENGTHS = np.array([1, 15, 16, 17, 255, 256, 257, 1000, 2345, 17000], np.int32)
SHORT = LENGTHS[:-1]


def attended(
    backend, attention, lengths, *, cache, group, dim, window, soft_cap, sinks, alone=False
):
    """Single tokens of sequences of `lengths` attend; after their ends the cache has no numbers."""
    import cupy

    from backends.cupy.batch import Shape, put_plan

    rng, kv_heads, n = np.random.default_rng(0), 2, len(lengths)
    blocks = -(-lengths // 16)
    pages, heads = int(blocks.sum()), kv_heads * group
    ids, tables = rng.permutation(pages).astype(np.int32), np.zeros((n, blocks.max()), np.int32)
    kv = rng.standard_normal((2, pages, kv_heads, 16, dim), np.float32)
    for s, end in enumerate(np.cumsum(blocks)):
        tables[s, : blocks[s]] = ids[end - blocks[s] : end]
        kv[:, tables[s, blocks[s] - 1], :, (lengths[s] - 1) % 16 + 1 :] = np.nan
    halves = kv.astype(np.float16 if cache == "float16" else ml_dtypes.bfloat16)
    keys, values = (cupy.asarray(half.view(np.uint16)) for half in halves)
    q = cupy.asarray(rng.standard_normal((n, heads, dim)).astype(np.float32))
    plan = Plan(
        tokens=lengths,
        positions=lengths - 1,
        slots=lengths,
        block_size=16,
        context_lens=lengths,
        block_tables=tables,
        seq_starts=np.arange(n + 1, dtype=np.int32),
        rows=lengths[:1],
    )
    shape = Shape(heads=heads, kv_heads=kv_heads, dim=dim, cache=cache, block_size=16)
    over = attention.Attention(backend.launcher, shape, put_plan(plan), alone=alone)
    own = cupy.asarray(rng.standard_normal(heads).astype(np.float32)) if sinks else None
    for _ in range(2):  # as a graph does: each launch begins where the one before left off
        out = cupy.full_like(q, np.nan)
        over(out, q, keys, values, scale=dim**-0.5, window=window, soft_cap=soft_cap, sinks=own)
    return backend.host(out)


@pytest.mark.parametrize("cache", ["float16", "bfloat16"])
@pytest.mark.parametrize(
    ("group", "window", "soft_cap", "sinks"),
    [(1, None, None, False), (4, None, None, True), (8, 700, None, False), (3, 300, 30.0, True)],
)
def test_a_ring_gives_the_bits_of_loads_into_registers(
    monkeypatch, cache, group, window, soft_cap, sinks
):
    backend = backend_or_skip(cache=cache)
    from backends.cupy import attention
    from backends.cupy.compile import capability

    if capability() != 90:
        pytest.skip("attend_ring.cu is Hopper's")
    monkeypatch.setattr(attention, "FEW_SPLITS", 0)
    outs = []
    for ring, whole, alone in (
        (True, False, False),
        (False, True, False),
        (False, True, True),
        (False, False, False),
    ):
        monkeypatch.setattr(attention, "stays_in_blocks", lambda *_, whole=whole: whole)
        monkeypatch.setattr(attention, "runs_at_once", lambda *_, ring=ring: ring)
        asked = {"group": group, "window": window, "soft_cap": soft_cap, "sinks": sinks}
        asked |= {"cache": cache, "dim": 128, "alone": alone}
        outs.append(attended(backend, attention, SHORT, **asked))
    assert np.isfinite(outs[0]).all()
    assert all(np.array_equal(out, outs[-1]) for out in outs)


@pytest.mark.parametrize("longest", [20, 300, 3000])
@pytest.mark.parametrize("multiprocessors", [1, 3, 132])
@pytest.mark.parametrize(("group", "window"), [(4, None), (7, 500)])
def test_units_dealt_to_blocks_that_stay_have_the_bits_of_splits(
    monkeypatch, longest, multiprocessors, group, window
):
    backend = backend_or_skip(cache="float16")
    from backends.cupy import attention
    from backends.cupy.compile import capability

    if capability() != 90:
        pytest.skip("attend_whole.cu is Hopper's")
    rng = np.random.default_rng(longest)
    lengths = rng.integers(1, longest + 1, 150) * rng.integers(0, 3, 150).clip(max=1)
    lengths[20:60] = 0  # places of a bucket that nobody uses
    monkeypatch.setattr(attention, "FEW_SPLITS", 0)
    monkeypatch.setattr(attention, "multiprocessors", lambda: multiprocessors)
    outs = []
    for whole, alone in ((True, True), (True, False), (False, False)):
        monkeypatch.setattr(attention, "stays_in_blocks", lambda *_, whole=whole: whole)
        asked = {"group": group, "window": window, "soft_cap": None, "sinks": True, "alone": alone}
        lens = lengths.astype(np.int32)
        outs.append(attended(backend, attention, lens, cache="float16", dim=128, **asked))
    assert np.array_equal(np.isfinite(outs[0]).all((1, 2)), lengths > 0)
    assert all(np.array_equal(out, outs[-1], equal_nan=True) for out in outs)


@pytest.mark.parametrize("dim", [64, 128, 256])
@pytest.mark.parametrize("window", [None, 300, 16500])
def test_many_splits_add_up_to_the_bits_of_few(monkeypatch, dim, window):
    backend = backend_or_skip(cache="float16")
    from backends.cupy import attention

    outs = []
    for many in (0, 1 << 30):
        monkeypatch.setattr(attention, "MANY_SPLITS", many)
        asked = {"group": 4, "window": window, "soft_cap": None, "sinks": True}
        outs.append(attended(backend, attention, LENGTHS, cache="float16", dim=dim, **asked))
    assert np.isfinite(outs[0]).all() and np.array_equal(*outs)
