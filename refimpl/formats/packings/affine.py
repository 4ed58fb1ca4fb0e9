"""The formula of most schemes: weight = (q - zero) * scale.

The matrix [out, in] is cut into blocks, and each block has one scale and perhaps one zero point:

    block (rows, columns)     one scale for          known as
    (out, in)                 the matrix             per tensor
    (1, in)                   a row                  per channel
    (1, group_size)           a part of a row        per group
    (128, 128)                a square               block-wise

Blocks at the edges may be cut short, so there are ceil(out / rows) x ceil(in / columns) of them.
GPTQ's act-order gives every column a group of its own choosing instead; `columns` holds it.

What is exact: q and zero have at most 9 significant bits together, and a float8 has 4, so the
product with a scale of up to 24 bits is exact in float64.  It is rounded once, to float32; with a
float16 scale that rounding does nothing, with a bfloat16 one only beyond float32's normal range.

>>> q = np.array([[1, 2, 3, 4], [5, 6, 7, 8]], dtype=np.uint8)
>>> scale = np.array([[1, 10], [100, 0.5]], dtype=np.float16)
>>> dequantize(q, scale, zero=np.full((2, 2), 4), block=(1, 2)).tolist()
[[-3.0, -2.0, -10.0, 0.0], [100.0, 200.0, 1.5, 2.0]]
"""

import numpy as np
from jaxtyping import Float32, Int, Num, Real, Shaped
from numpy import ndarray

from refimpl.ops.numerics import F32, exact

CHUNK = 1 << 18  # weights held in float64 at a time: 2 MB


def dequantize(
    q: Num[ndarray, "out in"],
    scale: Shaped[ndarray, "row_blocks column_blocks"],
    *,
    zero: Real[ndarray, "row_blocks column_blocks"] | None = None,
    block: tuple[int, int],
    columns: Int[ndarray, " in"] | None = None,
) -> Float32[ndarray, "out in"]:
    """(q - zero) * scale, a few rows at a time; `columns` [in] names each column's block.

    `scale` is of any float type, E8M0 (which jaxtyping has no name for) among them.
    """
    n_out, n_in = q.shape
    if columns is None:
        columns = np.arange(n_in) // block[1]
    weights = np.empty(q.shape, np.float32)
    step = max(1, CHUNK // n_in)
    for start in range(0, n_out, step):
        rows = slice(start, start + step)
        row_blocks = np.arange(n_out)[rows] // block[0]
        product = exact(q[rows])
        with np.errstate(over="ignore", invalid="ignore"):  # an infinite scale stays one
            if zero is not None:
                product = product - exact(zero[row_blocks])[:, columns]
            weights[rows] = F32(product * exact(scale[row_blocks])[:, columns])
    return weights


def grid(shape: tuple[int, ...], block: tuple[int, int]) -> tuple[int, int]:
    """How many blocks there are, down and across.

    >>> grid((576, 7168), (128, 128))
    (5, 56)
    """
    return -(-shape[0] // block[0]), -(-shape[1] // block[1])


def scale_shapes(shape: tuple[int, ...], block: tuple[int, int]) -> tuple[tuple[int, ...], ...]:
    """How the scales of such blocks may be stored: axes of length 1 at the end may be left out.

    >>> scale_shapes((8, 4), (1, 4)), scale_shapes((8, 4), (8, 4))
    (((8, 1), (8,)), ((1, 1), (1,), ()))
    """
    full: tuple[int, ...] = grid(shape, block)
    shapes = [full]
    while full and full[-1] == 1:
        full = full[:-1]
        shapes.append(full)
    return tuple(shapes)
