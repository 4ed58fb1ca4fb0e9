"""act="q8_0" and act="q8_k" against exact rational arithmetic, and ggml's kernels against them."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from golden.quants import ggml
from refimpl.errors import FormatError, InputError, UnsupportedError
from refimpl.formats.quants import BLOCK_TYPES, block_type
from refimpl.formats.quants.dot import (
    ACTIVATIONS,
    linear,
    partner,
    quantize_activations,
    split_rows,
)

KINDS = [t for t in BLOCK_TYPES.values() if t.split]
NAMES = lambda t: t.name
INNER = 512
U = 2.0**-24
FEWER = settings(max_examples=max(1, settings().max_examples // 5))


def random_blocks(t, seed, rows=2):
    """Any bytes, but scales that are finite and of ordinary size."""
    rng = np.random.default_rng(seed)
    n = rows * INNER // t.block_size
    blocks = rng.integers(0, 256, (n, t.dtype.itemsize), dtype=np.uint8).view(t.dtype)[:, 0]
    for name in t.dtype.names:
        if t.dtype[name].base.kind == "f":
            blocks[name] = rng.uniform(-1, 1, n)
    if t.name == "IQ1_M":  # its float16 scale lies in the top four bits of four uint16
        words = blocks["scales"].view("<u2") & 0x0FFF
        half = rng.uniform(0.5, 1, n).astype(np.float16).view(np.uint16)
        blocks["scales"] = (
            (words | half[:, None] >> np.arange(0, 16, 4) << 12).astype("<u2").view("u1")
        )
    if t.name == "MXFP4":
        blocks["e"] = rng.integers(100, 140, n)
    return blocks.reshape(rows, -1)


def activations(seed, tokens=2):
    return np.random.default_rng(seed).standard_normal((tokens, INNER)).astype(np.float32)


@pytest.mark.parametrize("t", KINDS, ids=NAMES)
def test_no_rows_give_no_rows(t):
    """A chunk of a prompt that nobody draws a token after."""
    y, magnitude = linear(activations(0, tokens=0), t, random_blocks(t, 0), partner(t))
    assert y.shape == magnitude.shape == (0, 2)


@pytest.mark.parametrize("act", ACTIVATIONS)
@pytest.mark.parametrize("t", KINDS, ids=NAMES)
@FEWER
@given(seed=st.integers(0, 2**32 - 1))
def test_the_result_is_the_exact_dot_product_rounded_once(t, act, seed):
    x, blocks = activations(seed), random_blocks(t, seed)
    y, magnitude = linear(x, t, blocks, act)
    w = exact_weights(split_rows(t, blocks))
    a = exact_weights(split_rows(ACTIVATIONS[act], quantize_activations(x, act)))
    for token, row in np.ndindex(y.shape):
        exact = sum(p * q for p, q in zip(a[token], w[row], strict=True))
        float64_error = 2.0**-50 * magnitude[token, row]
        off = abs(Fraction(float(y[token, row])) - exact)
        assert off <= Fraction(U) * abs(exact) + Fraction(float64_error)


def exact_weights(parts):
    """[rows][inner] rational numbers."""
    per = parts.q.shape[1] // parts.scale.shape[1]
    rows = []
    for r in range(len(parts.q)):
        scale = [Fraction(float(s)) for s in parts.scale[r]]
        low = [Fraction(0)] * len(scale)
        if parts.minimum is not None:
            low = [Fraction(float(m)) for m in parts.minimum[r]]
        rows.append([scale[i // per] * int(q) - low[i // per] for i, q in enumerate(parts.q[r])])
    return rows


@pytest.mark.parametrize("t", KINDS, ids=NAMES)
def test_a_row_does_not_depend_on_the_batch(t):
    x, blocks = activations(5, tokens=7), random_blocks(t, 5, rows=5)
    together, _ = linear(x, t, blocks, "q8_k")
    for token in range(7):
        for row in range(5):
            alone, _ = linear(x[token : token + 1], t, blocks[row : row + 1], "q8_k")
            assert alone[0, 0] == together[token, row]


@pytest.mark.external
@pytest.mark.parametrize("t", [t for t in KINDS if t.name not in ("Q8_1", "Q8_K")], ids=NAMES)
@FEWER
@given(seed=st.integers(0, 2**32 - 1))
def test_ggmls_kernels_lie_within_the_bound(t, seed):
    if ggml.library_path() is None:
        pytest.skip("needs ggml's library: pip install llama-cpp-python")
    act = {"Q4_1": "Q8_1", "Q5_1": "Q8_1"}.get(t.name, partner(t).upper())
    x, blocks = activations(seed, tokens=1), random_blocks(t, seed, rows=1)
    packed = quantize_activations(x, partner(t)) if act != "Q8_1" else quantize_q8_1(x)
    theirs = ggml.vec_dot(t.name, act, blocks, packed, INNER)
    y, magnitude = linear(x, t, blocks, partner(t))
    n = INNER // 16 + 8  # operations on the way of a term, of which the integer ones are exact
    bound = n * U / (1 - n * U) * magnitude[0, 0] + U * abs(y[0, 0])
    if act == "Q8_1":  # its sums are float16
        low = split_rows(t, blocks).minimum[0]
        bound += (
            2.0**-11 * (np.abs(low) * np.abs(packed["s"][0].astype(float))).sum() * (1 + 2.0**-10)
        )
    assert abs(theirs - y[0, 0]) <= bound


def quantize_q8_1(x):
    t = block_type("Q8_1")
    return t.quantize(x.reshape(len(x), -1, 32))


def test_the_bound_is_not_vacuous():
    """A kernel that forgets one weight lies outside."""
    t = block_type("Q4_K")
    x, blocks = activations(3, tokens=1), random_blocks(t, 3, rows=1)
    y, magnitude = linear(x, t, blocks, "q8_k")
    x[0, 7] = 0
    forgetful, _ = linear(x, t, blocks, "q8_k")
    n = INNER // 16 + 8
    assert abs(forgetful - y)[0, 0] > n * U / (1 - n * U) * magnitude[0, 0]


def test_what_cannot_be_is_named():
    t = block_type("Q4_0")
    x, blocks = activations(0), random_blocks(t, 0)
    with pytest.raises(UnsupportedError, match="no activation format"):
        linear(x, t, blocks, "q4_0")
    with pytest.raises(UnsupportedError, match="F16 is not quantised"):
        linear(x, block_type("F16"), np.zeros((1, INNER), np.float16), "q8_0")
    with pytest.raises(InputError, match="512 columns, and the weights 256"):
        linear(x, t, blocks[:, :8], "q8_0")
    with pytest.raises(FormatError, match="Q8_K stores blocks of 256"):
        linear(x[:, :96], t, blocks[:, :3], "q8_k")
