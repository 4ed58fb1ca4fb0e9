"""How ggml makes IQ1_S and IQ1_M: the best split of the sorted weights into -1, 0 and 1.

Sources: quantize_row_iq1_s_impl, quantize_row_iq1_m_impl in ggml-quants.c (0.25).  With three
levels the least weighted error can be found outright: sort a sub-block; the levels are then three
runs, cut at i1 <= i2; prefix sums give scale and error of every cut, for every choice of the
shifts (+1/8 or -1/8).  What the cut gives is then snapped to the codebook (`lattice`) and the
scale fitted again.

The order of equal weights after sorting matters; ggml calls C's qsort, and this sorts stably, as
the qsort of glibc before 2.37 does.

Shapes: a sub-block (IQ1_S: 32, IQ1_M: 16 weights) is a column of [k, n]; half-blocks of IQ1_M have
shifts of their own.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float32, Int32, Int64, Num
from numpy import ndarray

from refimpl.formats.quants import grids
from refimpl.formats.quants.bits import pack_in_order
from refimpl.formats.quants.encode import Fields, check_search, clip, nearest_int, ordered_sum
from refimpl.formats.quants.k_encode import (
    columns,
    error_weights,
    largest_of,
    mean_square,
    rows,
    zero_unless,
)
from refimpl.formats.quants.lattice import Lattice, snap
from refimpl.formats.quants.search import Group, Scale

Weights = Float32[ndarray, "n 256"]
Importance = Float32[ndarray, "n 256"] | None
Signs = Float32[ndarray, "*groups n"]
Splits = tuple[Scale, ndarray, ndarray, ndarray]
"""The best scale, i1, i2 (-1 if no split has a positive error weight) and choice of shifts."""

F32_MIN = np.float32(-np.finfo(np.float32).max)
DELTA = np.float32(0.125)
ONE = np.float32(1)


def levels(sign: int) -> tuple[np.float32, np.float32, np.float32]:
    """What -1, 0 and 1 stand for under a shift of that sign."""
    shift = np.float32(sign) * DELTA
    return shift - ONE, shift, shift + ONE


def best_split(candidates: Iterator[tuple[int, int, int, Scale, Scale]], start: Scale) -> Splits:
    """The candidate (i1, i2, shifts, sum w x q, sum w q q) with the least error, first of ties."""
    scale, score = start, np.full_like(start, F32_MIN)
    cut = np.full((3, len(start)), -1)
    for i1, i2, shifts, xq, qq in candidates:
        better = (qq > 0) & (xq * xq > score * qq)
        scale = np.where(better, xq / qq, scale)
        score = np.where(better, scale * xq, score)
        cut[:, better] = np.array([[i1], [i2], [shifts]])
    return scale, *cut


def prefix_sums(terms: Float32[ndarray, "k n"]) -> Float32[ndarray, "k_and_1 n"]:
    sums = np.zeros((len(terms) + 1, terms.shape[1]), dtype=np.float32)
    for i, term in enumerate(terms):
        sums[i + 1] = sums[i] + term
    return sums


def sort_down(x: Group) -> Int64[ndarray, "k n"]:
    return np.argsort(x, axis=0, kind="stable")


def split_levels(order: Int64[ndarray, "k n"], i1: ndarray, i2: ndarray) -> Int32[ndarray, "k n"]:
    """Level 0, 1 or 2 of every weight: by its rank against the two cuts."""
    rank = np.argsort(order, axis=0, kind="stable")
    return np.add(rank >= i1, rank >= i2, dtype=np.int32)


def fit(x: Group, w: Group, q: Group) -> tuple[Scale, Scale]:
    """sum w q x, sum w q q; the products in the order of ggml's IQ1 code."""
    return ordered_sum(w * q * x), ordered_sum(w * q * q)


def snap_split(
    x: Group, w: Group, level: Int32[ndarray, "k n"], scale: Scale, sign: Signs
) -> tuple[Scale, Int64[ndarray, "groups n"]]:
    """Patterns of each 8 weights, and the scale fitted again where a pattern had to be moved."""
    lattice = Lattice.of(grids.IQ1)
    groups = len(x) // 8
    flat_sign = np.broadcast_to(sign, (groups, len(scale))).reshape(-1)
    values = np.stack(levels_of(flat_sign)) * np.tile(scale, groups)
    found = snap(lattice, grids.IQ1, eights(level), values, eights(x), eights(w))
    index, on_grid = (f.reshape(groups, -1) for f in found)
    q = shifted_levels(index, sign)
    xq, qq = fit(x, w, q)
    again = ~on_grid.all(axis=0) & (xq > 0) & (qq > 0)
    return np.where(again, xq / qq, scale), index


