"""Snapping a group of weights to the codebook, as the IQ quantisers do.

Rounding each weight by itself gives a code (its fields packed); if the code is in the codebook,
fine.  If not, llama.cpp looks at the code's *neighbours*, the entries at the smallest few
distances from it, and takes the one with the least weighted square error.

Sources: iq2xs_init_impl, iq3xs_init_impl, iq2_find_best_neighbour, iq3_find_best_neighbour and
iq1_find_best_neighbour2 in ggml-quants.c (0.25).

>>> lattice = Lattice.of(grids.IQ3_S)
>>> lattice.entry[codes_of(np.array([[0], [0], [0], [0]]), 3)].tolist()      # the first pattern
[0]
>>> lattice.entry[codes_of(np.array([[3], [0], [0], [0]]), 3)].tolist()      # no such pattern
[-1]
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Bool, Float32, Int32, Int64, Num
from numpy import ndarray

from refimpl.formats.quants import grids
from refimpl.formats.quants.encode import check_search
from refimpl.formats.quants.grids import Codebook

SHELLS = {grids.IQ2_XXS: 2, grids.IQ2_XS: 2, grids.IQ2_S: 1, grids.IQ1: 3}
SHELLS |= {grids.IQ3_XXS: 2, grids.IQ3_S: 3}
"""How many different distances count as near (`nwant`)."""


def codes_of(fields: Num[ndarray, "group *n"], bits: int) -> Int64[ndarray, "*n"]:
    """The fields packed, lowest first."""
    code = np.zeros(fields.shape[1:], dtype=np.int64)
    for i, field in enumerate(fields):
        code |= field.astype(np.int64) << bits * i
    return code


@dataclass(frozen=True, kw_only=True, eq=False)
class Lattice:
    """`entry`: code -> index in the codebook, or -1.  The neighbours of code c, nearest first, are
    `near[start[c] : start[c + 1]]`.
    """

    fields: Int32[ndarray, "patterns group"]
    entry: Int64[ndarray, "codes"]
    near: Int64[ndarray, "pairs"]
    start: Int64[ndarray, "codes_and_end"]

    @staticmethod
    @cache
    def of(book: Codebook) -> "Lattice":
        fields = grids.fields(book).astype(np.int32)
        entry = np.full(1 << book.field_bits * book.group, -1)
        entry[grids.codes(book)] = np.arange(len(fields))
        near, start = _neighbours(fields, entry, book, SHELLS[book])
        return Lattice(fields=fields, entry=entry, near=near, start=start)


def _neighbours(
    fields: ndarray, entry: ndarray, book: Codebook, shells: int
) -> tuple[ndarray, ndarray]:
    every = np.arange(len(entry))
    shifts = np.arange(book.group) * book.field_bits
    points = every[:, None] >> shifts & (1 << book.field_bits) - 1
    off_grid = every[(entry < 0) & (points.max(axis=1) < len(book.magnitudes))]
    d2 = squared_distances(points[off_grid], fields)
    reach = d2.min(axis=1)
    for _ in range(shells - 1):
        beyond = np.where(d2 > reach[:, None], d2, 1 << 14)
        reach = np.where(beyond.min(axis=1) < 1 << 14, beyond.min(axis=1), reach)
    row, near = np.nonzero(d2 <= reach[:, None])
    order = np.lexsort((near, d2[row, near], row))
    counts = np.zeros(len(entry) + 1, dtype=np.int64)
    counts[off_grid + 1] = np.bincount(row, minlength=len(off_grid))
    return near[order], np.cumsum(counts)


def squared_distances(a: ndarray, b: ndarray) -> ndarray:
    """[len(a), len(b)], exact: the coordinates are below 8."""
    a, b = a.astype(np.float32), b.astype(np.float32)
    d2: ndarray = (a * a).sum(1)[:, None] + (b * b).sum(1) - 2 * a @ b.T
    return d2.astype(np.int16)


def snap(
    lattice: Lattice,
    book: Codebook,
    fields: Int32[ndarray, "group n"],
    values: Float32[ndarray, "levels n"],
    x: Float32[ndarray, "group n"],
    w: Float32[ndarray, "group n"],
) -> tuple[Int64[ndarray, "n"], Bool[ndarray, "n"]]:
    """The codebook entry for each column, and whether its fields were in the codebook as they are.

    `values[l]` is what field l stands for in a column; x are the weights, w the weights of errors.
    """
    code = codes_of(fields, book.field_bits)
    index = lattice.entry[code]
    off = np.flatnonzero(index < 0)
    if off.size:
        index[off] = _nearest(lattice, code[off], values[:, off], x[:, off], w[:, off])
    on_grid = np.ones(index.shape, dtype=bool)
    on_grid[off] = False
    return index, on_grid


def _nearest(
    lattice: Lattice, code: ndarray, values: ndarray, x: ndarray, w: ndarray
) -> Int64[ndarray, "n"]:
    """Of the neighbours of each code the one with the least error; the first of equals."""
    count = lattice.start[code + 1] - lattice.start[code]
    column = np.repeat(np.arange(len(code)), count)
    first = np.cumsum(count) - count
    candidate = lattice.near[np.arange(len(column)) + (lattice.start[code] - first)[column]]
    error = np.zeros(len(column), dtype=np.float32)
    for i, field in enumerate(lattice.fields[candidate].T):
        off = values[field, column] - x[i, column]
        error += w[i, column] * off * off
    least = np.minimum.reduceat(error, first)
    check_search(least < np.finfo(np.float32).max)
    hits = np.flatnonzero(error == least[column])[::-1]
    nearest = np.empty(len(code), dtype=np.int64)
    nearest[column[hits]] = candidate[hits]  # reversed: the first of equals is written last
    return nearest
