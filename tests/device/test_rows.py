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


@pytest.mark.parametrize(
    ("name", "ringed"), [("Q8_0", True), ("Q8_0", False), ("Q4_K", False), ("Q6_K", False)]
)
@pytest.mark.parametrize("normed", [False, True])
def test_a_token_has_the_same_bits_prepared_before_a_product_and_by_it(
    monkeypatch, name, normed, ringed
):
    backend = backend_or_skip(act="q8")
    import cupy

    from backends.cupy import launch

    monkeypatch.setattr(launch, "RINGED", launch.RINGED if ringed else ())

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
@pytest.mark.parametrize("name", ["Q8_0", "Q3_K", "Q2_K"])  # a byte for a weight
def test_a_token_has_the_same_bits_from_rings_and_from_registers(monkeypatch, name, columns):
    backend = backend_or_skip(act="q8")
    import cupy

    from backends.cupy import launch

    rng, rows, eps = np.random.default_rng(1), 768_000 // columns, 1e-5
    w = backend.weight(weights(name, rows, columns))
    kind = backend.ops.kind(w)
    x = cupy.asarray(rng.standard_normal((1, columns)).astype(np.float32))
    norm = cupy.asarray(rng.uniform(0.5, 2, columns).astype(np.float32))
    before, bias = (
        cupy.asarray(rng.standard_normal(shape).astype(np.float32)) for shape in ((1, rows), rows)
    )

    def results():
        y, own = before.copy(), before.copy()
        backend.launcher.linear(y, backend.ops.prepared(x, w), w, bias, y)
        if prepares_itself(w, kind, 1):
            backend.launcher.linear_row(own, x, w, kind, norm, eps, bias, own)
        return backend.host(y), backend.host(own)

    some = []
    for formats in ((), launch.RINGED):
        monkeypatch.setattr(launch, "RINGED", formats)
        some.append(results())
    for registers, rings in zip(*some, strict=True):
        assert np.isfinite(registers).all() and np.array_equal(registers, rings)
