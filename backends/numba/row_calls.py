"""The row functions of `rows` as Python calls: arrays in, every row in turn."""

import numpy as np
from numpy import ndarray

from backends.numba import rows
from backends.numba.compile import jit_cached


@jit_cached
def rms_norm(x: ndarray, weight: ndarray, eps: float, out: ndarray) -> None:
    for r in range(x.shape[0]):
        rows.rms_norm(x[r].ctypes.data, weight.ctypes.data, x.shape[1], eps, out[r].ctypes.data)


@jit_cached
def layer_norm(x: ndarray, weight: ndarray, bias: ndarray, eps: float, out: ndarray) -> None:
    for r in range(x.shape[0]):
        rows.layer_norm(
            x[r].ctypes.data, weight.ctypes.data, bias.ctypes.data, x.shape[1], eps,
            out[r].ctypes.data,
        )  # fmt: skip


@jit_cached
def rotate(x: ndarray, cos: ndarray, sin: ndarray, interleaved: int) -> None:
    """x [tokens, heads, head_dim] in place; cos and sin [tokens, pairs]."""
    for t in range(x.shape[0]):
        for h in range(x.shape[1]):
            rows.rotate(
                x[t, h].ctypes.data, cos[t].ctypes.data, sin[t].ctypes.data, cos.shape[1],
                interleaved,
            )  # fmt: skip


ADD, GLU, ACTIVATE, CAP = range(4)


@jit_cached
def pointwise(what: int, x: ndarray, y: ndarray, kind: int, cap: float) -> None:
    """In place on x, flat and a multiple of 16 long."""
    a, b, n = x.ctypes.data, y.ctypes.data, x.size
    if what == ADD:
        rows.add_row(a, b, n)
    elif what == GLU:
        rows.glu_row(a, b, n, kind)
    elif what == ACTIVATE:
        rows.activate_row(a, n, kind)
    else:
        rows.cap_row(a, n, cap)


def flat(x: ndarray) -> ndarray:
    """A copy of all of x as float32, filled up to a multiple of 16."""
    out = np.zeros(-(-max(x.size, 1) // 16) * 16, np.float32)
    out[: x.size] = x.reshape(-1)
    return out
