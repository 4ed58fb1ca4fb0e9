"""F32, F16 and BF16: every product is fused into its sum.

Layout of 16 rows and 32 columns: column after column, the 16 rows' numbers of a column together; in
BF16 two columns at a time, so that a lane's 32 bits hold two neighbours of one row.

    F32, F16   k of row 0, k of row 1, ... k of row 15,    k + 1 of row 0, ...
    BF16       k and k + 1 of row 0, k and k + 1 of row 1, ...

The 32 columns of a block are summed by themselves and then added to what came before: a shorter
chain of roundings than one long sum, and a processor that executes out of order starts on the next
block before this one is done (an addition waits for the one before it, four cycles each).

Weights are widened to float32, and so are activations, which with act="half" were rounded to the
weights' type first.  For float16 that changes nothing here.  For bfloat16 there is an instruction
that takes two columns at once and does not widen (`add_pairs`): twice as fast.
"""

from typing import Any

from backends.numba.compile import jit
from backends.numba.simd import float_bits
from backends.numba.simd_memory import (
    load_floats,
    load_halves,
    load_int,
    load_ints,
    load_short,
    store_int,
    store_short,
)
from backends.numba.tile import (
    add_pairs,
    add_products,
    add_tiles,
    floats_like,
    prefetch_for,
    width,
)  # fmt: skip

UPPER = -65536
"""The upper half of 32 bits."""


@jit
def multiply_floats(tile: Any, w: int, blocks: int, x: int, load: Any, size: int) -> Any:
    step = 4 * width(tile)
    for _ in range(blocks):
        part = floats_like(tile)
        for k in range(32):
            if 16 * size * k % 64 == 0:
                prefetch_for(tile, w + 16 * size * k)
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
    """A bfloat16 is the upper half of a float32."""
    step = 4 * width(tile)
    for _ in range(blocks):
        part = floats_like(tile)
        for k in range(16):
            prefetch_for(tile, w + 64 * k)
            both = load_ints(w + 64 * k)
            part = add_products(part, float_bits(both << 16), x + 2 * step * k)
            part = add_products(part, float_bits(both & UPPER), x + 2 * step * k + step)
        tile = add_tiles(tile, part)
        w += 1024
        x += 32 * step
    return tile


@jit
def dot_bf16(tile: Any, w: int, blocks: int, x: int, scales: int, sums: int) -> Any:
    """Activations are pairs of bfloat16, too."""
    step = 4 * width(tile)
    for _ in range(blocks):
        part = floats_like(tile)
        for k in range(16):
            if width(tile) > 4:  # with fewer tokens memory is what it waits for, not sums
                prefetch_for(tile, w + 64 * k)
            part = add_pairs(part, load_ints(w + 64 * k), x + step * k)
        tile = add_tiles(tile, part)
        w += 1024
        x += 16 * step
    return tile


@jit
def put_words(row: int, block: int, r: int, columns: int) -> None:
    """One row's share of a block of float32."""
    for k in range(columns):
        store_int(block + 64 * k + 4 * r, load_int(row + 4 * k))


@jit
def put_shorts(row: int, block: int, r: int, columns: int) -> None:
    """The same for float16."""
    for k in range(columns):
        store_short(block + 32 * k + 2 * r, load_short(row + 2 * k))


@jit
def put_pairs(row: int, block: int, r: int, columns: int) -> None:
    """The same for bfloat16."""
    for k in range(columns):
        store_short(block + 64 * (k // 2) + 4 * r + 2 * (k % 2), load_short(row + 2 * k))
