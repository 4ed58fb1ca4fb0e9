"""How ggml makes the IQ2 and IQ3 formats: signs apart, then a scale and patterns per sub-block.

Sources: quantize_row_iq2_xxs_impl, ..._iq2_xs_..., ..._iq2_s_..., ..._iq3_xxs_..., ..._iq3_s_...
in ggml-quants.c (0.25).  For a row of guesses at the scale every group of 8 (IQ3: 4) magnitudes
is snapped to the codebook (`lattice`), and the guess with the least weighted error wins; then
groups that were moved are snapped once more at the scale found, and the scale is fitted a last
time.

Shapes: magnitudes and error weights are [sub, n], one sub-block of 32 or 16 weights a column; the
groups within a sub-block are [sub / group, group, n], and `flat` makes them [group, columns].
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int32, Int64, Num, UInt8
from numpy import ndarray

from refimpl.formats.quants import grids, search
from refimpl.formats.quants.bits import pack_in_order
from refimpl.formats.quants.encode import Fields, check_search, clip, nearest_int, ordered_sum
from refimpl.formats.quants.grids import Codebook
from refimpl.formats.quants.k_encode import columns, largest_of, mean_square, rows
from refimpl.formats.quants.k_encode import error_weights as importance_weights
from refimpl.formats.quants.lattice import Lattice, snap
from refimpl.formats.quants.search import Group, Scale

Weights = Float32[ndarray, "n 256"]
Importance = Float32[ndarray, "n 256"] | None


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """In what the five formats differ.

    `sub`: weights that share a scale; `tries` guesses of `step` either side; `even`: the number of
    minus signs in 8 weights is made even; `sigma`: times the mean square in the error weights;
    `too_small`: below it a sub-block is zero; `again`: snap every group again at the end, not only
    those that were moved; `fudge`: what the block's scale is multiplied by.
    """

    book: Codebook
    sub: int
    tries: int
    step: float
    even: bool
    sigma: int
    too_small: float
    again: bool = False
    fudge: float = 1.0

    @property
    def levels(self) -> int:
        return len(self.book.magnitudes)

    @property
    def group(self) -> int:
        return self.book.group


IQ2_XXS = Recipe(
    book=grids.IQ2_XXS, sub=32, tries=6, step=0.1, even=True, sigma=1, too_small=1e-15, again=True
)
IQ2_XS = Recipe(book=grids.IQ2_XS, sub=16, tries=9, step=0.1, even=True, sigma=1, too_small=1e-15)
IQ2_S = Recipe(
    book=grids.IQ2_S, sub=16, tries=9, step=0.1, even=False, sigma=2, too_small=1e-8, fudge=0.9875
)
IQ3_XXS = Recipe(
    book=grids.IQ3_XXS, sub=32, tries=15, step=0.2, even=True, sigma=2, too_small=1e-8, fudge=1.0125
)
IQ3_S = Recipe(
    book=grids.IQ3_S,
    sub=32,
    tries=9,
    step=0.2,
    even=False,
    sigma=2,
    too_small=2.0**-149,
    again=True,
    fudge=1.033,
)


def error_weights(r: Recipe, x: Weights, importance: Importance) -> Weights:
    sigma2 = mean_square(x, r.sigma)
    squares: ndarray = x * x
    if importance is not None:
        return importance_weights(x, importance, sigma2)
    floor: ndarray = np.float32(0.25) * sigma2 if r is IQ2_S else np.zeros_like(sigma2)
    squares += floor
    return squares


def split_signs(
    r: Recipe, x: Weights, w: Weights
) -> tuple[UInt8[ndarray, "n 32"], Float32[ndarray, "n 256"]]:
    """The sign bits of each 8 weights and the magnitudes.

    Where the number of minus signs must be even and is not, the weight that matters least changes
    sign, and its magnitude is negative from then on.
    """
    eights, minus = x.reshape(-1, 8), (x < 0).reshape(-1, 8)
    magnitude = np.where(minus, -eights, eights)
    if r.even:
        odd = np.flatnonzero(minus.sum(axis=1) % 2)
        least = (w.reshape(-1, 8)[odd] * eights[odd] * eights[odd]).argmin(axis=1)
        magnitude[odd, least] *= np.float32(-1)
        minus[odd, least] ^= True
        minus[:, 7] = False  # the reader knows it
    return pack_in_order(minus.view(np.uint8), 1).reshape(-1, 32), magnitude.reshape(x.shape)


def flat(r: Recipe, x: Num[ndarray, "sub n"]) -> Num[ndarray, "group columns"]:
    """The groups of a sub-block side by side: column i * n + j is group i of sub-block j."""
    return x.reshape(-1, r.group, x.shape[1]).swapaxes(0, 1).reshape(r.group, -1)


@dataclass(frozen=True, kw_only=True)
class Snapped:
    """Patterns [sub / group, n] for given scales, and whether rounding alone hit them."""

    index: Int64[ndarray, "groups n"]
    on_grid: Bool[ndarray, "groups n"]


class SubBlocks:
    """The magnitudes of sub-blocks and their error weights, ready to be snapped at any scale."""

    def __init__(self, r: Recipe, x: Group, w: Group) -> None:
        self.r, self.x, self.w = r, x, w
        self.lattice = Lattice.of(r.book)
        self.x_flat, self.w_flat = flat(r, x), np.sqrt(flat(r, w))
        self.odd = 2 * np.arange(r.levels, dtype=np.float32)[:, None] + np.float32(1)

    def snap(self, inverse: Scale, scale: Scale) -> Snapped:
        steps = nearest_int(np.float32(0.5) * (inverse * self.x - np.float32(1)))
        fields = flat(self.r, clip(steps, 0, self.r.levels - 1))
        values = np.tile(self.odd * scale, self.r.sub // self.r.group)
        found = snap(self.lattice, self.r.book, fields, values, self.x_flat, self.w_flat)
        index, on_grid = (f.reshape(-1, len(scale)) for f in found)
        return Snapped(index=index, on_grid=on_grid)

    def moments(self, index: Int64[ndarray, "groups n"]) -> tuple[Scale, Scale]:
        """sum(w x q), sum(w q q) with q = 2 * field + 1."""
        q = 2 * self.lattice.fields[index].swapaxes(1, 2).reshape(self.x.shape) + 1
        f = q.astype(np.float32)
        return ordered_sum(self.w * self.x * f), ordered_sum(self.w * f * f)


def best_patterns(
    r: Recipe, x: Group, w: Group, start: Scale, reach: Scale
) -> tuple[Scale, Int64[ndarray, "groups n"]]:
    """Scale and patterns of each sub-block.  The guesses put `reach` near the largest level."""
    sub_blocks = SubBlocks(r, x, w)
    top = np.float32(2 * r.levels - 1) if r.levels == 8 else np.float32(5)
    scale, best = start, np.zeros_like(start)
    index = np.zeros((r.sub // r.group, len(start)), dtype=np.int64)
    on_grid = np.full(index.shape, not r.again)
    for i in range(-r.tries, r.tries + 1):
        inverse = (top + np.float32(i) * np.float32(r.step)) / reach
        tried = sub_blocks.snap(inverse, np.float32(1) / inverse)
        xq, qq = sub_blocks.moments(tried.index)
        better = (qq > 0) & (xq * xq > best * qq)
        index, on_grid = (
            np.where(better, tried.index, index),
            np.where(better, tried.on_grid, on_grid),
        )
        scale = np.where(better, xq / qq, scale)
        best = np.where(better, scale * xq, best)
    return _snap_again(sub_blocks, scale, index, on_grid)


def _snap_again(
    sub_blocks: SubBlocks, scale: Scale, index: ndarray, on_grid: ndarray
) -> tuple[Scale, ndarray]:
    """Groups that were moved (or all) once more at the scale found; then the scale is fitted."""
    r = sub_blocks.r
    moved = ~on_grid
    needed = (scale > 0) & (moved.any(axis=0) | (r is IQ2_XXS))
    again = sub_blocks.snap(np.float32(1) / scale, scale)
    index = np.where(needed & (moved | r.again), again.index, index)
    xq, qq = sub_blocks.moments(index)
    return np.where(needed & (qq > 0), xq / qq, scale), index


def encode(r: Recipe, x: Weights, importance: Importance) -> tuple[ndarray, ndarray, ndarray]:
    """Scales [n, 256 / sub], patterns [n, 256 / group], signs [n, 32]; zeros where tiny."""
    w = error_weights(r, x, importance)
    signs, magnitudes = split_signs(r, x, w)
    x_columns, w_columns = columns(magnitudes, r.sub), columns(w, r.sub)
    largest = x_columns.max(axis=0)
    start, reach = largest / np.float32(2 * r.levels - 1), largest
    live = largest >= np.float32(r.too_small)
    if r is IQ2_XXS:
        start, _ = search.positive(x_columns, 4, w_columns)
        reach = start * np.float32(3)
        live &= reach > 0
    scale = np.zeros(len(largest), dtype=np.float32)
    index = np.zeros((r.sub // r.group, len(largest)), dtype=np.int64)
    if live.any():
        scale[live], index[:, live] = best_patterns(
            r, x_columns[:, live], w_columns[:, live], start[live], reach[live]
        )
    flip = np.uint8(127 if r.even else 255)

    def per_sign_byte(of_sub: Bool[ndarray, "n_subs"]) -> Bool[ndarray, "n 32"]:
        return np.repeat(of_sub.reshape(len(x), -1), r.sub // 8, axis=1)

    signs = np.where(per_sign_byte(scale < 0), signs ^ flip, signs)  # scales are stored unsigned
    signs = np.where(per_sign_byte(live), signs, np.uint8(0))
    scale = np.abs(scale)
    check_search(scale >= 0)
    return scale.reshape(len(x), -1), rows(index, 256 // r.group), signs


def block_scale(
    r: Recipe, scales: Float32[ndarray, "n subs"]
) -> tuple[Float32[ndarray, "n"], Int32[ndarray, "n subs"]]:
    """d, and the 4-bit scales: d * (2 * code + 1) is nearest to the scale."""
    largest = largest_of(scales)
    d = largest / np.float32(31)
    steps = np.float32(0.5) * ((np.float32(1) / d)[:, None] * scales - np.float32(1))
    codes = clip(nearest_int(steps), 0, 15)
    return d * np.float32(r.fudge), np.where((largest > 0)[:, None], codes, 0)


def sevens_and_scale(signs: UInt8[ndarray, "n 32"], codes: Int32[ndarray, "n 8"]) -> ndarray:
    """uint32 [n, 8]: ssss ggggggg fffffff eeeeeee ddddddd."""
    sevens = signs.astype(np.uint32).reshape(-1, 8, 4) << np.array([0, 7, 14, 21], dtype=np.uint32)
    words: ndarray = np.bitwise_or.reduce(sevens, axis=2)
    words |= codes.astype(np.uint32) << np.uint32(28)
    return words


def nibbles(codes: Int32[ndarray, "n subs"]) -> UInt8[ndarray, "n bytes"]:
    return pack_in_order(codes.astype(np.uint8), 4)


def encode_iq2_xxs(x: Weights, importance: Importance) -> Fields:
    scales, index, signs = encode(IQ2_XXS, x, importance)
    d, codes = block_scale(IQ2_XXS, scales)
    first = index.astype(np.uint8).view("<u4")
    words = np.stack([first, sevens_and_scale(signs, codes).astype("<u4")], axis=2)
    return {"d": d, "qs": words.reshape(-1, 16).view("<u2")}


def encode_iq2_xs(x: Weights, importance: Importance) -> Fields:
    scales, index, signs = encode(IQ2_XS, x, importance)
    d, codes = block_scale(IQ2_XS, scales)
    return {"d": d, "qs": index | signs.astype(np.int64) << 9, "scales": nibbles(codes)}


def encode_iq2_s(x: Weights, importance: Importance) -> Fields:
    scales, index, signs = encode(IQ2_S, x, importance)
    d, codes = block_scale(IQ2_S, scales)
    low, high = (index & 255).astype(np.uint8), (index >> 8).astype(np.uint8)
    qs = np.concatenate([low, signs], axis=1)
    return {"d": d, "qs": qs, "qh": pack_in_order(high, 2), "scales": nibbles(codes)}


def encode_iq3_xxs(x: Weights, importance: Importance) -> Fields:
    scales, index, signs = encode(IQ3_XXS, x, importance)
    d, codes = block_scale(IQ3_XXS, scales)
    words = sevens_and_scale(signs, codes).astype("<u4")
    return {"d": d, "qs": np.concatenate([index.astype(np.uint8), words.view(np.uint8)], axis=1)}


def encode_iq3_s(x: Weights, importance: Importance) -> Fields:
    """As ggml has it, the low bytes and signs of a sub-block of zeros are left out, not zero.

    What follows in the block then stands too early, and reads back wrong; `qh` and `scales` stay in
    their places.  (quantize_row_iq3_s_impl: `continue` skips `qs += bs4`.)
    """
    scales, index, signs = encode(IQ3_S, x, importance)
    d, codes = block_scale(IQ3_S, scales)
    zero = ~(x != 0).reshape(-1, 8, 32).any(axis=2)
    early = np.argsort(zero, axis=1, kind="stable")[..., None]
    low = np.take_along_axis((index & 255).astype(np.uint8).reshape(-1, 8, 8), early, axis=1)
    return {
        "d": d,
        "qs": low.reshape(-1, 64),
        "qh": pack_in_order((index >> 8).astype(np.uint8), 1),
        "signs": np.take_along_axis(signs.reshape(-1, 8, 4), early, axis=1).reshape(-1, 32),
        "scales": nibbles(codes),
    }
