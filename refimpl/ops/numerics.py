"""The one rule of this project: an operation is the exact result of its inputs, rounded once.

Inside an operation everything is float64.  At its boundary the result is rounded, once, to the
dtype that leaves it.  Two things follow, and every other file leans on them:

- a result does not depend on the batch it was computed in (`dot` below keeps one order of addition
  per row, whatever stands beside the row), so "the same" can mean *equal in every bit*;
- how far a float32 engine may lie from this reference is a theorem (`refimpl.ops.bounds`).

Glossary: u is the unit roundoff (half the distance from 1 to the next number); an ulp is the
distance between neighbouring numbers; RNE rounds to nearest, ties to even.

Sources: Higham, Accuracy and Stability of Numerical Algorithms (2nd ed.), ch. 2-3;
IEEE 754-2019; OCP 8-bit Floating Point Specification (OFP8) 1.0 for the float8 formats.

>>> F32(np.array([0.1])).dtype, float(F32(np.array([0.1]))[0])
(dtype('float32'), 0.10000000149011612)
>>> float(BF16(np.array([1 + 2**-8 + 2**-40]))[0])      # through float32 this tie would fall to 1.0
1.0078125
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import ml_dtypes
import numpy as np
from jaxtyping import Float, Float64
from numpy import ndarray

Rounding = Callable[[Float64[ndarray, "..."]], Float[ndarray, "..."]]
"""What happens at a boundary: float64 in, the rounded values in their own dtype out."""


@dataclass(frozen=True, kw_only=True)
class FloatFormat:
    """A binary floating-point format, and rounding to it.

    `precision` counts significant bits with the hidden one (24 for float32); `emin` is the exponent
    of the smallest normal number; `largest` is the largest finite value.  What lies beyond
    `largest` after rounding becomes infinity, or NaN where the format has no infinity.

    >>> E4M3(np.array([448.0, 464.0, 465.0])).astype(float).tolist()
    [448.0, 448.0, nan]
    """

    dtype: np.dtype
    precision: int
    emin: int
    largest: float
    overflow: float = np.inf

    @property
    def unit_roundoff(self) -> float:
        """u = 2**-precision: the largest relative error of one rounding of a normal number."""
        return 2.0**-self.precision

    def __call__(self, x: Float64[ndarray, "..."]) -> Float[ndarray, "..."]:
        """Round once, RNE.  NumPy's own conversions do; those of ml_dtypes go through float32 and
        would round twice, so there the values are snapped first and the conversion is exact."""
        native = self.dtype.type in (np.float64, np.float32, np.float16)
        rounded: ndarray = (x if native else self.snap(x)).astype(self.dtype)
        return rounded

    def snap(self, x: Float64[ndarray, "..."]) -> Float64[ndarray, "..."]:
        """The nearest values of this format, still held in float64.

        Scale so that the format's ulp at x becomes 1, round to an integer, scale back.  Every step
        but the rounding is exact: powers of two only move the exponent, and `rint` is RNE.
        """
        if self.precision >= 53:
            return np.asarray(x)
        _, exponent = np.frexp(x)  # |x| = m * 2**exponent, 1/2 <= m < 1
        ulp_exponent = np.maximum(exponent - 1, self.emin) - (self.precision - 1)
        snapped = np.ldexp(np.rint(np.ldexp(x, -ulp_exponent)), ulp_exponent)
        too_big = np.abs(snapped) > self.largest
        return np.asarray(np.where(too_big, np.copysign(self.overflow, x), snapped))


F64 = FloatFormat(
    dtype=np.dtype(np.float64), precision=53, emin=-1022, largest=float(np.finfo(np.float64).max)
)
F32 = FloatFormat(
    dtype=np.dtype(np.float32), precision=24, emin=-126, largest=float(np.finfo(np.float32).max)
)
F16 = FloatFormat(dtype=np.dtype(np.float16), precision=11, emin=-14, largest=65504.0)
BF16 = FloatFormat(
    dtype=np.dtype(ml_dtypes.bfloat16), precision=8, emin=-126, largest=(2 - 2.0**-7) * 2.0**127
)
E4M3 = FloatFormat(
    dtype=np.dtype(ml_dtypes.float8_e4m3fn), precision=4, emin=-6, largest=448.0, overflow=np.nan
)
E5M2 = FloatFormat(dtype=np.dtype(ml_dtypes.float8_e5m2), precision=3, emin=-14, largest=57344.0)

FORMATS = {
    "float64": F64,
    "float32": F32,
    "float16": F16,
    "bfloat16": BF16,
    "float8_e4m3": E4M3,
    "float8_e5m2": E5M2,
}


def exact(x: ndarray) -> Float64[ndarray, "..."]:
    """Widen to float64.  No format here has a value that float64 does not: nothing is lost."""
    return np.asarray(x, dtype=np.float64)


def dot(a: Float64[ndarray, "..."], b: Float64[ndarray, "..."]) -> Float64[ndarray, "..."]:
    """Dot products over the last axis, each in an order of addition that only its length decides.

    a: [..., K], b: [..., K], broadcast against each other -> [...].  A matrix product is not good
    enough: BLAS picks its blocking by the shape of the whole matrix, so row 0 alone differs from
    row 0 in a batch.  `np.vecdot` sums every row by itself.  NumPy does not promise that, so the
    first call checks it (`vecdot_is_row_invariant`) and falls back on `dot_by_halves`.
    """
    if vecdot_is_row_invariant():
        # One layout only: BLAS uses another kernel, and another order, where the stride is not 1.
        return np.asarray(np.vecdot(np.ascontiguousarray(a), np.ascontiguousarray(b)))
    return dot_by_halves(a, b)


def dot_by_halves(
    a: Float64[ndarray, "..."], b: Float64[ndarray, "..."]
) -> Float64[ndarray, "..."]:
    """`dot` by elementwise operations alone, which no batch can reorder: fold until one is left."""
    terms = a * b
    while (n := terms.shape[-1]) > 1:
        half = (n + 1) // 2
        folded = terms[..., :half].copy()
        folded[..., : n - half] += terms[..., half:]
        terms = folded
    return np.asarray(terms[..., 0] if terms.shape[-1] else terms.sum(-1))


@cache
def vecdot_is_row_invariant() -> bool:
    """Does `np.vecdot` give each row the same bits alone, in a batch, and at any alignment?"""
    rng = np.random.default_rng(0)
    for k in (3, 64, 257):
        w = rng.standard_normal((9, k))
        x = rng.standard_normal((5, k))
        batch = np.vecdot(x[:, None, :], w[None, :, :])
        for t in range(len(x)):
            for n in range(len(w)):
                shifted = np.empty(k + n % 8)[n % 8 :]  # a start that is not 64-byte aligned
                shifted[:] = x[t]
                if np.vecdot(shifted, w[n]) != batch[t, n]:
                    return False
    return True
