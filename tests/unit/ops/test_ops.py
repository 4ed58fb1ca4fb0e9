"""The smaller operations against their formulas, in another arithmetic where one is at hand."""

from decimal import Decimal, getcontext
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from refimpl.formats.quants.block import BlockType, Packed
from refimpl.ops import activation, moe, norm, rope, tensor
from refimpl.ops.numerics import F32, F64

getcontext().prec = 60
numbers = st.floats(-8, 8, width=32)


def correctly_rounded(value):
    """A Decimal as the nearest float32, through float64."""
    return np.float32(float(value))


@given(arrays(np.float32, (2, 9), elements=numbers), arrays(np.float32, (3, 9), elements=numbers))
def test_linear_is_the_exact_sum_rounded_once(x, w):
    y = tensor.linear(x, w)
    for t in range(2):
        for n in range(3):
            exact = sum(Fraction(float(a)) * Fraction(float(b)) for a, b in zip(x[t], w[n]))
            # float64 inside: at most a few of its ulps from exact before the rounding
            low, high = (np.float32(float(exact) * (1 + e) + e) for e in (-1e-14, 1e-14))
            assert min(low, high) <= y[t, n] <= max(low, high)


@given(st.integers(1, 400), st.integers(1, 300), st.integers(0, 2**32 - 1))
def test_widening_in_chunks_changes_nothing(outer, inner, seed):
    rng = np.random.default_rng(seed)
    w = rng.standard_normal((outer, inner)).astype(np.float16)
    x = rng.standard_normal((2, inner)).astype(np.float32)
    assert np.array_equal(tensor.linear(x, w), tensor.linear(x, w.astype(np.float64)))


def test_a_packed_weight_is_read_row_by_row():
    doubled = BlockType(
        id=-1,
        name="DOUBLED",
        block_size=2,
        dtype=np.dtype([("x", "<f4", 2)]),
        dequantize=lambda blocks: 2 * blocks["x"],
    )
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    packed = Packed(type=doubled, blocks=values.view(doubled.dtype))
    x = np.ones((1, 4), np.float32)
    assert packed.shape == (3, 4)
    assert np.array_equal(tensor.linear(x, packed), tensor.linear(x, 2 * values))
    assert np.array_equal(tensor.embed(packed, np.array([2, 0])), 2 * values[[2, 0]])


@given(arrays(np.float32, 7, elements=numbers), arrays(np.float32, 7, elements=numbers))
def test_rms_norm_is_its_formula(x, w):
    eps = Decimal("1e-5")
    squares = sum(Decimal(float(v)) ** 2 for v in x) / 7
    expected = [
        correctly_rounded(Decimal(float(a)) * Decimal(float(b)) / (squares + eps).sqrt())
        for a, b in zip(x, w)
    ]
    actual = norm.rms_norm(x[None], w, 1e-5)[0]
    assert np.allclose(actual, expected, rtol=2**-23, atol=0)  # one ulp: ties of double rounding


@given(arrays(np.float32, 6, elements=numbers), st.floats(-100, 100))
def test_layer_norm_ignores_a_constant_and_has_unit_variance(x, shift):
    ones, zeros = np.ones(6, np.float32), np.zeros(6, np.float32)
    plain = norm.layer_norm(x.astype(np.float64)[None], ones, zeros, 1e-5, to=F64)
    moved = norm.layer_norm(x.astype(np.float64)[None] + shift, ones, zeros, 1e-5, to=F64)
    assert np.abs(plain - moved).max() <= 1e-8
    variance = x.astype(np.float64).var()
    assert plain.var() == pytest.approx(variance / (variance + 1e-5), abs=1e-9)


@given(arrays(np.float64, 5, elements=st.floats(-50, 50)))
def test_activations_are_their_definitions(x):
    sigmoid = [float(1 / (1 + (-Decimal(v)).exp())) for v in x.tolist()]
    assert np.allclose(activation.silu(x), x * sigmoid, rtol=1e-14, atol=0)
    tanh = activation.gelu_tanh(x)
    assert np.abs(tanh - activation.gelu(x)).max() < 5e-4  # how well the approximation approximates
    assert np.allclose(
        activation.gelu(x) - activation.gelu(-x), x, atol=1e-13
    )  # Phi(x) + Phi(-x) = 1


