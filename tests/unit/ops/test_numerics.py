"""Rounding against exact rational arithmetic, and dot products against reordering."""

from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refimpl.ops import numerics
from refimpl.ops.numerics import BF16, E4M3, E5M2, F16, F32, FORMATS, dot, dot_by_halves

SMALL = [F16, BF16, E4M3, E5M2]


def neighbours(fmt):
    """Every finite value of a small format, ascending, as exact fractions."""
    n_bits = 8 * fmt.dtype.itemsize
    bits = np.arange(2**n_bits, dtype=f"u{fmt.dtype.itemsize}")
    with np.errstate(invalid="ignore"):  # some of these bits are signalling NaNs
        values = bits.view(fmt.dtype).astype(np.float64)
    return np.unique(values[np.isfinite(values)])


def nearest_even(x, values, fmt):
    """The definition of RNE: the nearest value; of two, the one whose last bit is zero."""
    i = int(np.clip(np.searchsorted(values, x), 1, len(values) - 1))
    below, above = Fraction(values[i - 1]), Fraction(values[i])
    down, up = Fraction(x) - below, above - Fraction(x)
    if down != up:
        return float(below if down < up else above)
    # one of two neighbours has an even significand: it is a multiple of twice the ulp
    ulp = above - below
    return float(below if (below / ulp) % 2 == 0 else above)


@pytest.mark.parametrize("fmt", SMALL, ids=lambda f: f.dtype.name)
def test_every_value_of_the_format_is_kept(fmt):
    values = neighbours(fmt)
    assert np.array_equal(fmt(values).astype(np.float64), values)


@pytest.mark.parametrize("fmt", SMALL, ids=lambda f: f.dtype.name)
def test_ties_and_their_neighbours_round_to_nearest_even(fmt):
    values = neighbours(fmt)
    ties = ((values[:-1] + values[1:]) / 2)[:: len(values) // 2000 | 1]
    for x in (ties, np.nextafter(ties, np.inf), np.nextafter(ties, -np.inf)):
        expected = [nearest_even(v, values, fmt) for v in x.tolist()]
        assert np.array_equal(fmt(x).astype(np.float64), expected)


@given(st.lists(st.floats(allow_nan=False), min_size=1))
def test_float32_and_float16_equal_the_generic_rounding(xs):
    x = np.array(xs)
    with np.errstate(over="ignore"):
        for fmt in (F32, F16):
            assert np.array_equal(fmt(x).astype(np.float64), fmt.snap(x))


@pytest.mark.parametrize("fmt", FORMATS.values(), ids=FORMATS)
def test_overflow_infinity_nan_and_zero(fmt):
    x = np.array([np.inf, -np.inf, np.nan, 0.0, -0.0])
    y = fmt(x).astype(np.float64)
    assert np.isnan(y[2])
    assert y[3] == y[4] == 0
    assert np.signbit(y[4])
    if fmt.overflow == np.inf:
        assert y[0] == np.inf
        assert y[1] == -np.inf
    else:
        assert np.isnan(y[:2]).all()


def test_bfloat16_is_rounded_once_where_ml_dtypes_alone_would_round_twice():
    x = np.array([1 + 2.0**-8 + 2.0**-40])  # just above a tie; float32 would make it the tie
    assert BF16(x)[0] == ml_dtypes.bfloat16(1.0078125)


@given(st.integers(1, 600), st.integers(1, 7), st.integers(0, 2**32 - 1))
def test_dot_gives_a_row_the_same_bits_alone_and_in_a_batch(k, rows, seed):
    rng = np.random.default_rng(seed)
    x, w = rng.standard_normal((rows, k)), rng.standard_normal((5, k))
    batch = dot(x[:, None, :], w[None])
    for t in range(rows):
        assert np.array_equal(dot(x[t : t + 1, None, :], w[None])[0], batch[t])
        assert dot(x[t], w[3]) == batch[t, 3]


@given(st.integers(0, 300), st.integers(0, 2**32 - 1))
def test_dot_by_halves_is_a_dot_product(k, seed):
    rng = np.random.default_rng(seed)
    a, b = rng.integers(-1000, 1000, (2, k)).astype(np.float64)
    assert dot_by_halves(a, b) == float(np.sum(a * b))  # integers: exact in any order


def test_without_row_invariance_the_slow_path_is_taken(monkeypatch):
    monkeypatch.setattr(numerics, "vecdot_is_row_invariant", lambda: False)
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 3, 100))
    assert np.array_equal(numerics.dot(a, b), dot_by_halves(a, b))


def test_the_self_check_fails_where_rows_depend_on_the_batch(monkeypatch):
    def careless(a, b):  # what a matrix product does: another order of addition for a single row
        product = np.einsum("...k,...k->...", a, b)
        return product + 1e-16 * np.abs(product) * (a.ndim > 1)

    monkeypatch.setattr(np, "vecdot", careless)
    assert not numerics.vecdot_is_row_invariant.__wrapped__()
