"""The table of tensors: where each one lies, checked before any of them is touched.

ggml writes dimensions innermost first; here a shape is in NumPy's order, so a matrix that ggml
calls [columns, rows] has the shape (rows, columns).  Every row is a whole number of blocks.

A type this project does not know is no reason to refuse the file: the metadata and the other
tensors are good.  So that error comes from `TensorInfo.type`, when that very tensor is used.

Source: the GGUF specification (ggml, docs/gguf.md), `gguf_tensor_info_t`; ggml.h for its limits.

>>> info = TensorInfo(name="w", shape=(2, 64), type_id=8, offset=96, path=Path("x.gguf"))
>>> info.type.name, info.nbytes
('Q8_0', 136)
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import TypeGuard

import numpy as np

from refimpl.errors import FormatError, UnsupportedError
from refimpl.formats.gguf.cursor import Cursor, Source
from refimpl.formats.gguf.values import Exact
from refimpl.formats.quants import BLOCK_TYPES, BlockType, Packed, Tensor

MAX_DIMS = 4  # GGML_MAX_DIMS
MIN_INFO_BYTES = 24  # an entry with an empty name and no dimensions


@dataclass(frozen=True, kw_only=True)
class TensorInfo:
    """One entry of the table.  `offset` counts from the start of the file `path`."""

    name: str
    shape: tuple[int, ...]
    type_id: int
    offset: int
    path: Path

    @property
    def type(self) -> BlockType:
        if self.type_id not in BLOCK_TYPES:
            raise UnsupportedError(
                f"{self.path}: the tensor {self.name!r} has ggml type {self.type_id}, which is not "
                "known here; use a file in a common format such as Q4_K_M or Q8_0"
            )
        return BLOCK_TYPES[self.type_id]

    @property
    def nbytes(self) -> int:
        return nbytes(self.type, self.shape)


def nbytes(kind: BlockType, shape: tuple[int, ...]) -> int:
    """The bytes of a tensor: rows of whole blocks."""
    *rows, row = shape or (1,)
    return prod(rows) * kind.row_bytes(row)


def is_alignment(value: Exact) -> TypeGuard[np.uint32]:
    """May `general.alignment` be this?"""
    return isinstance(value, np.uint32) and int(value).bit_count() == 1


def padded(n: int, alignment: int) -> int:
    """The first multiple of `alignment` from `n` on."""
    return (n + alignment - 1) // alignment * alignment


def read_table(cursor: Cursor, n_tensors: int, alignment: int) -> dict[str, TensorInfo]:
    """The entries, in the order of the file.  Data begins at the next multiple of `alignment`."""
    table: dict[str, TensorInfo] = {}
    for _ in range(n_tensors):
        start = cursor.pos
        info = _read_entry(cursor, alignment)
        if info.name in table:
            raise cursor.source.error(start, f"the tensor {info.name!r} appears twice")
        table[info.name] = info
    base = padded(cursor.pos, alignment)
    table = {name: replace(info, offset=base + info.offset) for name, info in table.items()}
    check_layout(cursor.source, table.values())
    return table


def _read_entry(cursor: Cursor, alignment: int) -> TensorInfo:
    """One entry; its offset still counts from the start of the data."""
    start, source = cursor.pos, cursor.source
    name = cursor.name()
    n_dims = cursor.u32()
    if n_dims > MAX_DIMS:
        raise source.error(start, f"{name!r} has {n_dims} dimensions, and ggml at most {MAX_DIMS}")
    shape = tuple(cursor.u64() for _ in range(n_dims))[::-1]
    if 0 in shape:
        raise source.error(start, f"{name!r} has no elements: its shape is {shape}")
    type_id, offset = cursor.u32(), cursor.u64()
    if offset % alignment:
        raise source.error(start, f"{name!r} begins at {offset}, no multiple of {alignment}")
    return TensorInfo(name=name, shape=shape, type_id=type_id, offset=offset, path=source.path)


def check_layout(source: Source, infos: Iterable[TensorInfo]) -> None:
    """Every tensor ends before the next one begins, and the last before the file does."""
    end = 0
    for info in sorted(infos, key=lambda info: info.offset):
        if info.offset < end:
            raise source.error(info.offset, f"{info.name!r} begins where another tensor still is")
        end = info.offset + _extent(source, info)
        if end > len(source.data):
            raise source.error(info.offset, f"{info.name!r} would end at {end}, after the file")


def _extent(source: Source, info: TensorInfo) -> int:
    """The bytes of a tensor; of an unknown type nobody can say, but there is at least one."""
    try:
        return info.nbytes if info.type_id in BLOCK_TYPES else 1
    except FormatError as cause:
        raise source.error(info.offset, f"{info.name!r}: {cause}") from None


def read_tensor(source: Source, info: TensorInfo) -> Tensor:
    """A view of the mapped file; from a big-endian file a copy, every number turned round.

    The numbers of a block are the fields of its struct, and the elements of a field that is an
    array: a big-endian file holds the struct as a big-endian machine has it in memory.
    """
    kind = info.type
    n_blocks = info.nbytes // kind.dtype.itemsize
    blocks = np.frombuffer(source.data, kind.dtype, n_blocks, info.offset)
    if source.byte_order == "big":
        blocks = blocks.byteswap()
    if kind.block_size == 1:  # plain numbers
        return blocks.reshape(info.shape)
    *rows, row = info.shape
    return Packed(type=kind, blocks=blocks.reshape(*rows, row // kind.block_size))
