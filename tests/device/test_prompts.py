"""Products of many tokens on a GPU: Hopper's own instructions give the bits of the others."""

import ml_dtypes
import numpy as np
import pytest

from bench.cpu_models import random_weights
from refimpl.formats.quants import block_type
from tests.device.test_cupy import backend_or_skip, weights
from tests.laws.engines import shapes_unchecked


@pytest.fixture(autouse=True)
def _weights_of_their_own():
    with shapes_unchecked():
        yield


@pytest.mark.parametrize(
    ("name", "rows", "columns"),  # a batch's blocks: pairs, of a row tile or of four; alone
    [(name, rows, 256) for name in ("F16", "BF16", "Q8_0", "Q4_K") for rows in (200, 13000)]
    + [(name, rows, 1152) for name in ("F16", "BF16") for rows in (4100, 6000)],
)
def test_products_of_hoppers_own_instructions_have_the_bits_of_the_others(
    monkeypatch, name, rows, columns
):
    backend = backend_or_skip(act="half")
    import cupy

    from backends.cupy import launch

    values = weights("F16" if name == "BF16" else name, rows, columns)
    w = backend.weight(values.astype(ml_dtypes.bfloat16) if name == "BF16" else values)
    rng = np.random.default_rng(1)
    x, residual, bias = (
        cupy.asarray(rng.standard_normal(shape).astype(np.float32))
        for shape in ((300, columns), (300, rows), (rows,))
    )

    def result(tokens):
        y = residual[:tokens].copy()
        prepared = backend.ops.prepared(x[:tokens], w)
        backend.launcher.linear(y, prepared, w, bias, y)
        return backend.host(y)

    counts = (17, 33, 64, 65, 193, 300)
    own = [result(tokens) for tokens in counts]
    monkeypatch.setattr(launch, "for_hopper", lambda kind, tokens, blocks: False)
    for tokens, y in zip(counts, own, strict=True):
        assert np.isfinite(y).all() and np.array_equal(y, result(tokens))


@pytest.mark.parametrize("name", ["F16", "Q8_0", "Q4_K", "Q6_K"])
def test_long_rows_have_the_same_bits_when_their_stages_are_filled_again_and_again(
    monkeypatch, name
):
    """A thread block has up to three pieces of 128 blocks of columns: the ring goes round often."""
    backend = backend_or_skip(act="half")
    import cupy

    from backends.cupy import launch

    w = backend.weight(random_weights(block_type(name), (2100, 4096)))
    x = cupy.asarray(np.random.default_rng(1).standard_normal((2048, 4096)).astype(np.float32))

    def result():
        y = cupy.full((len(x), w.rows), np.nan, np.float32)
        backend.launcher.linear(y, backend.ops.prepared(x, w), w)
        return y

    own = [result() for _ in range(4)]
    monkeypatch.setattr(launch, "for_hopper", lambda kind, tokens, blocks: False)
    plain = result()
    assert bool(cupy.isfinite(plain).all()) and all(bool((y == plain).all()) for y in own)


@pytest.mark.parametrize("activation", ["silu", "gelu", "gelu_tanh"])
@pytest.mark.parametrize("name", ["Q8_0", "Q4_K", "Q6_K", "Q4_1"])
def test_gates_applied_where_gate_and_up_are_multiplied_leave_the_bits_of_a_kernel_of_its_own(
    name, activation
):
    """352 columns: the last 128 rows are not all there.  A zero token's scales take no short cut,
    nor do a huge one's, whose gates are beyond what exp(-x) can say."""
    backend = backend_or_skip(act="q8")
    import cupy

    ops, columns = backend.ops, 352
    w = backend.weight(weights(name, 2 * columns, 256))
    x = np.random.default_rng(1).standard_normal((300, 256)).astype(np.float32)
    x[7], x[8] = 0, x[8] * 1e6
    prepared = ops.prepared(cupy.asarray(x), w)
    y = cupy.empty((300, 2 * columns), np.float32)
    ops.launcher.linear(y, prepared, w)
    theirs, own = (ops.launcher.room("Q8_0", 300, columns) for _ in range(2))
    ops.launcher.prepare(y, columns, theirs, activation=activation)
    assert ops.launcher.gates(w, prepared.kind, 300)
    ops.launcher.linear_gated(own, prepared, w, activation)
    for part in ("packed", "scales", "sums"):
        assert np.array_equal(*(backend.host(getattr(p, part)) for p in (theirs, own)))


@pytest.mark.parametrize("activation", ["silu", "gelu", "gelu_tanh"])
@pytest.mark.parametrize(
    ("name", "tokens", "columns"),  # blocks of two times four row tiles, and of two times seven
    [("F16", 64, 6400), ("F16", 41, 13056), ("BF16", 33, 6400)],
)
def test_a_batch_s_gates_leave_the_bits_of_a_kernel_of_their_own(name, tokens, columns, activation):
    backend = backend_or_skip(act="half")
    import cupy

    ops = backend.ops
    values = weights("F16", 2 * columns, 256)
    w = backend.weight(values.astype(ml_dtypes.bfloat16) if name == "BF16" else values)
    x = np.random.default_rng(1).standard_normal((tokens, 256)).astype(np.float32)
    x[7], x[8] = 0, x[8] * 1e3
    prepared = ops.prepared(cupy.asarray(x), w)
    y = cupy.empty((tokens, 2 * columns), np.float32)
    ops.launcher.linear(y, prepared, w)
    theirs, own = (ops.launcher.room(name, tokens, columns) for _ in range(2))
    ops.launcher.prepare(y, columns, theirs, activation=activation)
    assert ops.launcher.gates(w, prepared.kind, tokens)
    ops.launcher.linear_gated(own, prepared, w, activation)
    assert np.array_equal(*(backend.host(p.packed) for p in (theirs, own)))


def test_a_stage_is_not_filled_again_while_loads_from_it_are_on_their_way(monkeypatch):
    """Warps that end a piece delay the loads of a warp that is behind.  With six stages and a
    residual some 16 rows of every launch came out wrong, when arrivals did not wait for loads."""
    backend = backend_or_skip(act="q8")
    import cupy

    from backends.cupy import launch

    w = backend.weight(random_weights(block_type("Q8_0"), (4096, 4096)))
    rng = np.random.default_rng(1)
    x, residual = (
        cupy.asarray(rng.standard_normal((2048, 4096)).astype(np.float32)) for _ in range(2)
    )
    prepared = backend.ops.prepared(x, w)

    def result():
        y = residual.copy()
        backend.launcher.linear(y, prepared, w, None, y)
        return y

    four = result()
    monkeypatch.setattr(launch, "Q8_STAGES", 6)
    assert all(bool((result() == four).all()) for _ in range(10))
