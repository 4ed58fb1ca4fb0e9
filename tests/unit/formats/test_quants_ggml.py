"""The block formats against ggml's own C code, bit for bit: decoding, and every quantiser."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from golden.quants import ggml
from refimpl.formats.quants import BLOCK_TYPES

pytestmark = [
    pytest.mark.external,
    pytest.mark.skipif(ggml.library_path() is None, reason="needs pip install llama-cpp-python"),
]

BLOCKS = [t for t in BLOCK_TYPES.values() if t.block_size > 1]
QUANTISED = [t for t in BLOCKS if t.name not in ("Q8_1", "Q8_K")]
DEEP = settings().max_examples > 50
SLOW = () if DEEP else ("IQ1_S", "IQ1_M")
"""ggml needs twenty seconds to prepare their searches; the golden vectors cover them meanwhile."""
GRIDS = [t for t in QUANTISED if t.name.startswith(("IQ1", "IQ2", "IQ3")) and t.name not in SLOW]
OTHERS = [t for t in QUANTISED if not t.name.startswith(("IQ1", "IQ2", "IQ3"))]
FEWER = settings(max_examples=max(1, settings().max_examples // 5))
"""Ours and ggml's searches over the codebooks are slow."""
NAMES = lambda t: t.name
COLUMNS = 512
seeds, kinds, spreads = st.integers(0, 2**32 - 1), st.integers(0, 9), st.integers(0, 8)


@pytest.mark.parametrize("t", [t for t in BLOCKS if t.name != "Q8_1"], ids=NAMES)
@given(seed=seeds, extreme=st.booleans())
def test_dequantised_weights_are_ggmls_in_every_bit(t, seed, extreme):
    raw = np.random.default_rng(seed).integers(0, 256, (16, t.dtype.itemsize), dtype=np.uint8)
    if extreme:  # runs of zeros and ones: subnormal, infinite and NaN scales
        raw[raw < 80], raw[raw > 176] = 0, 255
    theirs = ggml.dequantize(t.name, raw, 16 * t.block_size).reshape(16, -1)
    ours = t.dequantize(raw.view(t.dtype)[:, 0])
    nan = np.isnan(theirs)
    np.testing.assert_array_equal(np.isnan(ours), nan)
    np.testing.assert_array_equal(ours[~nan].view(np.uint32), theirs[~nan].view(np.uint32))


@pytest.mark.parametrize("t", OTHERS, ids=NAMES)
@given(seed=seeds, kind=kinds)
def test_quantised_bytes_are_ggmls(t, seed, kind):
    check_quantised(t, weights(seed, kind))


@pytest.mark.parametrize("t", [t for t in GRIDS if not t.needs_importance], ids=NAMES)
@FEWER
@given(seed=seeds, kind=kinds)
def test_bytes_quantised_to_a_codebook_are_ggmls(t, seed, kind):
    check_quantised(t, weights(seed, kind))


def check_quantised(t, x):
    theirs = ggml.quantize_chunk(t.id, x, t.row_bytes(COLUMNS))
    assert_same_blocks(t, t.quantize(x.reshape(len(x), -1, t.block_size)), theirs)


@pytest.mark.parametrize("t", OTHERS, ids=NAMES)
@given(seed=seeds, kind=kinds, spread=spreads)
def test_quantised_bytes_with_an_importance_are_ggmls(t, seed, kind, spread):
    check_quantised_with_importance(t, weights(seed, kind), seed, spread)


@pytest.mark.parametrize("t", GRIDS, ids=NAMES)
@FEWER
@given(seed=seeds, kind=kinds, spread=spreads)
def test_bytes_quantised_to_a_codebook_with_an_importance_are_ggmls(t, seed, kind, spread):
    check_quantised_with_importance(t, weights(seed, kind), seed, spread)


def check_quantised_with_importance(t, x, seed, spread):
    rng = np.random.default_rng(seed + 1)
    importance = np.exp(spread * rng.standard_normal(COLUMNS)).astype(np.float32)
    importance[rng.random(COLUMNS) < 0.1] = 0
    theirs = ggml.quantize_chunk(t.id, x, t.row_bytes(COLUMNS), importance)
    ours = t.quantize(x.reshape(len(x), -1, t.block_size), importance.reshape(-1, t.block_size))
    assert_same_blocks(t, ours, theirs)


@pytest.mark.parametrize("name", ["Q8_1", "Q8_K"])
@given(seed=seeds, kind=kinds)
def test_quantised_activations_are_ggmls(name, seed, kind):
    t = next(t for t in BLOCKS if t.name == name)
    x = weights(seed, kind)
    theirs = ggml.quantize_row_ref(name, x, len(x) * t.row_bytes(COLUMNS))
    assert_same_blocks(t, t.quantize(x.reshape(len(x), -1, t.block_size)), theirs)


def weights(seed: int, kind: int) -> np.ndarray:
    """[2, COLUMNS]: from ordinary to hostile (but nothing at which ggml's IQ code aborts)."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((2, COLUMNS))
    zero_runs = np.where(np.arange(COLUMNS) // 32 % 3 == seed % 3, 0, x)
    kinds = {
        0: x,
        1: 0.02 * x,
        2: abs(x),
        3: np.where(rng.random(x.shape) < 0.8, 0, x),
        4: rng.integers(-3, 4, x.shape),
        5: np.broadcast_to(x[:, :1], x.shape),
        6: np.where(rng.random(x.shape) < 0.5, 0.0, -0.0),
        7: zero_runs,
        8: x * np.exp2(rng.integers(-25, 25, x.shape)),
        9: x * 1e-40,
    }
    return kinds[kind].astype(np.float32)


def assert_same_blocks(t, ours: np.ndarray, theirs: np.ndarray) -> None:
    ours = np.ascontiguousarray(ours).view(np.uint8).reshape(-1, t.dtype.itemsize)
    np.testing.assert_array_equal(ours, theirs.reshape(ours.shape))
