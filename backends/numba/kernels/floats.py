"""F32, F16 and BF16: every weight is widened to float32, and every product is fused into its sum.

Layout of 16 rows and 32 columns: column after column, the 16 rows' numbers of a column together.

The 32 columns of a block are summed by themselves and then added to what came before: a shorter
chain of roundings than one long sum, and a processor that executes out of order starts on the next
block before this one is done (an addition waits for the one before it, four cycles each).
"""

from typing import Any

from backends.numba.compile import jit
from backends.numba.simd import (
    load_bfloats,
    load_floats,
    load_halves,
    load_int,
    load_short,
    store_int,
    store_short,
)  # fmt: skip
from backends.numba.tile import add_products, add_tiles, floats_like, width


@jit
def multiply_floats(tile: Any, w: int, blocks: int, x: int, load: Any, size: int) -> Any:
    step = 4 * width(tile)
    for _ in range(blocks):
        part = floats_like(tile)
        for k in range(32):
            part = add_products(part, load(w + 16 * size * k), x + step * k)
        tile = add_tiles(tile, part)
        w += 512 * size
        x += 32 * step
    return tile


@jit
def multiply_f32(tile: Any, w: int, blocks: int, x: int, scales: int, sums: int) -> Any:
    return multiply_floats(tile, w, blocks, x, load_floats, 4)


@jit
def multiply_f16(tile: Any, w: int, blocks: int, x: int, scales: int, sums: int) -> Any:
    return multiply_floats(tile, w, blocks, x, load_halves, 2)


@jit
def multiply_bf16(tile: Any, w: int, blocks: int, x: int, scales: int, sums: int) -> Any:
    return multiply_floats(tile, w, blocks, x, load_bfloats, 2)


@jit
def put_words(row: int, block: int, r: int, columns: int) -> None:
    """One row's share of a block of float32."""
    for k in range(columns):
        store_int(block + 64 * k + 4 * r, load_int(row + 4 * k))


@jit
def put_shorts(row: int, block: int, r: int, columns: int) -> None:
    """The same for 16-bit numbers."""
    for k in range(columns):
        store_short(block + 32 * k + 2 * r, load_short(row + 2 * k))
