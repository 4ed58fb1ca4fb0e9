"""How ggml makes the K formats: search each sub-block, round the scales, round the weights again.

Sources: quantize_row_q2_K_ref ... quantize_row_q8_K_ref and quantize_row_q2_K_impl ... (with an
importance) in ggml-quants.c (0.25).  Once the scales have been rounded, every weight is rounded
again with the scale as a reader will see it; only where that scale is zero do the search's
integers stay.

Shapes: x [n, 256] is n super-blocks; `columns` makes sub-blocks the columns of [k, n * subs].
"""

import numpy as np
from jaxtyping import Bool, Float32, Int32, Num, Shaped, UInt8
from numpy import ndarray

from refimpl.formats.quants import search
from refimpl.formats.quants.bits import pack_striped
from refimpl.formats.quants.encode import Fields, clip, nearest_int, ordered_sum

Weights = Float32[ndarray, "n 256"]
Importance = Float32[ndarray, "n 256"] | None
PerSub = Float32[ndarray, "n subs"]
Codes = Num[ndarray, "n subs"]
Quants = Int32[ndarray, "n 256"]


def columns(x: Num[ndarray, "n weights"], k: int) -> Num[ndarray, "k groups"]:
    """Groups of k consecutive weights, one a column."""
    return np.ascontiguousarray(x.reshape(-1, k).T)


def rows(q: Shaped[ndarray, "k groups"], weights: int = 256) -> Shaped[ndarray, "n weights"]:
    """The inverse of `columns`."""
    return q.T.reshape(-1, weights)


def mean_square(x: Weights, times: int) -> Float32[ndarray, "n 1"]:
    """times * sum(x**2) / 256, in C's order."""
    total: ndarray = np.float32(times) * ordered_sum(np.ascontiguousarray((x * x).T))
    mean: ndarray = total / np.float32(256)
    return mean[:, None]


def error_weights(x: Weights, importance: Weights, sigma2: Float32[ndarray, "n 1"]) -> Weights:
    """The importance, more for large weights."""
    weights: ndarray = importance * np.sqrt(sigma2 + x * x)
    return weights


def largest_of(scales: PerSub) -> Float32[ndarray, "n"]:
    """max(0, scales), ignoring NaN as C's `>` does; never -0."""
    largest: ndarray = np.fmax.reduce(scales, axis=1, initial=np.float32(0))
    return largest + np.float32(0)


def round_again(
    x: Weights, scale: PerSub, minimum: PerSub | None, low: int, high: int, searched: Quants
) -> Quants:
    """nearest_int((x + minimum) / scale), counted from `low`; the searched where scale is 0."""
    k = 256 // scale.shape[1]
    d = np.repeat(scale, k, axis=1)
    above = x if minimum is None else x + np.repeat(minimum, k, axis=1)
    q = clip(nearest_int(above / d), low, high) - np.int32(low)
    return np.where(d != 0, q, searched)


def half(x: Float32[ndarray, "*n"]) -> Float32[ndarray, "*n"]:
    """x as it will be read back from a float16 field."""
    return x.astype(np.float16).astype(np.float32)


def u8(q: Num[ndarray, "*n"]) -> UInt8[ndarray, "*n"]:
    return q.astype(np.uint8)


def two_bits(q: Quants) -> UInt8[ndarray, "n 64"]:
    return pack_striped(u8(q), 2, run=32)


# Q2_K


def encode_q2_k(x: Weights, importance: Importance) -> Fields:
    if importance is None:
        d, dmin, scale, minimum, q = _plain_q2_k(x)
    else:
        d, dmin, scale, minimum, q = _weighted(x, importance, sub=16, top=3, scale_top=15, times=1)
    seen = half(d)[:, None] * scale.astype(np.float32)
    seen_minimum = half(dmin)[:, None] * minimum.astype(np.float32)
    q = round_again(x, seen, seen_minimum, 0, 3, q)
    return {"d": d, "dmin": dmin, "scales": u8(scale | minimum << 4), "qs": two_bits(q)}


Searched = tuple[Float32[ndarray, "n"], Float32[ndarray, "n"], Codes, Codes, Quants]
"""d, dmin, the integer scales and minima, and the search's integers for the weights."""


