"""Every other block type: spread once, at load, into int8 codes with a float32 scale per sixteen.

The lattices and code books of the IQ formats are made to be small, not to be fast, and few models
use them.  `refimpl` takes their blocks apart into integers and scales (`Parts`), exactly; this is
the layout in which those are multiplied.  It takes 12 bits a weight.

Layout of 16 rows and 32 columns: 2 x 16 scales, 2 x 16 minima (float32), then 8 x 64 codes.
"""

from typing import Any

from backends.numba.compile import jit
from backends.numba.int_tile import (
    add_scaled_ints,
    dot4_wide,
    ints_like,
    less_offset,
    weigh_numbers,
)  # fmt: skip
from backends.numba.processor import BYTE_OFFSET
from backends.numba.simd import as_ints, floats, ints, to_floats
from backends.numba.simd_memory import load_bytes, load_floats
from backends.numba.tile import add_products, add_scaled, ask_ahead, floats_like, width

BLOCK_BYTES = 256 + 512


@jit
def dot_spread(
    tile: Any, w: int, blocks: int, codes: int, scales: int, sums: int, each: int
) -> Any:
    """`each` blocks of 32 share a scale of the activations: 1 for q8_0, 8 for q8_k.

    For q8_k, the sums are 32 times too large.
    """
    step = 4 * width(tile)
    bits, unit = 7, 1.0
    if each == 8:
        bits, unit = 2, 1 / 32
    for b in range(blocks * each):
        for h in range(2):
            s = ints_like(tile)
            ask_ahead(tile, w + 384 * h, 384)
            if BYTE_OFFSET:
                s = less_offset(tile, sums, bits)
            for j in range(4):
                s = dot4_wide(s, load_bytes(w + 256 + 256 * h + 64 * j), codes + step * j)
            scale = scales + b // each * step
            tile = add_scaled_ints(tile, s, load_floats(w + 64 * h), scale)
            less = weigh_numbers(ints_like(tile), ints(1), sums)
            tile = add_scaled_ints(tile, less, load_floats(w + 128 + 64 * h) * unit, scale)
            codes += 4 * step
            sums += step
        sums += step
        w += BLOCK_BYTES
    return tile


@jit
def dot_spread_32(tile: Any, w: int, blocks: int, codes: int, scales: int, sums: int) -> Any:
    return dot_spread(tile, w, blocks, codes, scales, sums, 1)


@jit
def dot_spread_256(tile: Any, w: int, blocks: int, codes: int, scales: int, sums: int) -> Any:
    return dot_spread(tile, w, blocks, codes, scales, sums, 8)


@jit
def multiply_spread_256(tile: Any, w: int, blocks: int, x: int, scales: int, sums: int) -> Any:
    return multiply_spread(tile, w, 8 * blocks, x, scales, sums)


@jit
def multiply_spread(tile: Any, w: int, blocks: int, x: int, scales: int, sums: int) -> Any:
    """Weights as `dequantize` makes them, `scale * q - minimum` in float32, times float32."""
    step = 4 * width(tile)
    for _ in range(blocks):
        part = floats_like(tile)
        for h in range(2):
            scale, minimum = load_floats(w + 64 * h), load_floats(w + 128 + 64 * h)
            for j in range(4):
                lanes = as_ints(load_bytes(w + 256 + 256 * h + 64 * j) ^ BYTE_OFFSET)
                for c in range(4):
                    q = to_floats((lanes << (24 - 8 * c)) >> 24)
                    part = add_products(part, q * scale - minimum, x + step * c)
                x += 4 * step
        tile = add_scaled(tile, part, floats(1.0))
        w += BLOCK_BYTES
    return tile
