"""act="half": what it means, and that its bound holds for engines without subnormal numbers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ml_dtypes import bfloat16

from refimpl.ops import bounds, half, tensor
from refimpl.ops.numerics import F32

TINY = np.float32(2.0**-126)


def numbers(rng, shape, exponents):
    return np.ldexp(rng.standard_normal(shape), rng.integers(*exponents, shape)).astype(np.float32)


def flush(x):
    return np.where(np.abs(x) < TINY, np.float32(0), x)


def flushing_engine(x, w):
    """float32 sums of bfloat16 products, as VDPBF16PS makes them: a product of these is exact."""
    x, w = flush(x.astype(bfloat16).astype(np.float32)), flush(w.astype(np.float32))
    y = np.zeros((len(x), len(w)), np.float32)
    for k in range(x.shape[1]):
        y = flush(y + x[:, None, k] * w[None, :, k])
    return y


@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.sampled_from([(-6, 6), (-70, -50)]))
def test_an_engine_that_flushes_lies_within_the_bound(seed, k, exponents):
    rng = np.random.default_rng(seed)
    x, w = numbers(rng, (2, k), exponents), numbers(rng, (3, k), exponents).astype(bfloat16)
    gap = np.abs(flushing_engine(x, w).astype(np.float64) - half.linear_half(x, w))
    assert (gap <= bounds.linear_half(x, w, engine=F32)).all()


def test_what_flushing_costs_is_not_in_the_bound_of_sums_alone():
    x, w = np.float32([[2.0**100]]), np.float32([[2.0**-130]]).astype(bfloat16)
    gap = abs(float(flushing_engine(x, w)[0, 0]) - float(half.linear_half(x, w)[0, 0]))
    assert gap > bounds.linear(x, w, engine=F32)[0, 0]
    assert gap <= bounds.linear_half(x, w, engine=F32)[0, 0]


@pytest.mark.parametrize("kind", [np.float16, bfloat16])
def test_activations_are_rounded_to_nearest_and_not_cut(kind):
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((2, 64)).astype(np.float32), rng.standard_normal((3, 64))
    w = np.abs(w).astype(kind)
    y = half.linear_half(x, w)
    assert np.array_equal(y, tensor.linear(x.astype(kind).astype(np.float32), w))
    bits = 13 if kind is np.float16 else 16
    cut = (x.view(np.uint32) >> bits << bits).view(np.float32)
    bound = bounds.linear_half(x, w, engine=F32)
    for wrong in (cut, x):
        assert (np.abs(tensor.linear(wrong, w).astype(np.float64) - y) > bound).any()


def test_other_weights_are_multiplied_as_with_q8():
    x, w = np.float32([[1.001, 2]]), np.float32([[3, 4]])
    assert np.array_equal(half.linear_half(x, w), tensor.linear(x, w))
