"""Every block type, in both activation modes: within the bound, and the same bits in any batch."""

import numpy as np
import pytest

pytest.importorskip("numba")

from backends.numba.matmul import MANY
from refimpl.errors import InputError, UnsupportedError
from refimpl.formats.quants import block_type
from tests.unit.backends.numba.specimens import COLUMNS, TYPES, backend, matrix

BATCHES = (1, 2, 3, 4, 6, 8, 10, 13)


def activations(n: int) -> np.ndarray:
    x = np.random.default_rng(5).standard_normal((max(BATCHES), COLUMNS)).astype(np.float32)
    x[1] *= 1e-3
    x[2, 7] = 300.0  # one large activation coarsens its whole block
    x[3] = 0.0
    return x[:n]


@pytest.mark.parametrize("act", ["none", "half"])
@pytest.mark.parametrize("kind", TYPES, ids=lambda t: t.name)
def test_products_lie_within_the_bound_and_are_the_same_in_any_batch(kind, act):
    numba, weights = backend(act), matrix(kind)
    prepared = numba.weight(weights)
    x = activations(13)
    wide = numba.ops.linear(x, prepared)
    exact = numba.reference.linear(x, weights)
    bound = numba.bound("linear", x, weights, None)
    assert (np.abs(wide.astype(np.float64) - exact) <= bound).all()
    for n in BATCHES:
        assert np.array_equal(numba.ops.linear(x[:n], prepared), wide[:n]), n


@pytest.mark.parametrize("kind", TYPES, ids=lambda t: t.name)
def test_rows_read_back_are_the_dequantised_rows(kind):
    weights, rows = matrix(kind), np.array([0, 15, 16, 39])
    read = backend().ops.embed(backend().weight(weights), rows)
    assert np.array_equal(read, np.asarray(weights[rows], np.float32))


@pytest.mark.parametrize("columns", [1, 31, 33, 100])
def test_rows_of_any_length_are_read_back(columns):
    weights = np.random.default_rng(columns).standard_normal((20, columns)).astype(np.float32)
    read = backend().ops.embed(backend().weight(weights), np.array([19, 0]))
    assert np.array_equal(read, weights[[19, 0]])


@pytest.mark.parametrize("rows", [1, 15, 17, 33])
@pytest.mark.parametrize("columns", [1, 31, 33, 100])
def test_any_shape_of_plain_weights(rows, columns):
    rng = np.random.default_rng(rows)
    w, x = (rng.standard_normal((n, columns)).astype(np.float32) for n in (rows, 5))
    bias = rng.standard_normal(rows).astype(np.float32)
    numba = backend()
    y = numba.ops.linear(x, numba.weight(w), bias)
    bound = numba.bound("linear", x, w, bias)
    assert (np.abs(y.astype(np.float64) - numba.reference.linear(x, w, bias)) <= bound).all()


@pytest.mark.parametrize(
    "name, columns",
    [("F32", 2080), ("F16", 6176), ("BF16", 4128), ("Q8_0", 8224), ("Q4_K", 8448), ("Q6_K", 8448)],
)
def test_columns_that_come_some_at_a_time_change_no_bit(name, columns):
    """With many tokens they do (`matmul.blocks_at_once`), with few they do not."""
    numba, weights = backend("half"), matrix(block_type(name), columns=columns)
    prepared, n = numba.weight(weights), MANY + 3
    x = np.random.default_rng(6).standard_normal((n, columns)).astype(np.float32)
    few = [numba.ops.linear(x[t : t + 7], prepared) for t in range(0, n, 7)]
    assert np.array_equal(numba.ops.linear(x, prepared), np.concatenate(few))


@pytest.mark.parametrize("rows", [40, 3000])
def test_threads_change_no_bit(rows):
    """Nor does who takes which rows, and when."""
    weights, x = matrix(TYPES[0], rows=rows), activations(13)
    one, three = (backend(threads=n) for n in (1, 3))
    assert np.array_equal(
        one.ops.linear(x, one.weight(weights)), three.ops.linear(x, three.weight(weights))
    )


def test_doubles_that_are_not_floats_are_refused():
    with pytest.raises(UnsupportedError, match="float32"):
        backend().weight(np.full((2, 2), 0.1))


def test_a_product_of_other_shapes_is_refused():
    with pytest.raises(InputError, match="columns"):
        backend().ops.linear(np.zeros((1, 3), np.float32), backend().weight(matrix(TYPES[0])))