def levels_of(sign: Float32[ndarray, "n"]) -> list[Float32[ndarray, "n"]]:
    return [sign * DELTA + np.float32(q) for q in (-1, 0, 1)]


def eights(x: Num[ndarray, "k n"]) -> Num[ndarray, "8 columns"]:
    """The groups of 8 of a sub-block side by side."""
    return x.reshape(-1, 8, x.shape[1]).swapaxes(0, 1).reshape(8, -1)


def shifted_levels(index: Int64[ndarray, "groups n"], sign: Signs) -> Group:
    """q +- 1/8 of the patterns, one sub-block a column."""
    q = Lattice.of(grids.IQ1).fields[index].astype(np.float32) - ONE  # [groups, n, 8]
    shifted: ndarray = q + (np.broadcast_to(sign, index.shape) * DELTA)[..., None]
    return shifted.swapaxes(1, 2).reshape(-1, index.shape[1])


def sub_block_weights(x: Weights, importance: Importance, k: int) -> Float32[ndarray, "k groups"]:
    if importance is None:
        return columns(x * x, k)
    return columns(error_weights(x, importance, mean_square(x, 2)), k)


def scale_codes(
    scales: Float32[ndarray, "n subs"],
) -> tuple[Float32[ndarray, "n"], Int32[ndarray, "n subs"]]:
    """d, and the 3-bit scales: d * (2 * code + 1) is nearest to the scale."""
    largest = largest_of(scales)
    d = largest / np.float32(15)
    steps = np.float32(0.5) * ((ONE / d)[:, None] * scales - ONE)
    return d, zero_unless(largest > 0, clip(nearest_int(steps), 0, 7))


# IQ1_S


def splits_iq1_s(
    x: Group, w: Group, order: ndarray
) -> Iterator[tuple[int, int, int, Scale, Scale]]:
    """Every cut under a shift of +1/8 (0), then of -1/8 (1)."""
    sorted_w = np.take_along_axis(w, order, axis=0)
    xs = prefix_sums(sorted_w * np.take_along_axis(x, order, axis=0))
    ws = prefix_sums(sorted_w)
    k = len(x)
    for i1 in range(k + 1):
        for i2 in range(i1, k + 1):
            x_runs = xs[i1], xs[i2] - xs[i1], xs[k] - xs[i2]
            w_runs = ws[i1], ws[i2] - ws[i1], ws[k] - ws[i2]
            for shifts, (a, b, c) in enumerate((levels(1), levels(-1))):
                xq = x_runs[0] * a + x_runs[1] * b + x_runs[2] * c
                qq = w_runs[0] * a * a + w_runs[1] * b * b + w_runs[2] * c * c
                yield i1, i2, shifts, xq, qq


def search_iq1_s(x: Group, w: Group) -> tuple[Scale, ndarray, Signs]:
    """Scale, patterns and sign of the shift of every sub-block."""
    order = sort_down(x)
    scale, i1, i2, shifts = best_split(splits_iq1_s(x, w, order), np.abs(x).max(axis=0))
    found = i1 >= 0
    level = split_levels(order, i1, i2)
    level = np.where(scale < 0, 2 - level, level)
    sign = np.where((shifts == 0) ^ (scale < 0), ONE, -ONE)
    scale, index = snap_split(x, w, level, np.abs(scale), sign)
    return zero_unless(found, scale), np.where(found, index, 0), np.where(found, sign, ONE)


def encode_iq1_s(x: Weights, importance: Importance) -> Fields:
    x_columns, w_columns = columns(x, 32), sub_block_weights(x, importance, 32)
    live = np.abs(x_columns).max(axis=0) >= np.float32(1e-12)
    scale, sign = np.zeros(live.size, dtype=np.float32), np.ones(live.size, dtype=np.float32)
    index = np.zeros((4, live.size), dtype=np.int64)
    if live.any():
        found = search_iq1_s(x_columns[:, live], w_columns[:, live])
        scale[live], index[:, live], sign[live] = found
    check_search(scale >= 0)
    d, codes = scale_codes(scale.reshape(-1, 8))
    some = d > 0
    high = np.bitwise_or.reduce(index >> 8 << np.array([[0], [3], [6], [9]]), axis=0).reshape(-1, 8)
    minus = zero_unless(some, sign.reshape(-1, 8) < 0)
    return {
        "d": d * np.float32(1.125),
        "qs": rows(index & 255, 32),
        "qh": high | codes << 12 | minus.astype(np.int64) << 15,
    }


# IQ1_M

SHIFTS_IQ1_M = np.array([[1, 1, -1, -1], [1, -1, 1, -1]], dtype=np.float32)
"""The signs of the two halves' shifts under each of the four choices."""


