"""A weight matrix as this backend keeps it: rows interleaved sixteen by sixteen, in one long run.

    rows 0-15, block 0 | rows 0-15, block 1 | ... | rows 16-31, block 0 | ...

What lies inside a block is the format's (`kernels`).  A matrix times a token then reads its weights
from the first byte to the last, which is what memory does best.  Rows are filled up to a multiple
of 16 with zeros; columns of float formats up to a multiple of 32.

GGUF's bits are only moved, so a matrix takes the same room as in the file (Q4_K 3 % more,
`formats.FORMATS`).
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float32, Shaped, UInt8
from numpy import ndarray

from backends.numba.formats import FORMATS, Format, format_of
from backends.numba.memory import forget, huge
from backends.numba.processor import BYTE_OFFSET
from refimpl.errors import UnsupportedError
from refimpl.formats.quants.block import Packed, Tensor
from refimpl.formats.quants.dot import split_rows

Progress = Callable[[int, int], None]
"""Called with bytes done and bytes in all."""

ALIGNMENT = 64
PIECE = 1 << 22
"""Bytes interleaved at a time by one thread."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Matrix:
    """`rows` x `columns` weights, interleaved in `memory`."""

    format: Format
    rows: int
    columns: int
    memory: UInt8[ndarray, " bytes"]

    @property
    def shape(self) -> tuple[int, int]:
        return self.rows, self.columns

    @property
    def ndim(self) -> int:
        return 2

    @property
    def groups(self) -> int:
        return -(-self.rows // 16)

    @property
    def blocks(self) -> int:
        return -(-self.columns // self.format.columns)

    @cached_property
    def address(self) -> int:
        return int(self.memory.ctypes.data)

    def row(self, i: int) -> Float32[ndarray, " columns"]:
        """One row, dequantised."""
        out = np.empty(self.blocks * self.format.columns, np.float32)
        self.format.row_reader()(self.address, self.columns, i, out.ctypes.data)
        return out[: self.columns]


@dataclass(frozen=True, kw_only=True, eq=False)
class Joined:
    """Several matrices that a checkpoint stores as one, rows after rows (Phi-3's q, k and v)."""

    parts: tuple[Matrix, ...]

    @property
    def shape(self) -> tuple[int, int]:
        return sum(m.rows for m in self.parts), self.parts[0].columns

    @property
    def ndim(self) -> int:
        return 2


@dataclass(frozen=True, kw_only=True, eq=False)
class Source:
    """Rows of a checkpoint on their way into a `Matrix`."""

    format: Format
    rows: ndarray
    """[rows, blocks] structs, or [rows, columns] numbers."""
    columns: int
    kind: Packed | None = None
    """Where rows have to be taken apart (`kernels.spread`)."""

    @property
    def size(self) -> int:
        """Bytes as a Matrix."""
        blocks = -(-self.columns // self.format.columns)
        size = -(-len(self.rows) // 16) * blocks * self.format.group_bytes
        return -(-size // ALIGNMENT) * ALIGNMENT


def source(tensor: Tensor) -> Source:
    """How a matrix will be kept; nothing is moved yet."""
    if isinstance(tensor, Packed):
        f = format_of(tensor.type.name)
        spread = tensor if f.put is None else None
        return Source(format=f, rows=tensor.blocks, columns=tensor.shape[1], kind=spread)
    rows, name = as_stored(tensor)
    return Source(format=FORMATS[name], rows=rows, columns=rows.shape[1])


def as_stored(x: Shaped[ndarray, "rows columns"]) -> tuple[ndarray, str]:
    """Numbers as F32, F16 or BF16.

    Small models come widened to float64; they are float32 numbers, or this backend refuses them.
    """
    if x.dtype == np.float16:
        return x, "F16"
    if x.dtype.name == "bfloat16":
        return x, "BF16"
    if x.dtype == np.float64:
        narrow = x.astype(np.float32)
        if not np.array_equal(narrow, x, equal_nan=True):
            raise UnsupportedError(
                "a weight needs more than float32 holds; run it with the numpy backend"
            )
        return narrow, "F32"
    return np.asarray(x, np.float32), "F32"


def interleave(
    sources: list[Source], threads: int, progress: Progress | None = None
) -> list[Matrix]:
    """All of them into one run of huge pages, on several threads."""
    total = sum(s.size for s in sources)
    memory = huge(total)
    matrices, start = [], 0
    for s in sources:
        mine = memory[start : start + s.size]
        matrices.append(Matrix(format=s.format, rows=len(s.rows), columns=s.columns, memory=mine))
        start += s.size
    done = 0
    with ThreadPoolExecutor(threads) as pool:
        for s, matrix in zip(sources, matrices, strict=True):
            for n in pool.map(lambda part: fill(*part), pieces(s, matrix)):
                done += n
                if progress is not None:
                    progress(done, total)
            forget(s.rows)
    return matrices


def pieces(s: Source, matrix: Matrix) -> Iterator[tuple[Source, Matrix, int, int]]:
    """Runs of groups, each about `PIECE` bytes."""
    each = max(1, PIECE // (matrix.blocks * s.format.group_bytes))
    for first in range(0, matrix.groups, each):
        yield s, matrix, first, min(first + each, matrix.groups)


def fill(s: Source, matrix: Matrix, first: int, last: int) -> int:
    """Groups first..last-1; returns their bytes."""
    rows = np.ascontiguousarray(s.rows[16 * first : 16 * last])
    size = matrix.blocks * s.format.group_bytes
    if s.kind is not None:
        matrix.memory[first * size : last * size] = spread(s.kind, rows, matrix.blocks)
    else:
        start = matrix.address + first * size
        s.format.repacker()(rows.ctypes.data, len(rows), s.columns, start, 0, last - first)
    return (last - first) * size


def spread(kind: Packed, rows: ndarray, blocks: int) -> UInt8[ndarray, " bytes"]:
    """Codes, scales and minima of some rows in the layout of `kernels.spread`."""
    with np.errstate(all="ignore"):
        parts = split_rows(kind.type, rows)
    n, columns = parts.q.shape
    groups = -(-n // 16)
    out = np.zeros((groups, columns // 32, 768), np.uint8)

    def by_lane(x: ndarray, each: int) -> ndarray:
        """[rows, columns / each] -> [groups, columns / each, 16 rows]."""
        padded = np.zeros((16 * groups, x.shape[1]), x.dtype)
        padded[:n] = x
        return padded.reshape(groups, 16, -1).swapaxes(1, 2)

    def per_sixteen(x: ndarray) -> ndarray:
        sixteens = np.repeat(x.astype(np.float32), columns // 16 // x.shape[1], axis=1)
        lanes = np.ascontiguousarray(by_lane(sixteens, 16))
        return lanes.reshape(groups, columns // 32, 32).view(np.uint8)

    out[..., :128] = per_sixteen(parts.scale)
    if parts.minimum is not None:
        out[..., 128:256] = per_sixteen(parts.minimum)
    codes = parts.q.astype(np.int8).view(np.uint8) ^ np.uint8(BYTE_OFFSET)
    words = np.ascontiguousarray(by_lane(np.ascontiguousarray(codes).view("<u4"), 4))
    out[..., 256:] = words.reshape(groups, columns // 32, 128).view(np.uint8)
    return out.ravel()
