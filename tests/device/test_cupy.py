"""The CUDA backend on a GPU; without one, skipped.  `bench/gpu.py` runs far more of the suite."""

import numpy as np
import pytest

from backends.cupy import make_backend
from refimpl.errors import UnsupportedError
from refimpl.formats.quants import block_type
from refimpl.formats.quants.block import Packed
from refimpl.kv.plan import Plan
from refimpl.oracle import conform
from tests.laws.engines import shapes_unchecked

HEADS, KV_HEADS, DIM = 8, 2, 64
MODES = [("none", "float32"), ("q8", "float16"), ("half", "bfloat16"), ("none", "q8_0")]


def backend_or_skip(**modes):
    try:
        return make_backend(**modes)
    except UnsupportedError as error:
        pytest.skip(str(error))


@pytest.fixture(autouse=True)
def _weights_of_their_own():
    with shapes_unchecked():
        yield


@pytest.mark.parametrize(("act", "cache"), MODES)
def test_conformance(act, cache):
    report = conform(backend_or_skip(act=act, cache=cache), examples=4)
    assert report.ok, report.table()


def weights(name, rows, columns):
    values = np.random.default_rng(0).standard_normal((rows, columns)).astype(np.float32)
    if name == "F16":
        return values.astype(np.float16)
    kind = block_type(name)
    blocks = values.reshape(rows, -1, kind.block_size)
    ones = np.ones(blocks.shape[1:], np.float32)
    return Packed(type=kind, blocks=kind.quantize(blocks, ones))


@pytest.mark.parametrize(
    ("name", "columns"),
    [(name, 768) for name in ("F16", "Q8_0", "Q4_0", "MXFP4", "Q4_K", "Q6_K")]
    + [("F16", 288), ("Q8_0", 288), ("Q8_0", 2304)],  # 288: the last stage of a kernel is not full
)
def test_a_row_has_the_same_bits_in_kernels_for_few_and_for_many_tokens(name, columns):
    backend = backend_or_skip(act="half")
    w = backend.weight(weights(name, 200, columns))
    x = np.random.default_rng(1).standard_normal((400, columns)).astype(np.float32)
    alone = backend.host(backend.ops.linear(x[:1], w))
    for tokens in (2, 8, 9, 17, 33, 64, 65, 200, 400):
        assert np.array_equal(backend.host(backend.ops.linear(x[:tokens], w))[:1], alone)


@pytest.mark.parametrize("context", [1, 200, 256, 700])
@pytest.mark.parametrize("window", [None, 100])
def test_attention_gives_the_same_bits_with_one_warp_a_split_and_with_eight(
    monkeypatch, context, window
):
    backend = backend_or_skip(cache="float16")
    import cupy

    from backends.cupy import attention
    from backends.cupy.batch import Shape, put_plan

    rng = np.random.default_rng(0)
    blocks = -(-context // 16)
    keys, values = (
        cupy.asarray(rng.standard_normal((blocks, KV_HEADS, 16, DIM)).astype(np.float16))
        for _ in range(2)
    )
    q = cupy.asarray(rng.standard_normal((1, HEADS, DIM)).astype(np.float32))
    last = np.array([context - 1], np.int32)
    plan = Plan(
        tokens=last,
        positions=last,
        slots=last,
        block_size=16,
        context_lens=last + 1,
        block_tables=rng.permutation(blocks).astype(np.int32)[None],
        seq_starts=np.array([0, 1], np.int32),
        rows=np.zeros(1, np.int32),
    )
    shape = Shape(heads=HEADS, kv_heads=KV_HEADS, dim=DIM, cache="float16", block_size=16)
    outs = []
    for few in (0, attention.FEW_SPLITS):
        monkeypatch.setattr(attention, "FEW_SPLITS", few)
        outs.append(cupy.full_like(q, np.nan))
        over = attention.Attention(backend.launcher, shape, put_plan(plan))
        over(outs[-1], q, keys, values, scale=DIM**-0.5, window=window)
    one, eight = (backend.host(out) for out in outs)
    assert np.isfinite(one).all() and np.array_equal(one, eight)


@pytest.mark.parametrize("kind", ["F16", "BF16"])
@pytest.mark.parametrize("sequences", [1, 5, 40])  # by attend_few and, with long ones, _combine
@pytest.mark.parametrize(("context", "heads", "dim"), [(256, 8, 64), (700, 8, 64), (300, 32, 128)])
def test_attention_rounds_its_result_as_a_preparation_would(kind, sequences, context, heads, dim):
    """40 sequences with 8 key heads of 128 go to attend_whole; beyond 16 tokens lie otherwise."""
    backend = backend_or_skip(act="half", cache="float16")
    import cupy

    from backends.cupy.attention import Attention
    from backends.cupy.batch import Shape, put_plan

    rng, blocks, launcher = np.random.default_rng(0), -(-context // 16), backend.launcher
    kv_heads, columns = heads // 4, heads * dim
    keys, values = (
        cupy.asarray(
            rng.standard_normal((sequences * blocks, kv_heads, 16, dim)).astype(np.float16)
        )
        for _ in range(2)
    )
    q = cupy.asarray(rng.standard_normal((sequences, heads, dim)).astype(np.float32))
    lens = rng.integers(1, context + 1, sequences).astype(np.int32)
    lens[0] = context
    plan = Plan(
        tokens=lens,
        positions=lens - 1,
        slots=lens,
        block_size=16,
        context_lens=lens,
        block_tables=rng.permutation(sequences * blocks).astype(np.int32).reshape(sequences, -1),
        seq_starts=np.arange(sequences + 1, dtype=np.int32),
        rows=np.arange(sequences, dtype=np.int32),
    )
    shape = Shape(heads=heads, kv_heads=kv_heads, dim=dim, cache="float16", block_size=16)
    over = Attention(launcher, shape, put_plan(plan))
    assert over.rounds
    out = cupy.full_like(q, np.nan)
    after, by_it = (launcher.room(kind, sequences, columns) for _ in range(2))
    over(out, q, keys, values, scale=dim**-0.5)
    launcher.prepare(out, columns, after)
    over(None, q, keys, values, scale=dim**-0.5, rounded=by_it)
    after, by_it = backend.host(after.packed), backend.host(by_it.packed)
    assert np.isfinite(backend.host(out)).all() and after.any() and np.array_equal(after, by_it)
