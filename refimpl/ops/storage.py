"""What a cache keeps of keys and values: the named storage types.

A cache of float16 holds twice the tokens of one of float32.  Rounding happens when a key or a value
is stored; attention is then exact about what was stored.  In q8_0 each head's coordinates are cut
into blocks of 32 with a float16 scale (GGUF's Q8_0); a head's size must be a multiple of 32.

>>> STORED["float16"](np.float32([[[1 + 2**-12]]]))
array([[[1.]]], dtype=float32)
"""

from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from refimpl.formats.quants.legacy import Q8_0
from refimpl.ops.numerics import BF16, F16, exact

Kept = Float[ndarray, "tokens kv_heads head_dim"]


def as_it_is(x: Kept) -> Kept:
    return x


def as_float16(x: Kept) -> Kept:
    """Beyond 65504 it would be infinite, as in every engine that stores halves."""
    return np.asarray(F16(exact(x)), dtype=x.dtype)


def as_bfloat16(x: Kept) -> Kept:
    return np.asarray(BF16(exact(x)), dtype=x.dtype)


def as_q8_0(x: Kept) -> Kept:
    Q8_0.row_bytes(x.shape[-1])  # or an error that names the block size
    assert Q8_0.quantize is not None
    blocks = np.asarray(x, np.float32).reshape(*x.shape[:-1], -1, Q8_0.block_size)
    return Q8_0.dequantize(Q8_0.quantize(blocks)).reshape(x.shape).astype(x.dtype)


STORED: Mapping[str, Callable[[Kept], Kept]] = {
    "float32": as_it_is,
    "float16": as_float16,
    "bfloat16": as_bfloat16,
    "q8_0": as_q8_0,
}
