"""How ggml makes Q4_0 ... Q8_1: one scale per block, every weight to its nearest step.

Sources: quantize_row_q4_0_ref ... quantize_row_q8_1_ref, and quantize_row_q4_0_impl ... (with an
importance) in ggml-quants.c (0.25).  The scale comes from the largest magnitude, or from the range.
With an importance a search (`search`) finds the scale that minimises the weighted square error.

Shapes: x [n, 32] is n blocks; columns [n, 1] hold one number per block.
"""

import numpy as np
from jaxtyping import Float32, Int32, UInt8
from numpy import ndarray

from refimpl.formats.quants import search
from refimpl.formats.quants.bits import pack_in_order, pack_striped
from refimpl.formats.quants.encode import (
    Fields,
    reciprocal,
    round_away,
    truncate,
)
from refimpl.formats.quants.k_encode import columns, rows
from refimpl.formats.quants.search import Scale, largest_down

Weights = Float32[ndarray, "n 32"]
Importance = Float32[ndarray, "n 32"] | None


def nibbles(q: UInt8[ndarray, "n 32"]) -> UInt8[ndarray, "n 16"]:
    return pack_striped(q & np.uint8(15), 4, run=16)


def nibbles_and_fifth_bit(q: UInt8[ndarray, "n 32"]) -> Fields:
    return {"qs": nibbles(q), "qh": pack_in_order(q >> np.uint8(4), 1)}


def symmetric_steps(x: Weights, half: int) -> tuple[Float32[ndarray, "n"], UInt8[ndarray, "n 32"]]:
    """Scale and quants 0 .. 2 * half - 1 around `half`: the largest weight becomes -half."""
    d = largest_down(x.T) / np.float32(-half)
    shifted = x * reciprocal(d)[:, None] + np.float32(half + 0.5)
    q = truncate(shifted).astype(np.int8)
    return d, np.minimum(q, np.int8(2 * half - 1)).view(np.uint8)


def range_steps(
    x: Weights, top: int
) -> tuple[Float32[ndarray, "n"], Float32[ndarray, "n"], Int32[ndarray, "n 32"]]:
    """Scale, minimum, and quants 0 .. top from the minimum up (not yet clipped to a byte)."""
    rows = np.arange(len(x))
    minimum, maximum = x[rows, x.argmin(axis=1)], x[rows, x.argmax(axis=1)]
    d = (maximum - minimum) / np.float32(top)
    scaled = (x - minimum[:, None]) * reciprocal(d)[:, None]
    return d, minimum, truncate(scaled + np.float32(0.5))


def row_error_weights(
    weights: Float32[ndarray, "*rows 32"], importance: Float32[ndarray, "*some 32"]
) -> Float32[ndarray, "*rows 32"]:
    """The importance, more for large weights: times sqrt(mean square of the whole row + x**2)."""
    squares = weights * weights
    rows = squares.reshape(*weights.shape[:-2], -1)
    total = np.add.accumulate(rows, axis=-1)[..., -1]  # in C's order, unlike `sum`
    sigma2 = (total / np.float32(rows.shape[-1])).reshape(
        *rows.shape[:-1], *[1] * (weights.ndim > 1), 1
    )
    weighted: ndarray = importance * np.sqrt(sigma2 + squares)
    return weighted


def searched_symmetric(x: Weights, w: Weights, half: int) -> tuple[Scale, UInt8[ndarray, "n 32"]]:
    d, q = search.symmetric(columns(x, 32), half, columns(w, 32))
    return d, rows(q, 32).astype(np.uint8)


def searched_range(x: Weights, w: Weights, top: int) -> tuple[Scale, Scale, UInt8[ndarray, "n 32"]]:
    tries = search.guesses(top, -0.9, 0.05, 36)
    d, minimum, q = search.with_minimum(columns(x, 32), top, columns(w, 32), tries, absolute=False)
    return d, -minimum, rows(q, 32).astype(np.uint8)


def encode_q4_0(x: Weights, w: Importance) -> Fields:
    d, q = symmetric_steps(x, 8) if w is None else searched_symmetric(x, w, 8)
    return {"d": d, "qs": nibbles(q)}


def encode_q4_1(x: Weights, w: Importance) -> Fields:
    d, m, q = range_steps(x, 15) if w is None else searched_range(x, w, 15)
    clipped = np.minimum(q.astype(np.int8), np.int8(15)).view(np.uint8)
    return {"d": d, "m": m, "qs": nibbles(clipped)}


def encode_q5_0(x: Weights, w: Importance) -> Fields:
    d, q = symmetric_steps(x, 16) if w is None else searched_symmetric(x, w, 16)
    return {"d": d, **nibbles_and_fifth_bit(q & np.uint8(31))}


def encode_q5_1(x: Weights, w: Importance) -> Fields:
    d, m, q = range_steps(x, 31) if w is None else searched_range(x, w, 31)
    return {"d": d, "m": m, **nibbles_and_fifth_bit(q.astype(np.uint8) & np.uint8(31))}


def encode_q8_0(x: Weights, w: Importance) -> Fields:
    d = np.abs(x).max(axis=1) / np.float32(127)
    return {"d": d, "qs": truncate(round_away(x * reciprocal(d)[:, None])).astype(np.int8)}


def encode_q8_1(x: Weights, w: Importance) -> Fields:
    fields = dict(encode_q8_0(x, w))
    total = fields["qs"].sum(axis=1, dtype=np.int32).astype(np.float32)
    return {**fields, "s": total * fields["d"]}
