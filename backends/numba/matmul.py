"""A matrix times a batch: which rows, which tokens, in which order.

The order decides only the speed.  Weights should be read from memory once: a few groups of 16 rows
(`ROWS_IN_CACHE` bytes of weights stay in the second-level cache) meet all tiles of the batch before
the next few come.  With one token there is one tile, and the weights stream by.
"""

from typing import Any

from backends.numba.tile import store_tile, width

KERNEL: Any = None
TILE: Any = None
GROUP_BYTES = CODE_BYTES = SCALE_BYTES = SUM_BYTES = 0
"""Names that are filled in for each format (`compile.specialise`)."""

CACHED_BYTES = 1 << 18


def multiply(
    w: int, first: int, last: int, blocks: int,
    codes: int, scales: int, sums: int, y: int, y_bytes: int, tiles: int,
) -> None:  # fmt: skip
    """Groups first..last-1 of a matrix, for `tiles` tiles: y[token, 16 * group ...] = W x."""
    at_once = max(1, CACHED_BYTES // (blocks * GROUP_BYTES))
    tokens = width(TILE())
    for some in range(first, last, at_once):
        for t in range(tiles):
            n = t * tokens * blocks  # blocks of activations before this tile
            for g in range(some, min(last, some + at_once)):
                tile = KERNEL(
                    TILE(), w + g * blocks * GROUP_BYTES, blocks,
                    codes + n * CODE_BYTES, scales + n * SCALE_BYTES, sums + n * SUM_BYTES,
                )  # fmt: skip
                store_tile(tile, y + t * tokens * y_bytes + 64 * g, y_bytes)
