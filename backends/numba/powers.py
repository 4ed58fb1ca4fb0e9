"""Loops over all logits of a draw, in float64, written so that LLVM makes vectors of them.

A vocabulary has a hundred thousand tokens and more, and a draw looks at each of them several times.
Three of these loops LLVM leaves alone: e^x is a call to a library, a sum has an order, and of a
maximum it must ask what becomes of NaN.  So e^x is a polynomial here, and LLVM is told that a sum
may be added up in any order and that no logit is NaN.

e^x as in `functions`: with n the integer nearest x / ln 2 and r = x - n ln 2, it is 2^n e^r, and
|r| <= 0.35.  There Taylor's series to r^13 leaves a 26th of a unit in the last place; the constants
of Cody and Waite are fdlibm's (e_exp.c).

>>> round(power(-1.0), 12), power(-745.0), power(-np.inf)
(0.367879441171, 5e-324, 0.0)
>>> x = np.log([0.5, 0.25, 0.25])
>>> bool(greatest(x) == x[0]), mass(np.exp(x))
(True, 1.0)
"""

from functools import partial
from math import factorial
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy import ndarray

from backends.numba.compile import jit, jit_cached
from backends.numba.simd import i64

LOG2_E, LN2_HIGH, LN2_LOW = (
    1.4426950408889634,
    6.93147180369123816490e-01,
    1.90821492927058770002e-10,
)
(C2, C3, C4, C5, C6, C7, C8, C9, C10, C11, C12, C13) = (1 / factorial(k) for k in range(2, 14))
LEAST = -800.0
"""Below it e^x is 0 in any case."""


@intrinsic
def two_to(context: Any, n: Any) -> Any:
    """2^n for -1022 <= n <= 1023: n becomes the exponent's bits."""

    def generate(context: Any, b: Any, sig: Any, args: Any) -> Any:
        return b.bitcast(b.shl(b.add(args[0], i64(1023)), i64(52)), ir.DoubleType())

    return types.float64(types.intp), generate


@jit
def power(x: float) -> float:
    """e^x for x <= 0, and a little beyond; 2^n in two halves, as in `functions.exp`."""
    x = x if x > LEAST else LEAST
    n = np.floor(x * LOG2_E + 0.5)
    r = (x - n * LN2_HIGH) - n * LN2_LOW
    p = (((C13 * r + C12) * r + C11) * r + C10) * r + C9
    p = (((p * r + C8) * r + C7) * r + C6) * r + C5
    p = (((p * r + C4) * r + C3) * r + C2) * r + 1.0
    p = p * r + 1.0
    whole = np.int64(n)
    first = whole >> 1
    return p * two_to(first) * two_to(whole - first)


@partial(jit_cached, fastmath={"reassoc", "nsz"})
def mass(w: ndarray) -> float:
    total = 0.0
    for i in range(w.size):
        total += w[i]
    return total


@partial(jit_cached, fastmath={"nnan", "nsz"})
def greatest(x: ndarray) -> float:
    most = -np.inf
    for i in range(x.size):
        most = np.float64(x[i]) if x[i] > most else most
    return most


@jit_cached
def weigh(x: ndarray, w: ndarray) -> None:
    """w = exp(x - max x), which is 1 for the greatest."""
    peak = greatest(x)
    for i in range(x.size):
        w[i] = power(np.float64(x[i]) - peak)
