"""How ggml makes IQ4_NL and IQ4_XS: try fifteen scales, keep the one with the least weighted error.

Source: quantize_row_iq4_nl_impl, best_index_int8 in ggml-quants.c (0.25), with seven tries either
side.  Shapes as in `search`: a group of 32 weights is a column.
"""

from functools import cache

import numpy as np
from jaxtyping import Float32, Int32, UInt8
from numpy import ndarray

from refimpl.formats.quants.bits import pack_in_order, pack_striped
from refimpl.formats.quants.encode import Fields, clip, divide, nearest_int, ordered_sum, reciprocal
from refimpl.formats.quants.iq4_values import VALUES
from refimpl.formats.quants.k_encode import columns, rows
from refimpl.formats.quants.search import TOO_SMALL, Group, Scale, largest_down

Importance = Float32[ndarray, "n weights"] | None


@cache
def _index_of_half() -> UInt8[ndarray, "511"]:
    """For -255 <= h <= 255: the index of the value nearest to h / 2; a midpoint goes up."""
    midpoints_doubled = VALUES[:-1].astype(np.int32) + VALUES[1:]
    return np.searchsorted(midpoints_doubled, np.arange(-255, 256), side="right").astype(np.uint8)


def nearest_value(x: Float32[ndarray, "*n"]) -> UInt8[ndarray, "*n"]:
    """The index of the nearest of VALUES.  Midpoints are whole halves, so floor(2 x) decides."""
    halves = np.fmin(np.fmax(np.floor(x + x), np.float32(-255)), np.float32(255))
    halves = np.where(np.isnan(x), np.float32(255), halves)  # every comparison with NaN is false
    return _index_of_half().take(halves.astype(np.int32) + 255)


def best_scale(x: Group, w: Group) -> Scale:
    """The scale of each column, by trying to put the largest weight at -134 ... -120."""
    largest = largest_down(x)

    def moments(inverse: Scale) -> tuple[Scale, Scale]:
        q = VALUES.astype(np.float32).take(nearest_value(inverse * x))
        return ordered_sum(w * q * x), ordered_sum(w * q * q)

    lowest = np.float32(VALUES[0])
    qx, qq = moments(np.float32(1) / (-largest / lowest))
    scale = divide(qx, qq, qq > 0)
    best = scale * qx
    for i in range(-7, 8):
        qx, qq = moments((np.float32(i) + lowest) / largest)
        better = (qq > 0) & (qx * qx > best * qq)
        scale = np.where(better, qx / qq, scale)
        best = np.where(better, scale * qx, best)
    return np.where(np.abs(largest) < TOO_SMALL, np.float32(0), scale)


def group_scales(
    x: Float32[ndarray, "n weights"], importance: Importance
) -> Float32[ndarray, "groups"]:
    """`best_scale` of each 32 weights; errors count by x**2, or by the importance."""
    groups = columns(x, 32)
    if importance is None:
        return best_scale(groups, groups * groups)
    total = ordered_sum(np.ascontiguousarray((x * x).T))
    sigma2 = (total * (np.float32(2) / np.float32(x.shape[1])))[:, None]
    return best_scale(groups, columns(importance * np.sqrt(sigma2 + x * x), 32))


def encode_iq4_nl(x: Float32[ndarray, "n 32"], importance: Importance) -> Fields:
    d = group_scales(x, importance)
    q = nearest_value(reciprocal(d)[:, None] * x)
    return {"d": d, "qs": pack_striped(q, 4, run=16)}


def encode_iq4_xs(x: Float32[ndarray, "n 256"], importance: Importance) -> Fields:
    scales = group_scales(x, importance).reshape(-1, 8)
    d = -largest_down(scales.T) / np.float32(32)
    codes = clip(nearest_int(reciprocal(d)[:, None] * scales), -32, 31)
    inverse = reciprocal(d[:, None] * codes.astype(np.float32))
    q = nearest_value(rows(inverse.reshape(1, -1) * columns(x, 32)))
    low, high = _split_scales(codes + np.int32(32))
    return {"d": d, "scales_h": high, "scales_l": low, "qs": pack_striped(q, 4, run=16)}


def _split_scales(codes: Int32[ndarray, "n 8"]) -> tuple[UInt8[ndarray, "n 4"], ndarray]:
    low = pack_in_order((codes & 15).astype(np.uint8), 4)
    high = np.bitwise_or.reduce(codes >> 4 << np.arange(0, 16, 2), axis=1)
    return low, high.astype(np.uint16)
