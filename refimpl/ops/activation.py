"""The pointwise nonlinearities, and the gated units built from them.

Sources: Hendrycks & Gimpel 2016 (GELU and its tanh form); Shazeer 2020, "GLU Variants Improve
Transformer" (SwiGLU, GeGLU).

>>> glu(np.float32([0.0, 10.0]), np.float32([5.0, 5.0]), "silu")
array([ 0.     , 49.99773], dtype=float32)
"""

from collections.abc import Callable, Mapping
from math import erf, pi, sqrt

import numpy as np
from jaxtyping import Float, Float64
from numpy import ndarray

from refimpl.ops.numerics import F32, Rounding, dot, exact

Pointwise = Callable[[Float64[ndarray, "..."]], Float64[ndarray, "..."]]


def sigmoid(x: Float64[ndarray, "..."]) -> Float64[ndarray, "..."]:
    """1 / (1 + e^-x), by the side of the curve on which the exponential cannot overflow."""
    small = np.exp(-np.abs(x))
    return np.asarray(np.where(x >= 0, 1.0, small) / (1.0 + small))


def silu(x: Float64[ndarray, "..."]) -> Float64[ndarray, "..."]:
    """x sigmoid(x), also called swish."""
    return np.asarray(x * sigmoid(x))


def gelu(x: Float64[ndarray, "..."]) -> Float64[ndarray, "..."]:
    """x Phi(x), Phi being the normal distribution's cumulative function."""
    phi = np.frompyfunc(lambda z: 0.5 * (1.0 + erf(z / sqrt(2.0))), 1, 1)
    return x * np.asarray(phi(x), dtype=np.float64)


def gelu_tanh(x: Float64[ndarray, "..."]) -> Float64[ndarray, "..."]:
    """The approximation that GPT-2 and Gemma were trained with."""
    return np.asarray(0.5 * x * (1.0 + np.tanh(sqrt(2.0 / pi) * (x + 0.044715 * (x * x * x)))))


ACTIVATIONS: Mapping[str, Pointwise] = {"silu": silu, "gelu": gelu, "gelu_tanh": gelu_tanh}


def activate(
    x: Float[ndarray, "*shape"], kind: str, *, to: Rounding = F32
) -> Float[ndarray, "*shape"]:
    """One of `ACTIVATIONS`, coordinate by coordinate."""
    return to(ACTIVATIONS[kind](exact(x)))


def glu(
    gate: Float[ndarray, "*shape"], up: Float[ndarray, "*shape"], kind: str, *, to: Rounding = F32
) -> Float[ndarray, "*shape"]:
    """activation(gate) * up: SwiGLU with silu, GeGLU with a gelu."""
    return to(ACTIVATIONS[kind](exact(gate)) * exact(up))


def softmax(x: Float[ndarray, "*rows n"], *, to: Rounding = F32) -> Float[ndarray, "*rows n"]:
    """e^x over its row's sum.  Subtracting the maximum changes nothing but the overflow."""
    wide = exact(x)
    powers = np.exp(wide - wide.max(axis=-1, keepdims=True))
    return to(powers / dot(powers, np.ones(powers.shape[-1]))[..., None])


def soft_cap(
    x: Float[ndarray, "*shape"], cap: float, *, to: Rounding = F32
) -> Float[ndarray, "*shape"]:
    """cap tanh(x / cap): Gemma 2's smooth clamp to (-cap, cap)."""
    return to(cap * np.tanh(exact(x) / cap))
