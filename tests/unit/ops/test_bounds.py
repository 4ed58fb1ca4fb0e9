"""Each bound holds for float32 engines that add in other orders, and is not idle.

The engines below are honest float32: plain NumPy loops, blocks, and pairwise trees.  A bound that
cannot fail would be worthless, so each is also shown to catch an engine with a planted mistake.
"""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from refimpl.ops import activation, bounds, norm, rope, tensor
from refimpl.ops.attention import attend, attend_online
from refimpl.ops.numerics import F32

seeds = st.integers(0, 2**32 - 1)


def adversarial(rng, *shape):
    """Wide dynamic range and cancellation: every second value nearly undoes the one before."""
    x = rng.standard_normal(shape) * np.exp2(rng.integers(-12, 12, shape))
    x[..., 1::2] = -x[..., 0::2][..., : x[..., 1::2].shape[-1]] * (1 + 1e-4)
    return x.astype(np.float32)


def sum32(terms, order):
    """float32 sums over the last axis, in one of three orders."""
    if order == "forward":
        return np.add.accumulate(terms, axis=-1, dtype=np.float32)[..., -1]
    if order == "backward":
        return np.add.accumulate(terms[..., ::-1], axis=-1, dtype=np.float32)[..., -1]
    while terms.shape[-1] > 1:
        if terms.shape[-1] % 2:
            terms = np.concatenate([terms, np.zeros_like(terms[..., :1])], axis=-1)
        terms = terms[..., 0::2] + terms[..., 1::2]
    return terms[..., 0]


orders = st.sampled_from(["forward", "backward", "tree"])


def fraction(actual, reference, bound):
    """The largest share of the bound that was used."""
    gap = np.abs(actual.astype(np.float64) - reference.astype(np.float64))
    return float((gap / np.maximum(bound, 1e-300)).max())


@given(seeds, st.integers(1, 300), orders)
def test_linear_bound(seed, k, order):
    rng = np.random.default_rng(seed)
    x, w, b = adversarial(rng, 2, k), adversarial(rng, 3, k), adversarial(rng, 3)
    y = sum32(x[:, None] * w[None], order) + b
    assert fraction(y, tensor.linear(x, w, b), bounds.linear(x, w, b, engine=F32)) <= 1


@given(seeds, st.integers(2, 200), orders)
def test_norm_bounds(seed, n, order):
    rng = np.random.default_rng(seed)
    x, w, b = adversarial(rng, 2, n), adversarial(rng, n), adversarial(rng, n)
    f = np.float32
    root = np.sqrt(sum32(x * x, order) / f(n) + f(1e-5))[:, None]
    reference = norm.rms_norm(x, w, float(f(1e-5)))
    assert fraction(x / root * w, reference, bounds.rms_norm(x, w, float(f(1e-5)), engine=F32)) <= 1
    centred = x - (sum32(x, order) / f(n))[:, None]
    root = np.sqrt(sum32(centred * centred, order) / f(n) + f(1e-5))[:, None]
    reference = norm.layer_norm(x, w, b, float(f(1e-5)))
    bound = bounds.layer_norm(x, w, b, float(f(1e-5)), engine=F32)
    assert fraction(centred / root * w + b, reference, bound) <= 1


@given(seeds, st.integers(1, 200), orders)
def test_softmax_bound(seed, n, order):
    x = (np.random.default_rng(seed).standard_normal((2, n)) * 6).astype(np.float32)
    powers = np.exp(x - x.max(-1, keepdims=True))
    actual = powers / sum32(powers, order)[:, None]
    assert fraction(actual, activation.softmax(x), bounds.softmax(x, engine=F32)) <= 1


@given(seeds, st.sampled_from(["silu", "gelu_tanh"]))
def test_glu_bound(seed, kind):
    rng = np.random.default_rng(seed)
    gate, up = (rng.standard_normal((2, 1, 50)) * 5).astype(np.float32)
    f = np.float32
    if kind == "silu":
        active = gate / (f(1) + np.exp(-gate))
    else:
        inner = f(0.7978845608) * (gate + f(0.044715) * (gate * gate * gate))
        active = f(0.5) * gate * (f(1) + np.tanh(inner))
    actual = (active * up).astype(np.float32)
    assert (
        fraction(actual, activation.glu(gate, up, kind), bounds.glu(gate, up, kind, engine=F32))
        <= 1
    )


