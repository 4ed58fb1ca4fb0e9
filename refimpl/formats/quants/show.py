"""One block, field by field, for a person to read.

>>> from refimpl.formats.quants import block_type
>>> q4_0 = block_type("Q4_0")
>>> print("\\n".join(lines(q4_0, q4_0.quantize(np.linspace(-1, 1, 32, dtype="f4")[None])[0])))
Q4_0: 32 weights in 18 bytes, 4.5 bits each; weight = d * (q - 8)
d          0.125
qs         80 91 91 a2 a2 b3 b3 c4 c4 d5 d5 e6 e6 f7 f7 f8
weights    scale 0.125
   q       -8 -7 -7 -6 -6 -5 -5 -4 -4 -3 -3 -2 -2 -1 -1 0 0 1 1 2 2 3 3 4 4 5 5 6 6 7 7 7
   w       -1 -0.875 -0.875 -0.75 -0.75 -0.625 -0.625 -0.5 -0.5 -0.375 -0.375 -0.25 ...
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy import ndarray

from refimpl.errors import UnsupportedError
from refimpl.formats.quants.block import BlockType


def lines(kind: BlockType, block: Any) -> list[str]:
    """What to print: the struct's fields as stored, then the weights, a sub-block at a time."""
    if kind.split is None:
        raise UnsupportedError(f"{kind.name} has no blocks: its tensors are plain numbers")
    return [
        f"{kind.name}: {kind.block_size} weights in {kind.dtype.itemsize} bytes, "
        f"{kind.bits_per_weight:.4g} bits each; weight = {kind.formula}",
        *(f"{name:10} {_stored(block[name])}" for name in kind.dtype.names or ()),
        *_weights(kind, np.array([block], dtype=kind.dtype)),
    ]


def _stored(field: Any) -> str:
    """Bytes in hexadecimal, everything else as numbers."""
    values = np.atleast_1d(field)
    if values.dtype == np.uint8:
        return bytes(values).hex(" ")
    return _numbers(values)


def _weights(kind: BlockType, block: ndarray) -> Iterator[str]:
    assert kind.split is not None
    parts = kind.split(block)
    n = parts.scale.shape[1]
    integers, weights = parts.q.reshape(n, -1), kind.dequantize(block).reshape(n, -1)
    for i in range(n):
        low = "" if parts.minimum is None else f", minimum {parts.minimum[0, i]:.6g}"
        first = i * integers.shape[1]
        place = "weights" if n == 1 else f"from {first}"
        yield f"{place:10} scale {parts.scale[0, i]:.6g}{low}"
        yield f"   q       {_numbers(integers[i])}"
        yield f"   w       {_numbers(weights[i])}"


def _numbers(values: ndarray) -> str:
    return " ".join(f"{value:.6g}" for value in values.tolist())
