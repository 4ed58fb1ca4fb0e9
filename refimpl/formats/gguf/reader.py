"""Opening a GGUF file, or the several files of a split model as one.

The file is mapped, its header walked over once, and nothing else is read: not the vocabulary until
somebody asks the metadata for it, not a weight until somebody indexes its tensor.  Both byte orders
are read; a version number that makes sense only when turned round tells which one a file has.

A split model is files named NAME-00001-of-00003.gguf and so on, each a GGUF file with `split.no`
and `split.count`.  The first has the metadata.  Opening any of them opens the model.

Source: the GGUF specification (ggml, docs/gguf.md); for splits, llama.cpp's tools/gguf-split.

>>> import tempfile
>>> import numpy as np
>>> from refimpl.formats.gguf.writer import write_gguf
>>> with tempfile.TemporaryDirectory() as folder:
...     write_gguf(f"{folder}/tiny.gguf", {"general.name": "tiny"}, {"w": np.eye(2, dtype="f4")})
...     file = GGUF.open(f"{folder}/tiny.gguf")
>>> file.metadata["general.name"], file.tensors["w"].shape, file.tensor("w")[1]
('tiny', (2, 2), array([0., 1.], dtype=float32))
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from mmap import mmap
from pathlib import Path

from refimpl.formats.files import map_file
from refimpl.formats.gguf.cursor import ByteOrder, Cursor, GGUFError, Source
from refimpl.formats.gguf.metadata import Metadata, read_metadata
from refimpl.formats.gguf.tensors import (
    MIN_INFO_BYTES,
    TensorInfo,
    is_alignment,
    read_table,
    read_tensor,
)
from refimpl.formats.quants import Tensor

MAGIC = b"GGUF"
VERSIONS = (2, 3)
ALIGNMENT_KEY = "general.alignment"
DEFAULT_ALIGNMENT = 32
MIN_KEY_BYTES = 13  # an empty key, its type, and a value of one byte
SPLIT_NAME = re.compile(r"(?P<stem>.*)-\d{5}-of-(?P<count>\d{5})\.gguf", re.DOTALL)


@dataclass(frozen=True, kw_only=True, eq=False)
class GGUF:
    """An open file.  `sources` holds the mapped bytes of each file of a split."""

    path: Path
    version: int
    byte_order: ByteOrder
    alignment: int
    metadata: Metadata
    tensors: Mapping[str, TensorInfo]
    sources: Mapping[Path, Source]

    @classmethod
    def open(cls, path: Path | str) -> "GGUF":
        """The file at `path`, with the other parts of its split if it is one."""
        opened = open_file(Path(path))
        return join(opened) if _integer(opened, "split.count") > 1 else opened

    def tensor(self, name: str) -> Tensor:
        """A tensor by its name: a plain array, or `Packed` blocks.  A view; nothing is copied."""
        if name not in self.tensors:
            raise GGUFError(f"{self.path}: there is no tensor {name!r}; `tensors` lists the names")
        info = self.tensors[name]
        return read_tensor(self.sources[info.path], info)


def open_file(path: Path) -> GGUF:
    """One file: magic, version, two counts, the metadata, the table of tensors."""
    data = map_file(path, GGUFError)
    source = Source(path=path, data=data, byte_order=_byte_order(path, data))
    cursor = Cursor(source, len(MAGIC))
    version = cursor.u32()
    n_tensors = cursor.count("tensors", MIN_INFO_BYTES)
    n_keys = cursor.count("keys", MIN_KEY_BYTES)
    metadata = read_metadata(cursor, n_keys)
    alignment = _alignment(metadata)
    return GGUF(
        path=path,
        version=version,
        byte_order=source.byte_order,
        alignment=alignment,
        metadata=metadata,
        tensors=read_table(cursor, n_tensors, alignment),
        sources={path: source},
    )


def _byte_order(path: Path, data: mmap) -> ByteOrder:
    """The order in which the version is one that we know."""
    if data[:4] != MAGIC:
        raise GGUFError(f"{path}: not a GGUF file: it begins with {data[:4]!r}, not {MAGIC!r}")
    orders: tuple[ByteOrder, ...] = ("little", "big")
    for order in orders:
        if int.from_bytes(data[4:8], order) in VERSIONS:
            return order
    version = int.from_bytes(data[4:8], "little")
    raise GGUFError(f"{path}: GGUF version {version}; 2 and 3 are read here, so convert it anew")


def _alignment(metadata: Metadata) -> int:
    if ALIGNMENT_KEY not in metadata:
        return DEFAULT_ALIGNMENT
    value = metadata.exact(ALIGNMENT_KEY)
    if not is_alignment(value):
        raise metadata.error(ALIGNMENT_KEY, f"{value!r}, not a UINT32 power of two")
    return int(value)


def join(opened: GGUF) -> GGUF:
    """All the parts of the split that `opened` is one of, as one."""
    parts = [opened if path == opened.path else open_file(path) for path in _part_paths(opened)]
    tensors: dict[str, TensorInfo] = {}
    for no, part in enumerate(parts):
        if _integer(part, "split.no") != no or _integer(part, "split.count") != len(parts):
            raise GGUFError(f"{part.path}: does not say it is part {no + 1} of {len(parts)}")
        if twice := tensors.keys() & part.tensors.keys():
            raise GGUFError(f"{part.path}: an earlier part has the tensor {min(twice)!r} too")
        tensors |= part.tensors
    if (announced := _integer(parts[0], "split.tensors.count")) != len(tensors):
        raise GGUFError(f"{parts[0].path}: the split has {len(tensors)} tensors, not {announced}")
    sources = {part.path: part.sources[part.path] for part in parts}
    return replace(parts[0], tensors=tensors, sources=sources)


def _part_paths(part: GGUF) -> list[Path]:
    count = _integer(part, "split.count")
    name = SPLIT_NAME.fullmatch(part.path.name)
    if name is None or int(name["count"]) != count:
        raise GGUFError(
            f"{part.path}: one of {count} parts, but not named like it; "
            f"give the parts their names back: NAME-00001-of-{count:05}.gguf and so on"
        )
    names = [f"{name['stem']}-{no:05}-of-{count:05}.gguf" for no in range(1, count + 1)]
    paths = [part.path.with_name(name) for name in names]
    for path in paths:
        if not os.path.isfile(path):
            raise GGUFError(f"{path}: no such file, and {part.path.name} needs it beside it")
    return paths


def _integer(part: GGUF, key: str) -> int:
    """A number about the split; 0 if there is none."""
    value = part.metadata.get(key, 0)
    if type(value) is not int:
        raise part.metadata.error(key, f"{part.metadata.describe(key)}, not an integer")
    return value
