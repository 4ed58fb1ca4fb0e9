"""How weights lie on the GPU: tiles of 16 rows by 32 columns, in a tensor core's order.

A row of blocks, as GGUF stores it, is awkward to read: 18 or 210 bytes to a block, scales between
the weights.  So a matrix is repacked once, into planes: the low bits of all weights, the high
bits, the scales.  Nothing is converted: every bit of the file is there, and a weight's value is the
same.

Lane (g, c) of a warp, g = lane // 4 and c = lane % 4, holds of each tile rows g and g + 8, and
columns 4c .. 4c+3 and 16 + 4c .. 16 + 4c+3:

          columns  0-3  4-7  8-11  12-15 | 16-19 ...
    row 0           0    1     2     3   |   0       1     2     3        lane 4g + c
    row 1           4    5     6     7   |   4 ...
      ...
    row 8           0    1     2     3   |   0 ...

so that a warp reads a tile of bytes with one 16-byte load a lane.  The kernels' side of this is in
kernels/tile.cuh, which also says where the planes of each format lie.

>>> codes = np.arange(16 * 32).reshape(16, 32)
>>> lanes(codes)[0, 0, 1].tolist()                       # lane 1: [half][row g or g + 8][4 columns]
[[[4, 5, 6, 7], [260, 261, 262, 263]], [[20, 21, 22, 23], [276, 277, 278, 279]]]
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
from jaxtyping import Shaped
from numpy import ndarray

from refimpl.formats.quants import k
from refimpl.formats.quants.bits import unpack_striped
from refimpl.formats.quants.block import Packed, Tensor

ROWS, COLUMNS = 16, 32


class Planes(NamedTuple):
    """Bytes, as the kernels take them; None where a format has no such plane."""

    low: Any
    high: Any = None
    scales: Any = None
    supers: Any = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Tiles:
    """A matrix on the device (or, with NumPy's planes, on the host)."""

    format: str
    rows: int
    columns: int
    planes: Planes
    block_size: int = 32
    """Of the file's format: it decides how activations are quantised."""

    ndim = 2

    @property
    def shape(self) -> tuple[int, int]:
        return self.rows, self.columns

    @property
    def blocks(self) -> int:
        """Tiles beside one another."""
        return -(-self.columns // COLUMNS)

    @property
    def quantised(self) -> bool:
        return self.format not in ("F32", "F16", "BF16")

    @property
    def nbytes(self) -> int:
        return sum(plane.nbytes for plane in self.planes if plane is not None)


@dataclass(frozen=True, kw_only=True, eq=False)
class Stack:
    """Matrices of one shape: the experts of a layer."""

    parts: tuple[Tiles, ...]

    ndim = 3

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.parts), *self.parts[0].shape)

    def part(self, i: int) -> Tiles:
        return self.parts[i]


FORMATS: Mapping[str, int] = {
    "Q8_0": 1,
    "Q4_0": 2,
    "Q5_0": 3,
    "IQ4_NL": 4,
    "MXFP4": 5,
    "Q4_K": 6,
    "Q5_K": 7,
    "Q6_K": 8,
    "PARTS": 9,
    "PARTS_MIN": 10,
    "F32": 20,
    "F16": 21,
    "BF16": 22,
}
"""The formats with kernels of their own; `PARTS` is any other, as integers and float32 scales."""

TILE_BYTES: Mapping[str, tuple[int, int]] = {
    "Q8_0": (544, 0),
    "Q4_0": (288, 0),
    "Q5_0": (352, 0),
    "IQ4_NL": (288, 0),
    "MXFP4": (272, 0),
    "Q4_K": (288, 64),
    "Q5_K": (352, 64),
    "Q6_K": (416, 32),
    "PARTS": (640, 0),
    "PARTS_MIN": (768, 0),
    "F32": (2048, 0),
    "F16": (1024, 0),
    "BF16": (1024, 0),
}
"""Bytes of a tile, and of the scales that a whole stage shares."""