def _plain_q2_k(x: Weights) -> Searched:
    groups = columns(x, 16)
    tries = search.guesses(3, -0.5, 0.1, 15)
    found = search.with_minimum(groups, 3, np.abs(groups), tries, absolute=True)
    scale, minimum = (f.reshape(-1, 16) for f in found[:2])
    d, dmin = largest_of(scale), largest_of(minimum)
    fifteen = np.float32(15)
    return (
        d / fifteen,
        dmin / fifteen,
        _codes(scale, d, 15),
        _codes(minimum, dmin, 15),
        rows(found[2]),
    )


def _codes(scales: PerSub, largest: Float32[ndarray, "n"], top: int) -> Codes:
    """Scales as integers 0 .. top of the largest one; zeros where that is not positive."""
    positive = (largest > 0)[:, None]
    inverse = np.float32(top) / largest[:, None]
    return np.where(positive, nearest_int(inverse * scales), 0)


def _weighted(
    x: Weights, importance: Weights, *, sub: int, top: int, scale_top: int, times: int
) -> Searched:
    """With an importance: also the integers of the scales and minima are searched."""
    w = columns(error_weights(x, importance, mean_square(x, times)), sub)
    tries = search.guesses(top, -0.9, 0.05, 36)
    scale, minimum, q = search.with_minimum(columns(x, sub), top, w, tries, absolute=False)
    per_block = columns(ordered_sum(w)[:, None], 256 // sub)
    d, codes = search.positive(columns(scale[:, None], 256 // sub), scale_top, per_block)
    dmin, minima = search.positive(columns(minimum[:, None], 256 // sub), scale_top, per_block)
    return d, dmin, codes.T, minima.T, rows(q)


# Q3_K


def encode_q3_k(x: Weights, importance: Importance) -> Fields:
    if importance is None:
        scale, q = search.descending(columns(x, 16), 4)
        d, codes = _signed_codes(scale.reshape(-1, 16), 32)
    else:
        w = columns(error_weights(x, importance, mean_square(x, 2)), 16)
        scale, q = search.symmetric(columns(x, 16), 4, w)
        d, found = search.symmetric(
            columns(scale[:, None], 16), 32, columns(ordered_sum(w)[:, None], 16)
        )
        codes = found.T
    seen = half(d)[:, None] * (codes - 32).astype(np.float32)
    q = round_again(x, seen, None, -4, 3, rows(q))
    return {
        "hmask": pack_striped(u8(q >> 2), 1, run=32),
        "qs": two_bits(q & 3),
        "scales": scales_q3_k(u8(codes)),
        "d": d,
    }


def _signed_codes(scales: PerSub, half_range: int) -> tuple[Float32[ndarray, "n"], Codes]:
    """The scale of largest magnitude becomes -half_range; codes are shifted by half_range."""
    largest = search.largest_down(np.ascontiguousarray(scales.T))
    inverse = np.float32(-half_range) / largest
    codes = clip(nearest_int(inverse[:, None] * scales), -half_range, half_range - 1)
    some = largest != 0
    d = zero_unless(some, np.float32(1) / inverse)
    return d, zero_unless(some, codes + half_range)


def scales_q3_k(codes: UInt8[ndarray, "n 16"]) -> UInt8[ndarray, "n 12"]:
    """The layout is drawn in `k.scales_q3_k`."""
    low = pack_striped(codes & np.uint8(15), 4, run=8)
    return np.concatenate([low, pack_striped(codes >> np.uint8(4), 2, run=4)], axis=1)


# Q4_K and Q5_K


def encode_q4_k(x: Weights, importance: Importance) -> Fields:
    fields, q = _encode_45(x, importance, top=15, tries=(-1.0, 0.1, 20))
    return {**fields, "qs": pack_striped(u8(q), 4, run=32)}


def encode_q5_k(x: Weights, importance: Importance) -> Fields:
    fields, q = _encode_45(x, importance, top=31, tries=(-0.5, 0.1, 15))
    return {
        **fields,
        "qs": pack_striped(u8(q & 15), 4, run=32),
        "qh": pack_striped(u8(q >> 4), 1, run=32),
    }


def _encode_45(
    x: Weights, importance: Importance, *, top: int, tries: tuple[float, float, int]
) -> tuple[Fields, Quants]:
    if importance is None:
        d, dmin, scale, minimum, q = _plain_45(x, top, tries)
    else:
        d, dmin, scale, minimum, q = _weighted(
            x, importance, sub=32, top=top, scale_top=63, times=2
        )
    seen = half(d)[:, None] * scale.astype(np.float32)
    seen_minimum = half(dmin)[:, None] * minimum.astype(np.float32)
    fields = {"d": d, "dmin": dmin, "scales": scales_q4_k(u8(scale), u8(minimum))}
    return fields, round_again(x, seen, seen_minimum, 0, top, q)


def _plain_45(x: Weights, top: int, tries: tuple[float, float, int]) -> Searched:
    groups = columns(x, 32)
    average = np.sqrt(ordered_sum(groups * groups) / np.float32(32))
    w = average + np.abs(groups)
    found = search.with_minimum(groups, top, w, search.guesses(top, *tries), absolute=False)
    scale, minimum = (f.reshape(-1, 8) for f in found[:2])
    d, dmin = largest_of(scale), largest_of(minimum)
    codes, minima = (
        np.minimum(_codes(f, m, 63) & 255, 63) for f, m in ((scale, d), (minimum, dmin))
    )
    return d / np.float32(63), dmin / np.float32(63), codes, minima, rows(found[2])


def scales_q4_k(
    scale: UInt8[ndarray, "n 8"], minimum: UInt8[ndarray, "n 8"]
) -> UInt8[ndarray, "n 12"]:
    """The layout is drawn in `k.scales_q4_k`."""
    low_s, high_s = scale[:, :4], scale[:, 4:]
    low_m, high_m = minimum[:, :4], minimum[:, 4:]
    a = low_s | high_s >> np.uint8(4) << np.uint8(6)
    b = low_m | high_m >> np.uint8(4) << np.uint8(6)
    c = high_s & np.uint8(15) | high_m << np.uint8(4)
    return np.concatenate([a, b, c], axis=1)


# Q6_K and Q8_K


def encode_q6_k(x: Weights, importance: Importance) -> Fields:
    groups = columns(x, 16)
    w = groups * groups if importance is None else columns(importance, 16)
    scale, q = search.symmetric(groups, 32, w)
    scales = scale.reshape(-1, 16)
    largest = search.largest_down(np.ascontiguousarray(scales.T))
    inverse = np.float32(-128) / largest
    codes = np.minimum(nearest_int(inverse[:, None] * scales), 127).astype(np.int8)
    d = np.float32(1) / inverse
    q = round_again(x, half(d)[:, None] * codes.astype(np.float32), None, -32, 31, rows(q))
    fields = {
        "ql": pack_striped(u8(q & 15), 4, run=64),
        "qh": pack_striped(u8(q >> 4), 2, run=32),
        "scales": codes,
        "d": d,
    }
    some = np.abs(largest) >= search.TOO_SMALL
    return {name: zero_unless(some, value) for name, value in fields.items()}


def zero_unless(
    some: Bool[ndarray, "n"], value: Shaped[ndarray, "n ..."]
) -> Shaped[ndarray, "n ..."]:
    kept = some.reshape(-1, *[1] * (value.ndim - 1))
    return np.where(kept, value, value.dtype.type(0))


def encode_q8_k(x: Weights, importance: Importance) -> Fields:
    """The largest weight becomes -127.  (ggml leaves the sums of a block of zeros unwritten.)"""
    largest = search.largest_down(np.ascontiguousarray(x.T))
    inverse = np.float32(-127) / largest
    q = np.minimum(nearest_int(inverse[:, None] * x), 127).astype(np.int8)
    q = zero_unless(largest != 0, q)
    d = zero_unless(largest != 0, np.float32(1) / inverse)
    return {"d": d, "qs": q, "bsums": q.reshape(-1, 16, 16).sum(axis=2, dtype=np.int16)}
