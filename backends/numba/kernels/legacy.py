"""Q8_0 and Q4_0: 32 weights and a scale, and the dot product of bytes in its simplest form.

Layout of 16 rows and 32 columns: 16 float16 scales (32 bytes); then for every four columns 64
bytes, four from each row.  So a load brings what the 16 lanes of `dot4` want, a row's result grows
in its own lane, and nothing is ever added across lanes.  Packed nibbles stay as GGUF has them: the
low halves of a load are one group of four columns, the high halves another.

    GGUF, one row   d  w0 w1 w2 w3  w4 w5 w6 w7 ...
    here, 16 rows   d d ... d    w0-3 of row 0, w0-3 of row 1, ... w0-3 of row 15,  w4-7 of row 0

A stored weight may be `offset` too large, to be unsigned; sum(w * x) is then sum(stored * x) minus
offset * sum(x), which is where the sum begins (`less_offset`).
"""

from typing import Any

from backends.numba.compile import jit
from backends.numba.int_tile import add_scaled_ints, dot4, dot4_wide, ints_like, less_offset
from backends.numba.processor import BYTE_OFFSET
from backends.numba.simd import as_ints, to_floats
from backends.numba.simd_memory import (
    load_bytes,
    load_halves,
    load_int,
    load_short,
    store_int,
    store_short,
)
from backends.numba.tile import add_products, add_scaled, ask_ahead, floats_like, width

Q8_0_BYTES, Q4_0_BYTES = 16 * 34, 16 * 18
FLIP = 0x80808080 if BYTE_OFFSET else 0


@jit
def add_four_columns(part: Any, codes: Any, x: int) -> Any:
    """Signed bytes times floats: each byte of a lane is one column's weight."""
    lanes = as_ints(codes)
    step = 4 * width(part)
    for c in range(4):
        part = add_products(part, to_floats((lanes << (24 - 8 * c)) >> 24), x + step * c)
    return part


@jit
def dot_q8_0(tile: Any, w: int, blocks: int, codes: int, scales: int, sums: int) -> Any:
    step = 4 * width(tile)
    for _ in range(blocks):
        ask_ahead(tile, w, Q8_0_BYTES)
        s = ints_like(tile)
        if BYTE_OFFSET:
            s = less_offset(tile, sums + 2 * step, 7)
        for j in range(8):
            s = dot4_wide(s, load_bytes(w + 32 + 64 * j), codes + step * j)
        tile = add_scaled_ints(tile, s, load_halves(w), scales)
        w += Q8_0_BYTES
        codes += 8 * step
        scales += step
        sums += 3 * step
    return tile


@jit
def multiply_q8_0(tile: Any, w: int, blocks: int, x: int, scales: int, sums: int) -> Any:
    step = 4 * width(tile)
    for _ in range(blocks):
        part = floats_like(tile)
        for j in range(8):
            part = add_four_columns(part, load_bytes(w + 32 + 64 * j) ^ BYTE_OFFSET, x)
            x += 4 * step
        tile = add_scaled(tile, part, load_halves(w))
        w += Q8_0_BYTES
    return tile


@jit
def put_q8_0(row: int, block: int, r: int, columns: int) -> None:
    store_short(block + 2 * r, load_short(row))
    for j in range(8):
        store_int(block + 32 + 64 * j + 4 * r, load_int(row + 2 + 4 * j) ^ FLIP)


@jit
def dot_q4_0(tile: Any, w: int, blocks: int, codes: int, scales: int, sums: int) -> Any:
    step = 4 * width(tile)
    for _ in range(blocks):
        ask_ahead(tile, w, Q4_0_BYTES)
        s = less_offset(tile, sums + 2 * step, 3)
        for j in range(4):
            q = load_bytes(w + 32 + 64 * j)
            s = dot4(s, q & 15, codes + step * j)
            s = dot4(s, q >> 4, codes + step * (4 + j))
        tile = add_scaled_ints(tile, s, load_halves(w), scales)
        w += Q4_0_BYTES
        codes += 8 * step
        scales += step
        sums += 3 * step
    return tile


@jit
def multiply_q4_0(tile: Any, w: int, blocks: int, x: int, scales: int, sums: int) -> Any:
    step = 4 * width(tile)
    for _ in range(blocks):
        part = floats_like(tile)
        for j in range(4):
            q = load_bytes(w + 32 + 64 * j)
            part = add_four_columns(part, (q & 15) - 8, x + 4 * step * j)
            part = add_four_columns(part, (q >> 4) - 8, x + 4 * step * (4 + j))
        tile = add_scaled(tile, part, load_halves(w))
        w += Q4_0_BYTES
        x += 32 * step
    return tile


@jit
def put_q4_0(row: int, block: int, r: int, columns: int) -> None:
    store_short(block + 2 * r, load_short(row))
    for j in range(4):
        store_int(block + 32 + 64 * j + 4 * r, load_int(row + 2 + 4 * j))
