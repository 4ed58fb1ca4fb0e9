"""What a quantised dot product is: the named modes act="q8_0" and act="q8_k".

CPU kernels do not widen quantised weights.  They quantise the activations too, multiply integers
with integers, and apply the scales to the integer sums.  Here that is defined as a number, not as
code:

1. A row of activations becomes blocks as ggml's reference makes them (`quantize_row_q8_0_ref`,
   `quantize_row_q8_K_ref`): x ~ dx * qx, int8 integers, dx a float16 (Q8_0) or float32 (Q8_K).
2. Weights are w = scale * q - minimum (`Parts`).  Cut a row into segments so short that one scale
   of the weights and one of the activations hold throughout.
3. y = sum over segments of  dx * (scale * sum(q * qx) - minimum * sum(qx)).

The inner sums are integers, and exact.  The outer one is taken in float64, segment after segment,
and rounded to float32 once.  Its value depends on its own row and token alone, so it is the same
in any batch.  A kernel may add in any order and in float32, and a SIMD kernel turns the partial
sums of its lanes into floats before they cancel; `linear` also returns what the error bound of all
of them needs, the sum of the magnitudes of the single products.

ggml pairs the formats of 32 weights with Q8_0 (Q4_1 and Q5_1 with Q8_1, which also rounds dx *
sum(qx) to float16) and those of 256 with Q8_K: `partner`.  Its x86 kernels differ from their own
reference in step 1: they divide by 127 / max and round ties to even.

>>> from refimpl.formats.quants import block_type
>>> w = np.float32([[1, -2] * 16]); x = np.float32([[127, 0] * 16])
>>> q8_0 = block_type("Q8_0")
>>> linear(x, q8_0, q8_0.quantize(w.reshape(1, 1, 32)), "q8_0")[0]      # 1 ~ 64 * float16(2 / 127)
array([[2047.875]], dtype=float32)
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float32, Float64, Shaped
from numpy import ndarray

from refimpl.errors import InputError, UnsupportedError
from refimpl.formats.quants.block import BlockType, Parts
from refimpl.formats.quants.k import Q8_K
from refimpl.formats.quants.legacy import Q8_0

ACTIVATIONS: Mapping[str, BlockType] = {"q8_0": Q8_0, "q8_k": Q8_K}


def partner(weights: BlockType) -> str:
    """The mode in which ggml computes with such weights (up to Q8_1's rounding of the sums)."""
    if weights.split is None:
        raise UnsupportedError(f"{weights.name} is not quantised: there is no integer dot product")
    return "q8_k" if weights.block_size == 256 else "q8_0"


def linear(
    x: Float32[ndarray, "tokens inner"],
    weights: BlockType,
    blocks: Shaped[ndarray, "outer n_blocks"],
    act: str,
) -> tuple[Float32[ndarray, "tokens outer"], Float64[ndarray, "tokens outer"]]:
    """x W^T, and the sum of the magnitudes of its products.

    A float32 evaluation in any order lies within gamma(segments + 8) times that sum, and an ulp.
    """
    y, magnitude = unrounded(x, weights, blocks, act)
    with np.errstate(over="ignore"):
        return y.astype(np.float32), magnitude


def unrounded(
    x: Float32[ndarray, "tokens inner"],
    weights: BlockType,
    blocks: Shaped[ndarray, "outer n_blocks"],
    act: str,
) -> tuple[Float64[ndarray, "tokens outer"], Float64[ndarray, "tokens outer"]]:
    """`linear` before its result is rounded."""
    if not len(x):  # a step may ask for no rows at all
        return np.zeros((0, len(blocks))), np.zeros((0, len(blocks)))
    a = split_rows(activation_type(act), quantize_activations(x, act))
    w = split_rows(weights, blocks)
    if a.q.shape[1] != w.q.shape[1]:
        raise InputError(f"x has {a.q.shape[1]} columns, and the weights {w.q.shape[1]}")
    return combine(a, w)


def activation_type(act: str) -> BlockType:
    if act not in ACTIVATIONS:
        raise UnsupportedError(f"no activation format {act!r}; known are {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[act]


def quantize_activations(
    x: Float32[ndarray, "tokens inner"], act: str
) -> Shaped[ndarray, "tokens n_blocks"]:
    """Step 1."""
    kind = activation_type(act)
    kind.row_bytes(x.shape[1])  # or an error that names the block size
    assert kind.quantize is not None
    return kind.quantize(x.reshape(len(x), -1, kind.block_size))


def split_rows(kind: BlockType, blocks: Shaped[ndarray, "rows n_blocks"]) -> Parts:
    """`Parts` of whole rows: q [rows, inner], scale and minimum [rows, sub-blocks]."""
    if kind.split is None:
        raise UnsupportedError(f"{kind.name} is not quantised: there is no integer dot product")
    rows = len(blocks)
    parts = kind.split(np.ascontiguousarray(blocks).reshape(-1))
    minimum = None if parts.minimum is None else parts.minimum.reshape(rows, -1)
    return Parts(parts.q.reshape(rows, -1), parts.scale.reshape(rows, -1), minimum)


def combine(
    a: Parts, w: Parts
) -> tuple[Float64[ndarray, "tokens outer"], Float64[ndarray, "tokens outer"]]:
    """Steps 2 and 3, before the rounding."""
    n = max(a.scale.shape[1], w.scale.shape[1])  # segments: both divide into them, powers of two
    dx = exactly(a.scale, n)
    qa, qw = segments(a.q, n), segments(w.q, n)
    sums = integer_sums(qa, qw)  # [segments, tokens, outer]
    sizes = integer_sums(np.abs(qa), np.abs(qw))
    scale = exactly(w.scale, n)
    y = np.zeros((len(a.q), len(w.q)))
    magnitude = np.zeros_like(y)
    for s in range(n):
        term = scale[:, s] * sums[s]
        size = np.abs(scale[:, s]) * sizes[s]
        if w.minimum is not None:
            minimum = exactly(w.minimum, n)[:, s]
            term = term - minimum * qa[s].sum(1)[:, None]
            size = size + np.abs(minimum) * np.abs(qa[s]).sum(1)[:, None]
        y += dx[:, s, None] * term
        magnitude += np.abs(dx[:, s, None]) * size
    return y, magnitude


def exactly(scale: Float32[ndarray, "rows subs"], n: int) -> Float64[ndarray, "rows segments"]:
    """The scale of every segment, in float64."""
    return np.repeat(scale.astype(np.float64), n // scale.shape[1], axis=1)


def segments(q: Shaped[ndarray, "rows inner"], n: int) -> Float32[ndarray, "segments rows length"]:
    return q.reshape(len(q), n, -1).swapaxes(0, 1).astype(np.float32)


def integer_sums(
    a: Float32[ndarray, "segments tokens length"], w: Float32[ndarray, "segments outer length"]
) -> Float64[ndarray, "segments tokens outer"]:
    """sum(q * qx), exactly: at most 256 products of 7 bits each stay below float32's 2**24."""
    sums: ndarray = a @ w.swapaxes(1, 2)
    return sums.astype(np.float64)