def splits_iq1_m(
    x: Group, w: Group, order: ndarray
) -> Iterator[tuple[int, int, int, Scale, Scale]]:
    """Every cut under the four choices of shifts.

    The prefix sums are kept per half.  Since neighbouring levels differ by 1, a half's sum of w x q
    is total * highest level - sums up to both cuts.
    """
    k = len(x)
    first_half = order < k // 2
    sorted_w = np.take_along_axis(w, order, axis=0)
    sorted_wx = sorted_w * np.take_along_axis(x, order, axis=0)
    zero = np.float32(0)
    halves = first_half, ~first_half
    xs = [prefix_sums(np.where(half, sorted_wx, zero)) for half in halves]
    ws = [prefix_sums(np.where(half, sorted_w, zero)) for half in halves]
    for i1 in range(k + 1):
        for i2 in range(i1, k + 1):
            sums = [[_half_sums(xs[h], ws[h], i1, i2, sign) for sign in (1, -1)] for h in (0, 1)]
            for shifts, (a, b) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
                (x0, q0), (x1, q1) = sums[0][a], sums[1][b]
                yield i1, i2, shifts, x0 + x1, q0 + q1


def _half_sums(xs: ndarray, ws: ndarray, i1: int, i2: int, sign: int) -> tuple[Scale, Scale]:
    low, middle, high = levels(sign)
    xq = xs[-1] * high - (xs[i1] + xs[i2])
    first, second = low * low - middle * middle, middle * middle - high * high
    return xq, ws[-1] * high * high + ws[i1] * first + ws[i2] * second


def search_iq1_m(x: Group, w: Group) -> tuple[Scale, ndarray, ndarray]:
    """Scale, patterns and choice of shifts of every sub-block."""
    order = sort_down(x)
    scale, i1, i2, shifts = best_split(splits_iq1_m(x, w, order), np.abs(x).max(axis=0))
    found = i1 >= 0
    level = split_levels(order, i1, i2)
    level = np.where(scale < 0, 2 - level, level)
    shifts = np.where(found, np.where(scale < 0, 3 - shifts, shifts), 0)
    scale, index = snap_split(x, w, level, np.abs(scale), SHIFTS_IQ1_M[:, shifts])
    return zero_unless(found, scale), np.where(found, index, 0), shifts


def encode_iq1_m(x: Weights, importance: Importance) -> Fields:
    x_columns, w_columns = columns(x, 16), sub_block_weights(x, importance, 16)
    live = np.abs(x_columns).max(axis=0) >= np.float32(1e-7)
    scale, shifts = np.zeros(live.size, dtype=np.float32), np.zeros(live.size, dtype=np.int64)
    index = np.zeros((2, live.size), dtype=np.int64)
    if live.any():
        found = search_iq1_m(x_columns[:, live], w_columns[:, live])
        scale[live], index[:, live], shifts[live] = found
    check_search(scale >= 0)
    first_d, codes = scale_codes(scale.reshape(-1, 16))
    some = first_d > 0
    sign = SHIFTS_IQ1_M[:, shifts]
    d = block_scale_iq1_m(x_columns, w_columns, shifted_levels(index, sign), codes, first_d)
    minus = zero_unless(some, rows(sign < 0, 32))
    nibbles = rows(index >> 8, 32) | minus.astype(np.int64) << 3
    return {
        "qs": rows(index & 255, 32),
        "qh": pack_in_order(nibbles.astype(np.uint8), 4),
        "scales": scatter_scales(zero_unless(some, d * np.float32(1.1125)), codes),
    }


def block_scale_iq1_m(
    x: Group,
    w: Group,
    q: Group,
    codes: Int32[ndarray, "blocks 16"],
    first: Float32[ndarray, "blocks"],
) -> Float32[ndarray, "blocks"]:
    """The scale fitted to all 256 weights at once, their sub-blocks' scales given."""
    factor = (2 * codes + 1).reshape(1, -1).astype(np.float32)
    whole = [columns(rows(part), 256) for part in (x, w, q * factor)]
    xq, qq = fit(*whole)
    return np.where(qq > 0, xq / qq, first)


def scatter_scales(d: Float32[ndarray, "n"], codes: Int32[ndarray, "n 16"]) -> ndarray:
    """uint8 [n, 8]: four uint16 of four 3-bit scales, and four bits of the float16 `d` each."""
    threes = codes.reshape(-1, 4, 4) << np.array([0, 3, 6, 9])
    bits = d.astype(np.float16).view(np.uint16)[:, None] >> np.array([0, 4, 8, 12], dtype=np.uint16)
    words = np.bitwise_or.reduce(threes, axis=2).astype(np.uint16) | bits << np.uint16(12)
    scattered: ndarray = words.astype("<u2")
    return scattered.view(np.uint8)
