"""One matrix times a batch, outside a fused step: `step.product`, with buffers of its own.

The same code in the same order as inside a step, so that composed and fused models agree in every
bit.  What is computed: `refimpl.ops.tensor.linear`, or the named mode that `act` says.
"""

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from backends.numba.layout import Matrix
from backends.numba.pool import Pool
from backends.numba.records import BUFFERS, PRODUCT, fill_matrix
from backends.numba.step import product
from refimpl.errors import InputError

SCRATCH = 1024


def multiply(
    pool: Pool, x: Float32[ndarray, "n columns"], matrix: Matrix, bias: ndarray | None, act: str
) -> Float32[ndarray, "n rows"]:
    """x W^T + bias."""
    if x.shape[1] != matrix.columns:
        raise InputError(f"x has {x.shape[1]} columns, and the weight {matrix.columns}")
    n, most = len(x), -(-len(x) // 8) * 8
    wide = -(-matrix.columns // 256) * 256
    y = np.empty((most, 16 * matrix.groups), np.float32)
    shift = np.zeros(16 * matrix.groups, np.float32)
    if bias is not None:
        shift[: len(bias)] = bias
    memory = np.empty(most * 12 * wide + pool.threads * SCRATCH + 4096, np.uint8)
    record = np.zeros(1, PRODUCT)
    buffers, place = np.zeros((), BUFFERS), int(memory.ctypes.data)
    plain = {"floats": 4 * wide, "halves": 4 * wide, "pairs": 2 * wide}
    for name, size in {**plain, "codes": wide, "scales": wide // 8}.items():
        target = buffers if name in plain else buffers["small"]
        target[name] = place
        place += most * size
    buffers["small"]["sums"] = place
    buffers["large"] = buffers["small"]
    buffers["scratch"] = place + most * (wide // 32 * 12)
    buffers["scratch_bytes"] = SCRATCH
    record[0]["buffers"] = buffers
    taken = np.zeros(1, np.int64)
    where = 0 if bias is None else shift.ctypes.data
    fill_matrix(record[0]["matrix"], matrix, act, where, taken.ctypes.data)
    record[0]["x"], record[0]["x_bytes"], record[0]["n"] = x.ctypes.data, x.strides[0], n
    record[0]["y"], record[0]["y_bytes"] = y.ctypes.data, y.strides[0]
    record[0]["barrier"] = pool.board
    if n:
        pool.run(product, record.ctypes.data)
    return np.ascontiguousarray(y[:n, : matrix.rows])
