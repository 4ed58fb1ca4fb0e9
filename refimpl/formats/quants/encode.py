"""What the quantisers share: C's conversions, sums in C's order, and the way in and out.

A quantiser equals ggml's in every bit only if each float32 operation is ggml's and comes in
ggml's order.  NumPy's elementwise operations round like C's; what does not is `sum` (NumPy adds
pairwise), rounding to integers (C has three ways), and conversions that C leaves undefined (here:
as x86 does, because ggml's files are made there).  `libggml-base` is built without fused
multiply-add on x86-64; a build that fuses (ARM, or -march=native for that library) gives other
bits now and then.

>>> nearest_int(np.array([0.5, 1.5, -2.5], np.float32)).tolist()       # ties to even
[0, 2, -2]
>>> round_away(np.array([0.5, 1.5, -2.5], np.float32)).tolist()        # ties away from zero
[1.0, 2.0, -3.0]
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Int32
from numpy import ndarray

from refimpl.errors import InputError
from refimpl.formats.quants.block import Quantize

CHUNK = 1 << 17
"""Weights quantised at once."""

Fields = Mapping[str, Any]
"""The fields of structs [n], by name."""

Encode = Callable[[Float32[ndarray, "n weights"], Float32[ndarray, "n weights"] | None], Fields]
Weigh = Callable[[ndarray, ndarray], ndarray]


def same_for_all_rows(weights: ndarray, importance: ndarray) -> ndarray:
    return np.broadcast_to(importance, weights.shape)


def encoder(
    encode: Encode,
    dtype: np.dtype,
    block_size: int,
    *,
    needs_importance: bool = False,
    weigh: Weigh = same_for_all_rows,
) -> Quantize:
    """`encode` for weights of any shape, piece by piece, giving structs.

    `weigh` makes what `encode` gets as its second argument out of all weights and the importance.
    """

    def quantize(
        weights: Float32[ndarray, "*blocks weights"],
        importance: Float32[ndarray, "..."] | None = None,
    ) -> ndarray:
        if needs_importance and importance is None:
            raise InputError(
                "ggml makes this format only with an importance for every column of the matrix; "
                "pass importance=[blocks of a row, weights of a block]"
            )
        check_weights(weights, block_size)
        if importance is not None:
            check_importance(importance, weights.shape)
        x = weights.reshape(-1, block_size)
        with np.errstate(all="ignore"):  # C does not stop at an overflow either
            w = None if importance is None else weigh(weights, importance).reshape(x.shape)
            blocks = _by_chunks(encode, dtype, x, w)
        return blocks.reshape(weights.shape[:-1])

    return quantize


def _by_chunks(encode: Encode, dtype: np.dtype, x: ndarray, w: ndarray | None) -> ndarray:
    blocks = np.zeros(len(x), dtype=dtype)
    step = max(1, CHUNK // x.shape[1])
    for i in range(0, len(x), step):
        part = slice(i, i + step)
        fields = encode(x[part], None if w is None else w[part])
        for name, value in fields.items():
            blocks[name][part] = value
    return blocks


def check_weights(weights: ndarray, block_size: int) -> None:
    """C's conversion of NaN and infinity to integers is undefined, so there is nothing to equal."""
    if weights.shape[-1] != block_size:
        raise InputError(
            f"blocks of {weights.shape[-1]} weights where the format has {block_size}; "
            "reshape rows to [..., blocks of a row, weights of a block]"
        )
    if not np.isfinite(weights).all():
        raise InputError("cannot quantise NaN or infinite weights; find out where they come from")


def check_importance(importance: ndarray, shape: tuple[int, ...]) -> None:
    ours, theirs = importance.shape, shape[max(0, len(shape) - importance.ndim) :]
    fits = len(ours) == len(theirs) and all(a in (1, b) for a, b in zip(ours, theirs, strict=True))
    if not fits:
        raise InputError(f"an importance of the shape {ours} does not fit weights of {shape}")
    if not (np.isfinite(importance) & (importance >= 0)).all():
        raise InputError("an importance has to be finite and not negative; ggml gives garbage else")


def check_search(fine: Bool[ndarray, "*n"]) -> None:
    """With weights near the largest float the searches of the IQ formats overflow."""
    if not fine.all():
        raise InputError("the weights are too large for this format (ggml aborts here); scale them")


def ordered_sum(terms: Float32[ndarray, "k *n"]) -> Float32[ndarray, "*n"]:
    """((0 + terms[0]) + terms[1]) + ..., as a C loop adds."""
    total = np.zeros(terms.shape[1:], dtype=np.float32)
    for term in terms:
        total += term
    return total


def nearest_int(x: Float32[ndarray, "*n"]) -> Int32[ndarray, "*n"]:
    """ggml's nearest_int: adding 1.5 * 2**23 leaves the integer, RNE, in the low bits.

    Beyond 2**22 the result is wrong, and here it is wrong in the same way.
    """
    bits = (x + np.float32(12582912)).view(np.int32)
    nearest: ndarray = (bits & 0x007FFFFF) - 0x00400000
    return nearest


def clip(q: Int32[ndarray, "*n"], low: int, high: int) -> Int32[ndarray, "*n"]:
    clipped: ndarray = np.minimum(np.maximum(q, np.int32(low)), np.int32(high))
    return clipped


def round_away(x: Float32[ndarray, "*n"]) -> Float32[ndarray, "*n"]:
    """roundf: ties away from zero."""
    whole = np.trunc(x)
    rounded: ndarray = whole + np.copysign(np.abs(x - whole) >= 0.5, x).astype(np.float32)
    return rounded


def truncate(x: Float32[ndarray, "*n"]) -> Int32[ndarray, "*n"]:
    """(int) x; NaN and what does not fit become the smallest integer, as cvttss2si does."""
    fits = np.abs(x) < np.float32(2**31)
    return np.where(fits, x, np.float32(-(2**31))).astype(np.int32)


def reciprocal(d: Float32[ndarray, "*n"]) -> Float32[ndarray, "*n"]:
    """d ? 1 / d : 0."""
    return np.where(d != 0, np.float32(1) / d, np.float32(0))


def divide(
    a: Float32[ndarray, "*n"], b: Float32[ndarray, "*n"], when: Bool[ndarray, "*n"]
) -> Float32[ndarray, "*n"]:
    """when ? a / b : 0."""
    return np.where(when, a / b, np.float32(0))
