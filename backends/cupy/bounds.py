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

What act="half" means is `refimpl.ops.half`.
"""

from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from refimpl.ops import bounds
from refimpl.ops.half import half_of, rounded
from refimpl.ops.numerics import F32

TENSOR_CORES = replace(F32, precision=22)
SPLIT_IN_PARTS = replace(F32, precision=21)


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
