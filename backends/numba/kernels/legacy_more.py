"""Q4_1, Q5_0 and Q5_1: a minimum beside the scale, and a fifth bit beside the nibbles.

A weight with a minimum is d * q + m, and a row's sum d * sum(q x) + m * sum(x): the second sum
comes with the activations.

The fifth bits of 32 columns and 16 rows are 64 bytes: bit j of byte p of a row is that of column
4 j + p, so one shift brings the bits of four neighbouring columns where they belong.

    Q4_1   16 d | 16 m | nibbles            Q5_1   16 d | 16 m | fifth bits | nibbles
    Q5_0   16 d | fifth bits | nibbles
"""

from typing import Any

from backends.numba.compile import jit
from backends.numba.int_tile import add_scaled_ints, dot4, ints_like, less_offset, weigh_numbers
from backends.numba.kernels.k import add_four_scaled
from backends.numba.kernels.legacy import add_four_columns
from backends.numba.simd import as_ints, floats, ints
from backends.numba.simd_memory import (
    load_bytes,
    load_halves,
    load_int,
    load_short,
    store_byte,
    store_int,
    store_short,
)
from backends.numba.tile import add_scaled, ask_ahead, floats_like, width

Q4_1_BYTES, Q5_0_BYTES, Q5_1_BYTES = 16 * 20, 16 * 22, 16 * 24


@jit
def add_nibbles(s: Any, w: int, top: Any, codes: int, step: int) -> Any:
    """Products of 32 columns of five bits; `top` holds the fifth ones."""
    for j in range(4):
        q = load_bytes(w + 64 * j)
        s = dot4(s, (q & 15) | (((top >> j) << 4) & 16), codes + step * j)
        s = dot4(s, (q >> 4) | (((top >> (4 + j)) << 4) & 16), codes + step * (4 + j))
    return s


@jit
def add_minimum(tile: Any, minimum: Any, scales: int, sums: int) -> Any:
    """m * sum(x): the address holds minus the sum."""
    total = weigh_numbers(ints_like(tile), ints(-1), sums)
    return add_scaled_ints(tile, total, minimum, scales)


@jit
def dot_q4_1(tile: Any, w: int, blocks: int, codes: int, scales: int, sums: int) -> Any:
    step = 4 * width(tile)
    for _ in range(blocks):
        s = ints_like(tile)
        ask_ahead(tile, w, Q4_1_BYTES)
        for j in range(4):
            q = load_bytes(w + 64 + 64 * j)
            s = dot4(s, q & 15, codes + step * j)
            s = dot4(s, q >> 4, codes + step * (4 + j))
        tile = add_scaled_ints(tile, s, load_halves(w), scales)
        tile = add_minimum(tile, load_halves(w + 32), scales, sums + 2 * step)
        w += Q4_1_BYTES
        codes += 8 * step
        scales += step
        sums += 3 * step
    return tile


@jit
def multiply_q4_1(tile: Any, w: int, blocks: int, x: int, scales: int, sums: int) -> Any:
    step = 4 * width(tile)
    for _ in range(blocks):
        d, less = load_halves(w), floats(0.0) - load_halves(w + 32)
        part = floats_like(tile)
        for j in range(4):
            q = load_bytes(w + 64 + 64 * j)
            part = add_four_scaled(part, as_ints(q & 15), x + 4 * step * j, d, less)
            part = add_four_scaled(part, as_ints(q >> 4), x + 4 * step * (4 + j), d, less)
        tile = add_scaled(tile, part, floats(1.0))
        w += Q4_1_BYTES
        x += 32 * step
    return tile


@jit
def put_q4_1(row: int, block: int, r: int, columns: int) -> None:
    store_short(block + 2 * r, load_short(row))
    store_short(block + 32 + 2 * r, load_short(row + 2))
    for j in range(4):
        store_int(block + 64 + 64 * j + 4 * r, load_int(row + 4 + 4 * j))


@jit
def dot_q5_0(tile: Any, w: int, blocks: int, codes: int, scales: int, sums: int) -> Any:
    step = 4 * width(tile)
    for _ in range(blocks):
        s = less_offset(tile, sums + 2 * step, 4)
        ask_ahead(tile, w, Q5_0_BYTES)
        s = add_nibbles(s, w + 96, load_bytes(w + 32), codes, step)
        tile = add_scaled_ints(tile, s, load_halves(w), scales)
        w += Q5_0_BYTES
        codes += 8 * step
        scales += step
        sums += 3 * step
    return tile


@jit
def multiply_q5_0(tile: Any, w: int, blocks: int, x: int, scales: int, sums: int) -> Any:
    step = 4 * width(tile)
    for _ in range(blocks):
        part, top = floats_like(tile), load_bytes(w + 32)
        for j in range(4):
            q = load_bytes(w + 96 + 64 * j)
            low = ((q & 15) | (((top >> j) << 4) & 16)) - 16
            high = ((q >> 4) | (((top >> (4 + j)) << 4) & 16)) - 16
            part = add_four_columns(part, low, x + 4 * step * j)
            part = add_four_columns(part, high, x + 4 * step * (4 + j))
        tile = add_scaled(tile, part, load_halves(w))
        w += Q5_0_BYTES
        x += 32 * step
    return tile


@jit
def put_five(row: int, tops: int, nibbles: int, r: int) -> None:
    """qh[4] qs[16] of a row: bit c of qh belongs to column c."""
    bits = load_int(row)
    for p in range(4):
        byte = 0
        for j in range(8):
            byte |= ((bits >> (4 * j + p)) & 1) << j
        store_byte(tops + 4 * r + p, byte)
    for j in range(4):
        store_int(nibbles + 64 * j + 4 * r, load_int(row + 4 + 4 * j))


@jit
def put_q5_0(row: int, block: int, r: int, columns: int) -> None:
    store_short(block + 2 * r, load_short(row))
    put_five(row + 2, block + 32, block + 96, r)


@jit
def dot_q5_1(tile: Any, w: int, blocks: int, codes: int, scales: int, sums: int) -> Any:
    step = 4 * width(tile)
    for _ in range(blocks):
        ask_ahead(tile, w, Q5_1_BYTES)
        s = add_nibbles(ints_like(tile), w + 128, load_bytes(w + 64), codes, step)
        tile = add_scaled_ints(tile, s, load_halves(w), scales)
        tile = add_minimum(tile, load_halves(w + 32), scales, sums + 2 * step)
        w += Q5_1_BYTES
        codes += 8 * step
        scales += step
        sums += 3 * step
    return tile


@jit
def multiply_q5_1(tile: Any, w: int, blocks: int, x: int, scales: int, sums: int) -> Any:
    step = 4 * width(tile)
    for _ in range(blocks):
        d, less = load_halves(w), floats(0.0) - load_halves(w + 32)
        part, top = floats_like(tile), load_bytes(w + 64)
        for j in range(4):
            q = load_bytes(w + 128 + 64 * j)
            low = as_ints((q & 15) | (((top >> j) << 4) & 16))
            high = as_ints((q >> 4) | (((top >> (4 + j)) << 4) & 16))
            part = add_four_scaled(part, low, x + 4 * step * j, d, less)
            part = add_four_scaled(part, high, x + 4 * step * (4 + j), d, less)
        tile = add_scaled(tile, part, floats(1.0))
        w += Q5_1_BYTES
        x += 32 * step
    return tile


@jit
def put_q5_1(row: int, block: int, r: int, columns: int) -> None:
    store_short(block + 2 * r, load_short(row))
    store_short(block + 32 + 2 * r, load_short(row + 2))
    put_five(row + 4, block + 64, block + 128, r)
