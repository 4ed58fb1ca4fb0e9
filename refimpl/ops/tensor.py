"""Rows in, rows out: embedding, linear maps, addition.

Every operation here is row-wise: what happens to one token never depends on the tokens beside it.
That is what lets an engine batch at all, and, with `dot`, it holds in every bit.

>>> linear(np.float32([[1, 2], [3, 4]]), np.float32([[1, 0], [1, 1], [0, 2]]))
array([[1., 3., 4.],
       [3., 7., 8.]], dtype=float32)
"""

import numpy as np
from jaxtyping import Float, Integer
from numpy import ndarray

from refimpl.formats.quants.block import Packed, Tensor
from refimpl.formats.quants.dot import partner
from refimpl.formats.quants.dot import unrounded as dot_q8
from refimpl.ops.numerics import F32, Rounding, dot, exact

CHUNK = 1 << 17
"""Weights widened at a time, so that float64 copies stay in the cache (1 MiB)."""


def embed(
    table: Tensor, tokens: Integer[ndarray, " tokens"], scale: float = 1.0, *, to: Rounding = F32
) -> Float[ndarray, "tokens dim"]:
    """One row of the table per token id; Gemma multiplies by sqrt(dim)."""
    return to(exact(table[tokens]) * scale)


def linear(
    x: Float[ndarray, "tokens inner"],
    weight: Tensor,
    bias: Float[ndarray, " outer"] | None = None,
    *,
    to: Rounding = F32,
) -> Float[ndarray, "tokens outer"]:
    """y = x W^T + b.  weight: [outer, inner], the layout in which checkpoints store it.

    The weight may be packed, half precision or mapped from a file: rows are widened as they are
    needed, and widening is exact.
    """
    outer, _inner = weight.shape
    wide = exact(x)[:, None, :]  # [tokens, 1, inner]
    y = np.empty((len(x), outer))  # [tokens, outer]
    for rows in row_chunks(weight):
        y[:, rows] = dot(wide, exact(weight[rows])[None])
    return to(y if bias is None else y + exact(bias))


def linear_q8(
    x: Float[ndarray, "tokens inner"],
    weight: Tensor,
    bias: Float[ndarray, " outer"] | None = None,
    *,
    to: Rounding = F32,
) -> Float[ndarray, "tokens outer"]:
    """The named mode act="q8": activations are quantised first, as ggml does for these weights.

    Weights that are not quantised are multiplied as they are (`refimpl.formats.quants.dot`).
    """
    if not isinstance(weight, Packed) or weight.type.split is None:
        return linear(x, weight, bias, to=to)
    y, _ = dot_q8(np.asarray(x, np.float32), weight.type, weight.blocks, partner(weight.type))
    return to(y if bias is None else y + exact(bias))


def row_chunks(weight: Tensor) -> list[slice]:
    """Slices that cover the rows; all at once where nothing needs widening."""
    outer, inner = weight.shape
    if not isinstance(weight, Packed) and weight.dtype == np.float64:
        return [slice(0, outer)]
    step = max(1, CHUNK // max(1, inner))
    return [slice(start, min(start + step, outer)) for start in range(0, outer, step)]


def add(
    a: Float[ndarray, "*shape"], b: Float[ndarray, "*shape"], *, to: Rounding = F32
) -> Float[ndarray, "*shape"]:
    """a + b, the residual stream's only operation."""
    return to(exact(a) + exact(b))