def lanes(codes: Shaped[ndarray, "rows columns"]) -> Shaped[ndarray, "row_tiles blocks 32 2 2 4"]:
    """[row tile][block][lane][half][row g or g + 8][column]; missing rows and columns are zero."""
    rows, columns = codes.shape
    if rows % ROWS or columns % COLUMNS:
        codes = np.pad(codes, ((0, -rows % ROWS), (0, -columns % COLUMNS)))
    tiled = codes.reshape(len(codes) // ROWS, 2, 8, -1, 2, 4, 4)  # [tile, h, g, block, half, c, j]
    return tiled.transpose(0, 3, 2, 5, 4, 1, 6).reshape(len(tiled), -1, 32, 2, 2, 4)


def by_row(scales: Shaped[ndarray, "rows blocks"]) -> Shaped[ndarray, "row_tiles blocks 8 2"]:
    """[row tile][block][g][row g or g + 8]"""
    scales = np.pad(scales, ((0, -len(scales) % ROWS), (0, 0)))
    return scales.reshape(-1, 2, 8, scales.shape[1]).transpose(0, 3, 2, 1)


def by_half(scales: Shaped[ndarray, "rows halves"]) -> Shaped[ndarray, "row_tiles blocks 8 2 2"]:
    """Two scales to a block: [row tile][block][g][half][row g or g + 8]"""
    rows = by_row(scales)  # [row tile, half blocks, g, h]
    return rows.reshape(len(rows), -1, 2, 8, 2).transpose(0, 1, 3, 2, 4)


def as_bytes(x: ndarray) -> ndarray:
    return np.ascontiguousarray(x).reshape(-1).view(np.uint8)


def nibbles(codes: Shaped[ndarray, "row_tiles blocks 32 2 2 4"]) -> ndarray:
    """Half 0 in the low four bits, half 1 in the high ones."""
    low = (codes & 15).astype(np.uint8)
    return as_bytes(low[:, :, :, 0] | low[:, :, :, 1] << 4)


def fifth_bits(codes: Shaped[ndarray, "row_tiles blocks 32 2 2 4"]) -> ndarray:
    """Bit 4 * piece + column of a lane's 16."""
    bits = (codes.astype(np.uint8) >> 4 & 1).reshape(*codes.shape[:3], 16)
    return as_bytes(np.packbits(bits, axis=-1, bitorder="little"))


def high_pairs(codes: Shaped[ndarray, "row_tiles blocks 32 2 2 4"]) -> ndarray:
    """Bits 4 and 5: field `piece` of byte `column` of a lane's four bytes."""
    pairs = (codes.astype(np.uint8) >> 4 & 3).reshape(*codes.shape[:3], 4, 4)
    return as_bytes(
        pairs[..., 0, :] | pairs[..., 1, :] << 2 | pairs[..., 2, :] << 4 | pairs[..., 3, :] << 6
    )


def split(packed: Packed, blocks: ndarray) -> tuple[ndarray, ndarray, ndarray | None]:
    """q [rows, columns], scales and minima [rows, sub-blocks]."""
    assert packed.type.split is not None
    q, scale, minimum = packed.type.split(np.ascontiguousarray(blocks).reshape(-1))
    rows = len(blocks)
    return (
        q.reshape(rows, -1),
        scale.reshape(rows, -1),
        None if minimum is None else minimum.reshape(rows, -1),
    )


def pack_symmetric(packed: Packed) -> Planes:
    """Q8_0, Q4_0, Q5_0: signed integers and a float16 scale for 32."""
    q = lanes(split(packed, packed.blocks)[0])
    scales = as_bytes(by_row(packed.blocks["d"]))
    if packed.type.name == "Q8_0":
        return Planes(as_bytes(q), None, scales)
    high = fifth_bits(q) if packed.type.name == "Q5_0" else None
    return Planes(nibbles(q), high, scales)


def pack_indexed(packed: Packed) -> Planes:
    """IQ4_NL, MXFP4: indices into a table of sixteen, and a scale for 32."""
    rows = len(packed.blocks)
    qs = np.ascontiguousarray(packed.blocks["qs"]).reshape(-1, 16)
    index = unpack_striped(qs, 4, run=16).reshape(rows, -1)
    scale = packed.blocks["e" if packed.type.name == "MXFP4" else "d"]
    return Planes(nibbles(lanes(index)), None, as_bytes(by_row(scale)))


def pack_k(packed: Packed) -> Planes:
    """Q4_K, Q5_K: unsigned integers, bytes for the scale and minimum of 32, float16 for 256."""
    b = packed.blocks
    rows = len(b)
    q = lanes(split(packed, b)[0])
    scale, minimum = k.scales_q4_k(np.ascontiguousarray(b["scales"]).reshape(-1, 12))
    scales = np.stack([by_row(x.reshape(rows, -1)) for x in (scale, minimum)], axis=3)
    supers = np.stack([by_row(x) for x in (b["d"], b["dmin"])], axis=3)
    high = fifth_bits(q) if packed.type.name == "Q5_K" else None
    return Planes(nibbles(q), high, as_bytes(scales), as_bytes(supers))


def pack_q6_k(packed: Packed) -> Planes:
    b = packed.blocks
    q = lanes(split(packed, b)[0])
    scales = by_half(np.ascontiguousarray(b["scales"]).reshape(len(b), -1))
    return Planes(nibbles(q), high_pairs(q), as_bytes(scales), as_bytes(by_row(b["d"])))


def pack_parts(packed: Packed) -> Planes:
    """Any format, as `Parts`: bytes, and float32 scales (and minima) for 16."""
    q, *sides = split(packed, packed.blocks)
    scale, minimum = (
        None if x is None else np.repeat(x, q.shape[1] // 16 // x.shape[1], axis=1) for x in sides
    )
    assert scale is not None
    planes = [as_bytes(by_half(x)) for x in (scale, minimum) if x is not None]
    return Planes(as_bytes(lanes(q.astype(np.int8))), None, *planes)


PACKERS: Mapping[str, Callable[[Packed], Planes]] = {
    "Q8_0": pack_symmetric,
    "Q4_0": pack_symmetric,
    "Q5_0": pack_symmetric,
    "IQ4_NL": pack_indexed,
    "MXFP4": pack_indexed,
    "Q4_K": pack_k,
    "Q5_K": pack_k,
    "Q6_K": pack_q6_k,
}


def pack(matrix: Tensor) -> Tiles:
    """Repack a matrix, still on the host."""
    if isinstance(matrix, Packed) and matrix.type.split is not None:
        name = matrix.type.name
        planes = PACKERS.get(name, pack_parts)(matrix)
        if name not in PACKERS:
            name = "PARTS" if planes.supers is None else "PARTS_MIN"
        return tiles(name, matrix.shape, planes, matrix.type.block_size)
    return pack_plain(plain_values(matrix))


def plain_values(matrix: Tensor) -> ndarray:
    """A float16, bfloat16 or float32 matrix as it is; anything else rounded to float32."""
    values = matrix.blocks if isinstance(matrix, Packed) else matrix
    if values.dtype in (np.float16, np.float32, np.dtype(ml_dtypes.bfloat16)):
        return np.asarray(values)
    return np.asarray(values, dtype=np.float32)


def pack_plain(values: Shaped[ndarray, "rows columns"]) -> Tiles:
    """float32 as [piece][lane][4]; half precision as two of the tensor core's matrices."""
    spread = lanes(values)  # [row tile, block, lane, half, h, j]
    if values.dtype == np.float32:
        name, ordered = "F32", spread.transpose(0, 1, 3, 4, 2, 5)
    else:
        name = "F16" if values.dtype == np.float16 else "BF16"
        pairs = spread.reshape(*spread.shape[:5], 2, 2)  # [..., half, h, pair, 2]
        ordered = pairs.transpose(0, 1, 3, 2, 5, 4, 6)  # [.., half, lane, pair, h, 2]
    return tiles(name, values.shape, Planes(as_bytes(ordered)))


def tiles(format: str, shape: tuple[int, ...], planes: Planes, block_size: int = 32) -> Tiles:
    rows, columns = shape
    return Tiles(format=format, rows=rows, columns=columns, planes=planes, block_size=block_size)
