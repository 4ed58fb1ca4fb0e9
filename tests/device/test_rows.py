"""Products of one token on a GPU: whoever prepares it and whoever makes a row, the same bits."""

import numpy as np
import pytest

from backends.cupy.row import prepares_itself
from tests.device.test_cupy import backend_or_skip, weights
from tests.laws.engines import shapes_unchecked


@pytest.fixture(autouse=True)
def _weights_of_their_own():
    with shapes_unchecked():
        yield


@pytest.mark.parametrize("name", ["Q8_0", "Q4_K", "Q6_K"])
@pytest.mark.parametrize("normed", [False, True])
def test_a_token_has_the_same_bits_prepared_before_a_product_and_by_it(name, normed):
    backend = backend_or_skip(act="q8")
    import cupy

    launcher, rng, columns, eps = backend.launcher, np.random.default_rng(1), 768, 1e-5
    w = backend.weight(weights(name, 200, columns))
    kind = backend.ops.kind(w)
    x = cupy.asarray(rng.standard_normal((1, columns)).astype(np.float32))
    norm = cupy.asarray(rng.uniform(0.5, 2, columns).astype(np.float32)) if normed else None
    into = launcher.room(kind, 1, columns)
    before, by_it = (cupy.full((1, 200), np.nan, np.float32) for _ in range(2))
    launcher.prepare(x, columns, into, norm=norm, eps=eps)
    launcher.linear(before, into, w)
    launcher.linear_row(by_it, x, w, kind, norm, eps, None, None)
    before, by_it = backend.host(before), backend.host(by_it)
    assert np.isfinite(before).all() and np.array_equal(before, by_it)


@pytest.mark.parametrize("columns", [256, 2304, 14336])
@pytest.mark.parametrize(
    "name",
    [
        "Q8_0",
        "Q4_0",
        "Q5_0",
        "IQ4_NL",
        "MXFP4",
        "Q4_K",
        "Q5_K",
        "Q6_K",
        "Q3_K",
        "Q2_K",
        "F16",
        "BF16",
    ],
)
def test_a_token_has_the_same_bits_alone_and_beside_another(name, columns):
    backend = backend_or_skip(act="half")
    import cupy

    rng, rows, eps = np.random.default_rng(1), 768_000 // columns, 1e-5
    launcher, w = backend.launcher, backend.weight(weights(name, rows, columns))
    kind = backend.ops.kind(w)
    x = cupy.asarray(rng.standard_normal((2, columns)).astype(np.float32))
    norm = cupy.asarray(rng.uniform(0.5, 2, columns).astype(np.float32))
    start, bias = (
        cupy.asarray(rng.standard_normal(shape).astype(np.float32)) for shape in ((2, rows), rows)
    )

    def product(tokens):
        y, into = start[:tokens].copy(), launcher.room(kind, tokens, columns)
        launcher.prepare(x[:tokens], columns, into, norm=norm, eps=eps)
        launcher.linear(y, into, w, bias, y)
        return backend.host(y)[0]

    beside, alone = product(2), product(1)
    assert np.isfinite(beside).all() and np.array_equal(alone, beside)
    if prepares_itself(w, kind, 1):
        y = start[:1].copy()
        launcher.linear_row(y, x[:1], w, kind, norm, eps, bias, y)
        assert np.array_equal(backend.host(y)[0], beside)


@pytest.mark.parametrize("columns", [256, 2304])
@pytest.mark.parametrize("name", ["Q4_0", "IQ4_NL", "MXFP4", "Q4_K"])
def test_row_tiles_have_the_same_bits_side_by_side_and_one_after_the_other(
    monkeypatch, name, columns
):
    backend = backend_or_skip(act="q8")
    import cupy

    rng, rows, eps = np.random.default_rng(1), 4400, 1e-5  # three row tiles, or two, a block
    launcher, w = backend.launcher, backend.weight(weights(name, rows, columns))
    kind = backend.ops.kind(w)
    x, start = (
        cupy.asarray(rng.standard_normal((1, n)).astype(np.float32)) for n in (columns, rows)
    )
    norm = cupy.asarray(rng.uniform(0.5, 2, columns).astype(np.float32))
    into = launcher.room(kind, 1, columns)
    launcher.prepare(x, columns, into, norm=norm, eps=eps)

    def products(sides):
        monkeypatch.setattr("backends.cupy.launch.sides_of_row", lambda w, n: sides)
        prepared, by_it, normed = (start.copy() for _ in range(3))
        launcher.linear(prepared, into, w, None, prepared)
        launcher.linear_row(by_it, x, w, kind, None, eps, None, by_it)
        launcher.linear_row(normed, x, w, kind, norm, eps, None, normed)
        return backend.host(cupy.concatenate([prepared, by_it, normed]))

    one, two = products(1), products(2)
    assert np.isfinite(one).all() and np.array_equal(one, two)
    assert np.array_equal(one[0], one[2])