@given(arrays(np.float32, (2, 5), elements=numbers))
def test_softmax_sums_to_one_and_ignores_a_constant(x):
    p = activation.softmax(x, to=F64)
    assert np.allclose(p.sum(-1), 1, rtol=1e-14)
    assert np.allclose(p, activation.softmax(x.astype(np.float64) + 700, to=F64), rtol=1e-12)


@given(st.integers(1, 6), st.integers(0, 200), st.sampled_from(["interleaved", "half"]))
def test_rope_depends_only_on_distance(pairs, shift, layout):
    rng = np.random.default_rng(shift)
    q, k = rng.standard_normal((2, 1, 1, 2 * pairs))
    f = rope.frequencies(2 * pairs, 10000.0)

    def score(p, s):
        turned = (rope.rope(x, np.array([at]), f, layout, to=F64) for x, at in ((q, p), (k, s)))
        a, b = turned
        return float((a * b).sum())

    assert score(7 + shift, 3 + shift) == pytest.approx(score(7, 3), abs=1e-10)


@given(st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_the_two_layouts_are_one_rotation_in_another_order(pairs, seed):
    rng = np.random.default_rng(seed)
    x, f = rng.standard_normal((3, 2, 2 * pairs + 1)), rope.frequencies(2 * pairs, 100.0)
    order = np.arange(2 * pairs).reshape(2, -1).T.reshape(-1)  # half -> interleaved
    mixed = x.copy()
    mixed[..., : 2 * pairs] = x[..., order]
    half = rope.rope(x, np.arange(3), f, "half", to=F64)
    interleaved = rope.rope(mixed, np.arange(3), f, "interleaved", to=F64)
    assert np.array_equal(interleaved[..., : 2 * pairs], half[..., order])
    assert np.array_equal(half[..., -1], x[..., -1])  # what does not rotate passes


def test_scalings_at_their_ends():
    plain = rope.frequencies(64, 10000.0)
    assert np.allclose(rope.Linear(factor=4.0).frequencies(64, 10000.0), plain / 4)
    ntk = rope.NTK(factor=4.0).frequencies(64, 10000.0)
    assert ntk[0] == plain[0]
    assert ntk[-1] == pytest.approx(plain[-1] / 4)
    yarn = rope.Yarn(factor=4.0, original_context=2048)
    assert yarn.frequencies(64, 10000.0)[0] == plain[0]
    assert yarn.frequencies(64, 10000.0)[-1] == pytest.approx(plain[-1] / 4)
    assert yarn.magnitude == pytest.approx(1.1386294)
    llama3 = rope.Llama3(
        factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_context=8192
    ).frequencies(128, 500000.0)
    plain = rope.frequencies(128, 500000.0)
    assert llama3[0] == plain[0]
    assert llama3[-1] == pytest.approx(plain[-1] / 8)


@given(st.integers(1, 5), st.integers(1, 4), st.booleans(), st.integers(0, 2**32 - 1))
def test_moe_is_the_weighted_sum_of_its_experts(n_experts, n_used, renormalise, seed):
    n_used = min(n_used, n_experts)
    rng = np.random.default_rng(seed)
    x, logits = rng.standard_normal((4, 3)), rng.standard_normal((4, n_experts))
    out = moe.moe(x, logits, lambda e, rows: rows * (e + 1), n_used, renormalise, to=F64)
    for t in range(4):
        p = np.exp(logits[t]) / np.exp(logits[t]).sum()
        chosen = sorted(range(n_experts), key=lambda e: -p[e])[:n_used]
        total = sum(p[e] for e in chosen) if renormalise else 1.0
        expected = x[t] * sum(p[e] / total * (e + 1) for e in chosen)
        assert np.allclose(out[t], expected, rtol=1e-12)


def test_moe_runs_an_expert_only_on_its_tokens():
    seen = {}
    x = np.arange(6, dtype=np.float32).reshape(3, 2)
    logits = np.float32([[9, 0, 0], [0, 9, 0], [9, 0, 0]])

    def expert(e, rows):
        seen[e] = rows[:, 0].tolist()
        return rows

    assert np.array_equal(moe.moe(x, logits, expert, 1, True, to=F32), x)
    assert seen == {0: [0.0, 4.0], 1: [2.0]}
