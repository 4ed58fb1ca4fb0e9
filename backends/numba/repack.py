"""Rows to interleaved rows, once at load; and one row back, for the embedding of a token."""

from typing import Any

from backends.numba.one_row import one_row

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


def read_row(groups: int, n_columns: int, row: int, out: int) -> None:
    """Row `row` as floats; `out` has room for whole blocks (`one_row`)."""
    blocks = (n_columns + COLUMNS - 1) // COLUMNS
    KERNEL(one_row(row % 16), groups + row // 16 * blocks * GROUP_BYTES, blocks, out, 0, 0)
