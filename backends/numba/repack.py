"""Rows to interleaved rows, once at load; and one row back, for the embedding of a token.

Reading a row back needs no code of its own for any format.  A matrix times the unit vector of
column k is column k, exactly: every product but one is a zero.  So `read_row` multiplies one block
with the identity, eight columns at a time, and picks the lane of its row.
"""

from typing import Any

import numpy as np

from backends.numba.simd import load_float, store_float
from backends.numba.tile import eight, store_tile

KERNEL: Any = None
PUT: Any = None
GROUP_BYTES = ROW_BYTES = COLUMNS = 0
"""Names that are filled in for each format (`compile.specialise`)."""


def interleave(rows: int, n_rows: int, n_columns: int, groups: int, first: int, last: int) -> None:
    """Groups first..last-1 of a matrix whose packed rows are at `rows`, to `groups`."""
    blocks = (n_columns + COLUMNS - 1) // COLUMNS
    row_bytes = n_columns * ROW_BYTES // COLUMNS
    for g in range(first, last):
        for b in range(blocks):
            block = groups + (g * blocks + b) * GROUP_BYTES
            columns = min(COLUMNS, n_columns - b * COLUMNS)
            for r in range(min(16, n_rows - 16 * g)):
                PUT(rows + (16 * g + r) * row_bytes + b * ROW_BYTES, block, r, columns)


def read_row(groups: int, n_columns: int, row: int, out: int, identity: int, scratch: int) -> None:
    """Row `row` as n_columns floats; `identity` holds unit tiles, `scratch` 512 bytes.

    A block of 256 columns takes 32 products with eight unit vectors each.
    """
    blocks = (n_columns + COLUMNS - 1) // COLUMNS
    for b in range(blocks):
        w = groups + (row // 16 * blocks + b) * GROUP_BYTES
        for some in range(0, min(COLUMNS, n_columns - b * COLUMNS), 8):
            tile = KERNEL(eight(), w, 1, identity + 32 * (COLUMNS - some), 0, 0)
            store_tile(tile, scratch, 64)
            for j in range(min(8, n_columns - b * COLUMNS - some)):
                value = load_float(scratch + 64 * j + 4 * (row % 16))
                store_float(out + 4 * (b * COLUMNS + some + j), value)


def unit_tiles(columns: int) -> Any:
    """Floats of a tile [column][8 tokens] such that the window that starts `some` columns before
    the middle holds the unit vectors of columns some .. some + 7."""
    tiles = np.zeros((2 * columns + 8, 8), np.float32)
    tiles[columns : columns + 8] = np.eye(8, dtype=np.float32)
    return tiles
