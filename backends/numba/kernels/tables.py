"""MXFP4 and IQ4_NL: four bits that index a table of sixteen values.

One instruction (`look_up`) turns 64 nibbles into 64 values, which then are like those of Q8_0.

    MXFP4    16 exponents (bytes) | nibbles      scale 2**(e - 128), values twice an E2M1 number
    IQ4_NL   16 float16 scales    | nibbles      values of `refimpl.formats.quants.iq4_values`
"""

from typing import Any

from backends.numba.compile import jit
from backends.numba.int_tile import add_scaled_ints, dot4_wide, ints_like, less_offset
from backends.numba.kernels.legacy import add_four_columns
from backends.numba.processor import BYTE_OFFSET, constant_table, look_up
from backends.numba.simd import float_bits, ints, where_less
from backends.numba.simd_memory import (
    load_byte,
    load_bytes,
    load_halves,
    load_int,
    load_short,
    load_unsigned_bytes,
    store_byte,
    store_int,
    store_short,
)
from backends.numba.tile import add_scaled, ask_ahead, floats_like, width
from refimpl.formats.quants.iq4_values import VALUES
from refimpl.formats.quants.mx_values import E2M1_DOUBLED

MXFP4_BYTES, IQ4_NL_BYTES = 16 * 17, 16 * 18

mxfp4_values, iq4_values = (constant_table(t.tolist(), 0) for t in (E2M1_DOUBLED, VALUES))
mxfp4_stored, iq4_stored = (constant_table(t.tolist(), BYTE_OFFSET) for t in (E2M1_DOUBLED, VALUES))


@jit
def powers_of_two(address: int) -> Any:
    """2**(e - 128) of 16 bytes e; the two smallest lie below the normal floats."""
    e = load_unsigned_bytes(address)
    small = ints(0x00200000) << where_less(e, ints(2), e, ints(0))
    return float_bits(where_less(e, ints(2), small, (e - 1) << 23))


@jit
def dot_table(
    tile: Any, w: int, blocks: int, codes: int, scales: int, sums: int,
    table: Any, scale_of: Any, head: int,
) -> Any:  # fmt: skip
    """`head` bytes of scales before the nibbles."""
    step = 4 * width(tile)
    for _ in range(blocks):
        s = ints_like(tile)
        if BYTE_OFFSET:
            s = less_offset(tile, sums + 2 * step, 7)
        ask_ahead(tile, w, head + 256)
        for j in range(4):
            q = load_bytes(w + head + 64 * j)
            s = dot4_wide(s, look_up(table(), q & 15), codes + step * j)
            s = dot4_wide(s, look_up(table(), q >> 4), codes + step * (4 + j))
        tile = add_scaled_ints(tile, s, scale_of(w), scales)
        w += head + 256
        codes += 8 * step
        scales += step
        sums += 3 * step
    return tile


@jit
def multiply_table(
    tile: Any, w: int, blocks: int, x: int, table: Any, scale_of: Any, head: int
) -> Any:
    step = 4 * width(tile)
    for _ in range(blocks):
        part = floats_like(tile)
        for j in range(4):
            q = load_bytes(w + head + 64 * j)
            part = add_four_columns(part, look_up(table(), q & 15), x + 4 * step * j)
            part = add_four_columns(part, look_up(table(), q >> 4), x + 4 * step * (4 + j))
        tile = add_scaled(tile, part, scale_of(w))
        w += head + 256
        x += 32 * step
    return tile


@jit
def dot_mxfp4(tile: Any, w: int, blocks: int, codes: int, scales: int, sums: int) -> Any:
    return dot_table(tile, w, blocks, codes, scales, sums, mxfp4_stored, powers_of_two, 16)


@jit
def multiply_mxfp4(tile: Any, w: int, blocks: int, x: int, scales: int, sums: int) -> Any:
    return multiply_table(tile, w, blocks, x, mxfp4_values, powers_of_two, 16)


@jit
def put_mxfp4(row: int, block: int, r: int, columns: int) -> None:
    store_byte(block + r, load_byte(row))
    for j in range(4):
        store_int(block + 16 + 64 * j + 4 * r, load_int(row + 1 + 4 * j))


@jit
def dot_iq4_nl(tile: Any, w: int, blocks: int, codes: int, scales: int, sums: int) -> Any:
    return dot_table(tile, w, blocks, codes, scales, sums, iq4_stored, load_halves, 32)


@jit
def multiply_iq4_nl(tile: Any, w: int, blocks: int, x: int, scales: int, sums: int) -> Any:
    return multiply_table(tile, w, blocks, x, iq4_values, load_halves, 32)


@jit
def put_iq4_nl(row: int, block: int, r: int, columns: int) -> None:
    store_short(block + 2 * r, load_short(row))
    for j in range(4):
        store_int(block + 32 + 64 * j + 4 * r, load_int(row + 2 + 4 * j))
