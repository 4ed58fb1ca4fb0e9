"""The named mode act="half": activations are rounded to the type of a 16-bit weight.

A processor multiplies 16-bit numbers faster than it multiplies a 16-bit number with a 32-bit one,
so engines round activations to the weights' type before they meet: llama.cpp does it for float16
and bfloat16 weights on a CPU, and GPUs on their tensor cores.  Here that is a mode with a name: x
is rounded to the weight's type, once, and then the map is exact.  Quantised weights meet
activations as with act="q8".

Processors that have an instruction for bfloat16 take a subnormal number to be zero, and a subnormal
sum as well (Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2, VDPBF16PS;
`flushed` bounds what that may cost).

>>> linear_half(np.float32([[1 + 2**-12]]), np.float16([[3]]))       # 1 + 2**-12 is no float16
array([[3.]], dtype=float32)
"""

import ml_dtypes
import numpy as np
from jaxtyping import Float, Float64
from numpy import ndarray

from refimpl.formats.quants.block import Packed, Tensor
from refimpl.ops.numerics import BF16, F16, F32, FloatFormat, Rounding, exact
from refimpl.ops.tensor import linear, linear_q8


def half_of(weight: Tensor) -> FloatFormat | None:
    """The format that act="half" rounds activations to, or None where it does not.

    >>> half_of(np.zeros((2, 2), np.float16)) is F16, half_of(np.zeros((2, 2), np.float32))
    (True, None)
    """
    values = weight.blocks if isinstance(weight, Packed) else weight
    return {np.dtype(np.float16): F16, np.dtype(ml_dtypes.bfloat16): BF16}.get(values.dtype)


def rounded(x: Float[ndarray, "tokens inner"], weight: Tensor) -> Float[ndarray, "tokens inner"]:
    """x as a float32 array of the numbers that the weight meets."""
    to = half_of(weight)
    return x if to is None else to(exact(np.asarray(x, np.float32))).astype(np.float32)


def linear_half(
    x: Float[ndarray, "tokens inner"],
    weight: Tensor,
    bias: Float[ndarray, " outer"] | None = None,
    *,
    to: Rounding = F32,
) -> Float[ndarray, "tokens outer"]:
    """y = round(x) W^T + b; other weights as with act="q8".

    What is too large for float16 becomes infinity, here as in every engine.
    """
    if half_of(weight) is None:
        return linear_q8(x, weight, bias, to=to)
    with np.errstate(over="ignore", invalid="ignore"):
        return linear(rounded(x, weight), weight, bias, to=to)


def flushed(
    x: Float[ndarray, "tokens inner"], weight: Tensor, engine: FloatFormat
) -> Float64[ndarray, "tokens outer"]:
    """What a product may lose whose subnormal inputs and results count as zero.

    Every product that has a subnormal factor, and 2**emin for each of as many sums as there are
    columns.
    """
    least = 2.0**engine.emin

    def subnormal(a: Float64[ndarray, "..."]) -> Float64[ndarray, "..."]:
        return np.where(a < least, a, 0.0)

    wide, w = np.abs(exact(x)), np.abs(exact(weight[...]))
    products = subnormal(wide) @ w.T + wide @ subnormal(w).T
    return np.asarray(products + least * w.shape[1])
