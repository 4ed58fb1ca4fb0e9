"""From blocks taken apart to weights, in pieces that stay in the cache.

The formula `scale * q - minimum` is ggml's, in ggml's order: first the product, then the
difference, each rounded.  NumPy evaluates step by step, each step a pass over a temporary array;
in pieces of some ten thousand weights those arrays stay in the cache, and a 70B file needs no
more scratch than a small one.

>>> halves = Parts(q=np.array([[3, 4]], np.int8), scale=np.array([[0.5]], np.float32))
>>> expand(halves, y := np.empty((1, 2), np.float32)); y
array([[1.5, 2. ]], dtype=float32)
"""

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from refimpl.formats.quants.block import Dequantize, Parts, Split

CHUNK = 1 << 18
"""Weights decoded at once: 1 MiB of float32, and a few byte-sized temporaries beside it."""


def expand(parts: Parts, y: Float32[ndarray, "n weights"]) -> None:
    """y = scale * q - minimum, each sub-block with its own two numbers."""
    rows = y.reshape(parts.scale.size, -1)  # one sub-block a row
    np.multiply(parts.q.reshape(rows.shape), parts.scale.reshape(-1, 1), out=rows)
    if parts.minimum is not None:
        rows -= parts.minimum.reshape(-1, 1)


def blockwise(split: Split, block_size: int) -> Dequantize:
    """The weights of structs of any shape, piece by piece."""
    step = max(1, CHUNK // block_size)

    def dequantize(blocks: ndarray) -> Float32[ndarray, "*blocks weights"]:
        flat = blocks.reshape(-1)
        y = np.empty((flat.size, block_size), dtype=np.float32)
        with np.errstate(all="ignore"):  # Inf and NaN scales are data here, not accidents
            for i in range(0, flat.size, step):
                expand(split(flat[i : i + step]), y[i : i + step])
        return y.reshape(*blocks.shape, block_size)

    return dequantize
