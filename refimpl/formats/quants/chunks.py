"""Run a decoder over cache-sized pieces, so that its temporaries never leave the cache.

A decoder here has the form `decode(blocks, y)`: structs [n] in, float32 [n, block_size] written
to `y`.  NumPy evaluates it step by step, each step a pass over a temporary array; on pieces of
some tens of thousands of weights those passes stay in L2, and a 70B file needs no more scratch
than a small one.

>>> def decode(b, y): y[:] = b["d"][:, None]
>>> blocks = np.zeros((3, 2), dtype=[("d", "<f2"), ("qs", "u1", (2,))])
>>> blockwise(decode, 4)(blocks).shape
(3, 2, 4)
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float32, Shaped
from numpy import ndarray

CHUNK = 1 << 17
"""Weights decoded at once: 512 KiB of float32, and a few byte-sized temporaries beside it."""

Decode = Callable[[Shaped[ndarray, "blocks"], Float32[ndarray, "blocks weights"]], None]
Dequantize = Callable[[ndarray], Float32[ndarray, "*blocks weights"]]


def blockwise(decode: Decode, block_size: int) -> Dequantize:
    """`decode` for structs of any shape, piece by piece."""
    step = max(1, CHUNK // block_size)

    def dequantize(blocks: ndarray) -> Float32[ndarray, "*blocks weights"]:
        flat = blocks.reshape(-1)
        y = np.empty((flat.size, block_size), dtype=np.float32)
        with np.errstate(all="ignore"):  # Inf and NaN scales are data here, not accidents
            for i in range(0, flat.size, step):
                decode(flat[i : i + step], y[i : i + step])
        return y.reshape(*blocks.shape, block_size)

    return dequantize
