"""What the device promises: how far each operation may lie from its definition.

Most kernels add float32 numbers in an order of their own, which the theorems of
`refimpl.ops.bounds` cover.  Two compute on tensor cores, which multiply exactly, bring 16 products
and the sum so far to one exponent, and cut off what does not fit 23 bits below it, where float32
would round to 24 (Fasi, Higham, Mikaitis, Pranesh 2021 measured this of earlier ones; that it holds
here is an assumption, which conformance on the device tests):

- act="half": each of K / 16 steps loses at most 17 * 2**-23 of the sum of magnitudes so far, in
  all less than gamma(K) at u = 2**-22;
- attention over a cache in half precision: the same, and queries and weights are split into parts
  that keep 2**-22 of each, in all less than the theorem at u = 2**-21.

`HalfReference` defines act="half": x is rounded to the type of a float16 or bfloat16 weight, and
then the map is exact; other weights as with act="q8".
"""

from dataclasses import dataclass, replace
from typing import Any

import ml_dtypes
import numpy as np
from jaxtyping import Float, Float64
from numpy import ndarray

from refimpl.formats.quants.block import Packed, Tensor
from refimpl.ops import bounds, tensor
from refimpl.ops.numerics import BF16, F16, F32, FloatFormat, exact
from refimpl.ops.reference import Reference

TENSOR_CORES = replace(F32, precision=22)
SPLIT_IN_PARTS = replace(F32, precision=21)


def half_of(weight: Tensor) -> FloatFormat | None:
    """The format that act="half" rounds activations to, or None where it does not.

    >>> half_of(np.zeros((2, 2), np.float16)) is F16, half_of(np.zeros((2, 2), np.float32))
    (True, None)
    """
    values = weight.blocks if isinstance(weight, Packed) else weight
    return {np.dtype(np.float16): F16, np.dtype(ml_dtypes.bfloat16): BF16}.get(values.dtype)


def rounded(x: Float[ndarray, "tokens inner"], weight: Tensor) -> Float[ndarray, "tokens inner"]:
    to = half_of(weight)
    return x if to is None else to(exact(np.asarray(x, np.float32))).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class HalfReference(Reference):
    """The definition of act="half"."""

    def linear(
        self,
        x: Float[ndarray, "tokens inner"],
        weight: Tensor,
        bias: Float[ndarray, " outer"] | None = None,
    ) -> Float[ndarray, "tokens outer"]:
        if half_of(weight) is None:
            return super().linear(x, weight, bias)
        return tensor.linear(rounded(x, weight), weight, bias, to=self.to)


def bound(act: str, cache: str, op: str, *args: Any, **options: Any) -> Float64[ndarray, "..."]:
    """The theorem that fits the kernel."""
    engine, theorem = F32, getattr(bounds, op)
    if op == "attend" and cache in ("float16", "bfloat16"):
        engine = SPLIT_IN_PARTS
    if op == "linear" and act != "none":
        x, weight, *bias = args
        theorem = bounds.linear_q8
        if act == "half" and half_of(weight) is not None:
            theorem, engine = bounds.linear, TENSOR_CORES
            args = (rounded(x, weight), weight, *bias)
    return np.asarray(theorem(*args, engine=engine, **options))
