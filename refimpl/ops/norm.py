"""Normalisation: give every token's vector unit size, then scale each coordinate.

Sources: Zhang & Sennrich 2019 (RMSNorm, eq. 4); Ba, Kiros & Hinton 2016 (LayerNorm, eq. 4).

>>> rms_norm(np.float32([[3, 4]]), np.float32([1, 2]), eps=0.0)   # the RMS of (3, 4) is sqrt(12.5)
array([[0.84852815, 2.2627418 ]], dtype=float32)
"""

import numpy as np
from jaxtyping import Float, Float64
from numpy import ndarray

from refimpl.ops.numerics import F32, Rounding, dot, exact


def rms_norm(
    x: Float[ndarray, "*rows dim"],
    weight: Float[ndarray, " dim"],
    eps: float,
    *,
    to: Rounding = F32,
) -> Float[ndarray, "*rows dim"]:
    """x / sqrt(mean(x^2) + eps) * weight.

    Gemma's checkpoints store `weight - 1`; GGUF stores the weight itself, and so do we.
    """
    wide = exact(x)
    return to(wide / np.sqrt(mean(wide * wide) + eps) * exact(weight))


def layer_norm(
    x: Float[ndarray, "*rows dim"],
    weight: Float[ndarray, " dim"],
    bias: Float[ndarray, " dim"] | None,
    eps: float,
    *,
    to: Rounding = F32,
) -> Float[ndarray, "*rows dim"]:
    """(x - mean) / sqrt(variance + eps) * weight + bias; the variance divides by dim."""
    wide = exact(x)
    centred = wide - mean(wide)
    scaled = centred / np.sqrt(mean(centred * centred) + eps) * exact(weight)
    return to(scaled if bias is None else scaled + exact(bias))


def mean(x: Float64[ndarray, "*rows dim"]) -> Float64[ndarray, "*rows 1"]:
    """The mean of each row, added up in the one order that `dot` keeps."""
    return np.asarray(dot(x, np.ones(x.shape[-1]))[..., None] / x.shape[-1])
