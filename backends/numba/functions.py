"""Exponentials, sixteen at a time, each within a few units in the last place.

A function is reduced to a small interval, where a polynomial is as good as the function.

- e^x: with n the integer nearest x / ln 2 and r = x - n ln 2, e^x = 2^n e^r, |r| <= 0.35.  ln 2 is
  taken in two parts, the first with few enough bits that n times it is exact (Cody and Waite).
- tanh: near zero a polynomial in x^2, since 1 - 2 / (e^2x + 1) would cancel there.
- erf: a ratio of two polynomials, constant beyond 4.

Polynomials: Moshier's Cephes (expf, tanhf); erf as in Eigen (generic_fast_erf_float).
"""

from typing import Any

import numpy as np

from backends.numba.compile import jit
from backends.numba.simd import (
    float_bits,
    floats,
    fma,
    larger,
    magnitude,
    nearest,
    to_ints,
    where_less,
)  # fmt: skip

F = np.float32
LOG2_E, LN2_HIGH, LN2_LOW = F(1.44269504), F(0.693359375), F(-2.12194440e-4)
E0, E1, E2, E3, E4, E5 = (
    F(c) for c in (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2,
                   1.6666665459e-1, 0.5)
)  # fmt: skip
T0, T1, T2, T3, T4 = (
    F(c) for c in (-5.70498872745e-3, 2.06390887954e-2, -5.37397155531e-2, 1.33314422036e-1,
                   -3.33332819422e-1)
)  # fmt: skip
A0, A1, A2, A3, A4, A5, A6 = (
    F(c) for c in (-2.72614225801306e-10, 2.77068142495902e-08, -2.10102402082508e-06,
                   -5.69250639462346e-05, -7.34990630326855e-04, -2.95459980854025e-03,
                   -1.60960333262415e-02)
)  # fmt: skip
B0, B1, B2, B3, B4 = (
    F(c) for c in (-1.45660718464996e-05, -2.13374055278905e-04, -1.68282697438203e-03,
                   -7.37332916720468e-03, -1.42647390514189e-02)
)  # fmt: skip
SQRT_HALF, GELU_SCALE, GELU_CUBE = F(0.70710678), F(0.7978845608), F(0.044715)


@jit
def smaller(x: Any, y: Any) -> Any:
    return where_less(x, y, x, y)


@jit
def two_to(n: Any) -> Any:
    """2^n for -126 <= n <= 127: n becomes the exponent's bits."""
    return float_bits((n + 127) << 23)


@jit
def exp(x: Any) -> Any:
    """e^x; 0 from about -104 down, infinite from about 89 up.

    2^n is multiplied in two halves, so that results below the smallest normal number are rounded
    like any other.
    """
    x = smaller(larger(x, floats(F(-110.0))), floats(F(100.0)))
    n = nearest(x * LOG2_E)
    r = fma(n, floats(-LN2_HIGH), x)
    r = fma(n, floats(-LN2_LOW), r)
    p = fma(floats(E0), r, floats(E1))
    p = fma(p, r, floats(E2))
    p = fma(p, r, floats(E3))
    p = fma(p, r, floats(E4))
    p = fma(p, r, floats(E5))
    p = fma(r * r, p, r + F(1.0))
    whole = to_ints(n)
    first = whole >> 1
    return p * two_to(first) * two_to(whole - first)


@jit
def tanh(x: Any) -> Any:
    size = magnitude(x)
    s = x * x
    p = fma(floats(T0), s, floats(T1))
    p = fma(p, s, floats(T2))
    p = fma(p, s, floats(T3))
    p = fma(p, s, floats(T4))
    near = fma(p * s, x, x)
    far = floats(F(1.0)) - floats(F(2.0)) / (exp(size + size) + F(1.0))
    far = where_less(x, floats(F(0.0)), floats(F(0.0)) - far, far)
    return where_less(size, floats(F(0.625)), near, far)


@jit
def erf(x: Any) -> Any:
    x = smaller(larger(x, floats(F(-4.0))), floats(F(4.0)))
    s = x * x
    a = fma(floats(A0), s, floats(A1))
    a = fma(a, s, floats(A2))
    a = fma(a, s, floats(A3))
    a = fma(a, s, floats(A4))
    a = fma(a, s, floats(A5))
    a = fma(a, s, floats(A6))
    b = fma(floats(B0), s, floats(B1))
    b = fma(b, s, floats(B2))
    b = fma(b, s, floats(B3))
    b = fma(b, s, floats(B4))
    return x * a / b


@jit
def silu(x: Any) -> Any:
    """x / (1 + e^-x)."""
    return x / (exp(floats(F(0.0)) - x) + F(1.0))


@jit
def gelu(x: Any) -> Any:
    return x * F(0.5) * (erf(x * SQRT_HALF) + F(1.0))


@jit
def gelu_tanh(x: Any) -> Any:
    inner = fma(x * x * x, floats(GELU_CUBE), x) * GELU_SCALE
    return x * F(0.5) * (tanh(inner) + F(1.0))


ACTIVATIONS = {"silu": 0, "gelu": 1, "gelu_tanh": 2}


@jit
def activate(x: Any, kind: int) -> Any:
    """One of `ACTIVATIONS`."""
    if kind == 0:
        y = silu(x)
    elif kind == 1:
        y = gelu(x)
    else:
        y = gelu_tanh(x)
    return y


@jit
def soft_cap(x: Any, cap: float) -> Any:
    return tanh(x / cap) * cap
