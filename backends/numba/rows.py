"""What happens to one row at a time: norms, rotation, activations, sums.

Every function takes addresses of float32 rows and a length, and works from the first number to the
last in steps of 16.  What it does to a row depends on nothing but the row.
"""

from typing import Any

import numpy as np

from backends.numba.compile import jit
from backends.numba.functions import activate, soft_cap
from backends.numba.simd import floats, fma, sum_floats
from backends.numba.simd_memory import load_float, load_floats, store_float, store_floats

F = np.float32


@jit
def sum_of_squares(x: int, n: int) -> Any:
    total = floats(F(0.0))
    whole = n // 16 * 16
    for i in range(0, whole, 16):
        v = load_floats(x + 4 * i)
        total = fma(v, v, total)
    s = sum_floats(total)
    for i in range(whole, n):
        s += load_float(x + 4 * i) * load_float(x + 4 * i)
    return s


@jit
def rms_norm(x: int, weight: int, n: int, eps: float, out: int) -> None:
    """out = x / sqrt(mean(x^2) + eps) * weight; out may be x."""
    root = np.sqrt(sum_of_squares(x, n) / F(n) + F(eps))
    whole = n // 16 * 16
    for i in range(0, whole, 16):
        store_floats(out + 4 * i, load_floats(x + 4 * i) / root * load_floats(weight + 4 * i))
    for i in range(whole, n):
        store_float(out + 4 * i, load_float(x + 4 * i) / root * load_float(weight + 4 * i))


@jit
def layer_norm(x: int, weight: int, bias: int, n: int, eps: float, out: int) -> None:
    """(x - mean) / sqrt(variance + eps) * weight + bias; `bias` 0 is none."""
    total = F(0.0)
    vector = floats(F(0.0))
    whole = n // 16 * 16
    for i in range(0, whole, 16):
        vector = vector + load_floats(x + 4 * i)
    total = sum_floats(vector)
    for i in range(whole, n):
        total += load_float(x + 4 * i)
    mean = total / F(n)
    for i in range(n):
        store_float(out + 4 * i, load_float(x + 4 * i) - mean)
    root = np.sqrt(sum_of_squares(out, n) / F(n) + F(eps))
    for i in range(n):
        y = load_float(out + 4 * i) / root * load_float(weight + 4 * i)
        if bias != 0:
            y += load_float(bias + 4 * i)
        store_float(out + 4 * i, y)


@jit
def rotate(head: int, cos: int, sin: int, pairs: int, interleaved: int) -> None:
    """RoPE on one head, in place; cos and sin are the position's row of the table."""
    for i in range(pairs):
        a, b = head + 4 * i, head + 4 * (i + pairs)
        if interleaved:
            a, b = head + 8 * i, head + 8 * i + 4
        x, y = load_float(a), load_float(b)
        c, s = load_float(cos + 4 * i), load_float(sin + 4 * i)
        store_float(a, x * c - y * s)
        store_float(b, x * s + y * c)


@jit
def add_row(x: int, y: int, n: int) -> None:
    """x += y, n rounded up to 16."""
    for i in range(0, n, 16):
        store_floats(x + 4 * i, load_floats(x + 4 * i) + load_floats(y + 4 * i))


@jit
def scale_row(x: int, factor: float, n: int) -> None:
    for i in range(0, n, 16):
        store_floats(x + 4 * i, load_floats(x + 4 * i) * F(factor))


@jit
def glu_row(gate: int, up: int, n: int, kind: int) -> None:
    """gate = activation(gate) * up, n rounded up to 16."""
    for i in range(0, n, 16):
        y = activate(load_floats(gate + 4 * i), kind) * load_floats(up + 4 * i)
        store_floats(gate + 4 * i, y)


@jit
def activate_row(x: int, n: int, kind: int) -> None:
    for i in range(0, n, 16):
        store_floats(x + 4 * i, activate(load_floats(x + 4 * i), kind))


@jit
def cap_row(x: int, n: int, cap: float) -> None:
    for i in range(0, n, 16):
        store_floats(x + 4 * i, soft_cap(load_floats(x + 4 * i), F(cap)))