@given(seeds, st.integers(1, 60), st.integers(1, 9), st.sampled_from([None, 20.0]))
def test_attention_bound_for_online_softmax(seed, context, block, soft_cap):
    rng = np.random.default_rng(seed)
    q = (rng.standard_normal((1, 4, 8)) * 2).astype(np.float32)
    k = (rng.standard_normal((context, 2, 8)) * 2).astype(np.float32)
    v = adversarial(rng, context, 2, 4)
    at = np.array([context - 1])
    actual = online32(q[0], k, v, 0.25, soft_cap, block)
    reference = attend(q, k, v, at, scale=0.25, soft_cap=soft_cap)
    bound = bounds.attend(q, k, v, at, engine=F32, scale=0.25, soft_cap=soft_cap)
    assert fraction(actual[None], reference, bound) <= 1


def online32(q, k, v, scale, soft_cap, block):
    """Online softmax in float32 throughout, for one query: [heads, d], -> [heads, v_dim]."""
    f = np.float32
    g = q.shape[0] // k.shape[1]
    top, total, out = np.full((q.shape[0], 1), -np.inf, f), f(0), f(0)
    for start in range(0, len(k), block):
        keys = np.repeat(k[start : start + block], g, axis=1).transpose(1, 0, 2)
        values = np.repeat(v[start : start + block], g, axis=1).transpose(1, 2, 0)
        scores = sum32(q[:, None] * keys, "forward") * f(scale)
        if soft_cap is not None:
            scores = f(soft_cap) * np.tanh(scores / f(soft_cap))
        raised = np.maximum(top, scores.max(-1, keepdims=True))
        shrink, weights = np.exp(top - raised), np.exp(scores - raised)
        total = total * shrink + sum32(weights, "forward")[:, None]
        out = out * shrink + sum32(weights[:, None] * values, "forward")
        top = raised
    return out / total


@given(seeds, st.integers(1, 5), st.integers(0, 100_000), st.sampled_from(["interleaved", "half"]))
def test_rope_bound(seed, pairs, start, layout):
    rng = np.random.default_rng(seed)
    x, at = adversarial(rng, 3, 2, 2 * pairs + 1), start + np.arange(3)
    f = rope.frequencies(2 * pairs, 10000.0)
    angle = (at.astype(np.float32)[:, None, None] * f.astype(np.float32)).astype(np.float32)
    cos, sin, y = np.cos(angle), np.sin(angle), x.copy()
    halves = (slice(0, pairs), slice(pairs, 2 * pairs))
    a, b = halves if layout == "half" else (slice(0, 2 * pairs, 2), slice(1, 2 * pairs, 2))
    y[..., a], y[..., b] = x[..., a] * cos - x[..., b] * sin, x[..., a] * sin + x[..., b] * cos
    reference, bound = rope.rope(x, at, f, layout), bounds.rope(x, at, f, layout, engine=F32)
    assert fraction(y, reference, bound) <= 1
    assert np.array_equal(y[..., -1], reference[..., -1])


@given(seeds)
def test_add_bound(seed):
    rng = np.random.default_rng(seed)
    a, b = adversarial(rng, 50), adversarial(rng, 50)
    assert np.array_equal(a + b, tensor.add(a, b))  # both round the same sum once
    assert fraction(a - b, tensor.add(a, b), bounds.add(a, b, engine=F32)) > 1


def test_the_bounds_catch_planted_mistakes():
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((2, 64)), rng.standard_normal((3, 64))
    x, w = x.astype(np.float32), w.astype(np.float32)
    bound = bounds.linear(x, w, None, engine=F32)
    in_half = tensor.linear(x.astype(np.float16), w)  # float16 activations, claimed as float32
    assert fraction(in_half, tensor.linear(x, w), bound) > 1
    ones = np.ones(64, np.float32)
    other_eps = norm.rms_norm(x, ones, 1e-3)
    assert (
        fraction(
            other_eps, norm.rms_norm(x, ones, 1e-6), bounds.rms_norm(x, ones, 1e-6, engine=F32)
        )
        > 1
    )
    k, v = rng.standard_normal((2, 9, 1, 8)).astype(np.float32)
    q, at = x[:1, None, :8], np.array([8])
    late = attend(q, k, v, at - 1, scale=1.0)  # the mask is one key short
    bound = bounds.attend(q, k, v, at, engine=F32, scale=1.0)
    assert fraction(late, attend(q, k, v, at, scale=1.0), bound) > 1


def test_online_softmax_in_float64_is_far_inside_the_bound():
    rng = np.random.default_rng(1)
    q, k, v = (rng.standard_normal((30, h, 8)).astype(np.float32) for h in (4, 2, 2))
    at = np.arange(30)
    online = attend_online(q, k, v, at, scale=0.35, block=7)
    used = fraction(
        online, attend(q, k, v, at, scale=0.35), bounds.attend(q, k, v, at, engine=F32, scale=0.35)
    )
    assert used < 0.2
