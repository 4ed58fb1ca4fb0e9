"""A matrix times a batch: which rows, which tokens, in which order.

The order decides only the speed.  Weights should be read from memory once: a few groups of 16 rows
(`CACHED_BYTES` of weights, which stay in the second-level cache) meet all tiles of the batch before
the next few come.  With one token there is one tile, and the weights stream by.

A prompt has many tiles, and one of 8192 columns in float32 is as large as those weights.  So with
many tokens the columns, too, come some at a time (`TILE_BYTES` of a tile's activations).  All rows
meet one run of columns before the next: a run's activations, of all tokens, stay in the third-level
cache meanwhile.  A tile's sums are put down after one run of columns and picked up before the next,
the same float32 numbers, so no bit changes.

A batch is cut into tiles of eight tokens, and what is left over is one of eight, four, two or one.
Eleven tokens are a tile of eight and a tile of four, whose last place is computed and not used.
"""

from typing import Any

from backends.numba.compile import jit
from backends.numba.tile import eight, four, load_tile, one, store_tile, two

KERNEL: Any = None
GROUP_BYTES = CODE_BYTES = SCALE_BYTES = SUM_BYTES = 0
"""Names that are filled in for each format (`compile.specialise`)."""

CACHED_BYTES = 1 << 18
TILE_BYTES = 1 << 16
MANY = 64
"""Tokens from which on columns are cut; with fewer, weights had better be read in one run."""


@jit
def tile_width(left: int) -> int:
    """How many tokens the next tile has, when so many are left."""
    if left > 4:
        width = 8
    elif left > 2:
        width = 4
    else:
        width = left
    return width


@jit
def multiply_groups(kernel: Any, tile: Any, groups: Any, x: Any, y: int, y_bytes: int) -> None:
    """Some groups of rows, for one tile of tokens: all columns, or those after `done` blocks."""
    w, first, last, group_bytes, done, blocks = groups
    codes, scales, sums = x
    for g in range(first, last):
        begun = load_tile(tile, y + 64 * g, y_bytes) if done else tile
        result = kernel(begun, w + g * group_bytes, blocks, codes, scales, sums)
        store_tile(result, y + 64 * g, y_bytes)


@jit
def blocks_at_once(blocks: int, tokens: int, code_bytes: int) -> int:
    """How many blocks of a row are multiplied before the next rows come."""
    some = blocks if tokens < MANY else min(blocks, TILE_BYTES // (8 * code_bytes))
    return max(1, some)  # what cannot be 0 needs no check of the loop's step


def multiply(
    w: int, first: int, last: int, blocks: int,
    codes: int, scales: int, sums: int, y: int, y_bytes: int, tokens: int,
) -> None:  # fmt: skip
    """Groups first..last-1 of a matrix, for packed tokens: y[token, 16 * group ...] = W x."""
    group_bytes = blocks * GROUP_BYTES
    some_blocks = blocks_at_once(blocks, tokens, CODE_BYTES)
    at_once = max(1, CACHED_BYTES // (some_blocks * GROUP_BYTES))
    for done in range(0, blocks, some_blocks):
        for some in range(first, last, at_once):
            place, now = w + done * GROUP_BYTES, min(some_blocks, blocks - done)
            groups = (place, some, min(last, some + at_once), group_bytes, done, now)
            t = 0
            while t < tokens:
                out, width = y + t * y_bytes, tile_width(tokens - t)
                n = t * blocks + done * width  # blocks of activations before
                x = (codes + n * CODE_BYTES, scales + n * SCALE_BYTES, sums + n * SUM_BYTES)
                if width == 8:
                    multiply_groups(KERNEL, eight(), groups, x, out, y_bytes)
                elif width == 4:
                    multiply_groups(KERNEL, four(), groups, x, out, y_bytes)
                elif width == 2:
                    multiply_groups(KERNEL, two(), groups, x, out, y_bytes)
                else:
                    multiply_groups(KERNEL, one(), groups, x, out, y_bytes)
                t += width
