"""Writing a GGUF file of any size with one tensor in memory at a time.

The table of tensors comes first in the file, so every shape and type has to be known before the
first weight is.  An array knows them.  What is still to be made comes as a `Deferred`: its shape
and type now, its data when its turn comes, and no longer than that.

The file appears when it is complete: an error or Ctrl-C on the way leaves nothing behind.

Source: the GGUF specification (ggml, docs/gguf.md); limits on names and dimensions from ggml.h.

>>> import tempfile
>>> from refimpl.formats.gguf.reader import GGUF
>>> ones = Deferred(type=BLOCK_TYPES[0], shape=(2, 3), make=lambda: np.ones((2, 3), np.float32))
>>> with tempfile.TemporaryDirectory() as folder:
...     write_gguf(f"{folder}/tiny.gguf", {"tiny.sizes": [2, 3]}, {"w": ones})
...     file = GGUF.open(f"{folder}/tiny.gguf")
>>> file.metadata["tiny.sizes"], file.tensor("w")
(array([2, 3], dtype=uint32), array([[1., 1., 1.], [1., 1., 1.]], dtype=float32))
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy import ndarray

from refimpl.errors import FormatError, InputError
from refimpl.formats.files import replacing
from refimpl.formats.gguf.cursor import MAX_NAME, ByteOrder
from refimpl.formats.gguf.encode import encode, encode_string, exact
from refimpl.formats.gguf.reader import ALIGNMENT_KEY, DEFAULT_ALIGNMENT, MAGIC, VERSIONS
from refimpl.formats.gguf.tensors import MAX_DIMS, is_alignment, nbytes, padded
from refimpl.formats.gguf.values import Exact
from refimpl.formats.quants import BLOCK_TYPES, BlockType, Packed, Tensor

MAX_TENSOR_NAME = 63  # bytes: GGML_MAX_NAME, less the terminator


@dataclass(frozen=True, kw_only=True, eq=False)
class Deferred:
    """A tensor that is made when it is written; `make` must give this shape and type."""

    type: BlockType
    shape: tuple[int, ...]
    make: Callable[[], Tensor]


def write_gguf(
    path: Path | str,
    metadata: Mapping[str, Any],
    tensors: Mapping[str, Tensor | Deferred],
    *,
    byte_order: ByteOrder = "little",
    version: int = 3,
    on_tensor: Callable[[str], None] | None = None,
) -> None:
    """Write a file; `on_tensor` hears the name of each tensor once it is written.

    `encode` says which type a value of the metadata gets.  To copy the metadata of another file
    with its types, pass `file.metadata.all_exact()`.
    """
    if version not in VERSIONS or (version == 2 and byte_order == "big"):
        raise InputError(f"GGUF version {version}, {byte_order}-endian: write version 3 instead")
    values = {key: exact(value) for key, value in metadata.items()}
    alignment = _alignment(values)
    queue = {name: _deferred(name, tensor) for name, tensor in tensors.items()}
    header = _header(values, queue, alignment, byte_order, version)
    with replacing(Path(path)) as draft, draft.open("wb") as file:
        _write_padded(file, header, alignment)
        for name, tensor in queue.items():
            _write_padded(file, _stored(name, tensor, byte_order), alignment)
            if on_tensor:
                on_tensor(name)


def _alignment(values: Mapping[str, Exact]) -> int:
    value = values.get(ALIGNMENT_KEY, np.uint32(DEFAULT_ALIGNMENT))
    if not is_alignment(value):
        raise InputError(f"{ALIGNMENT_KEY} must be a UINT32 power of two, and is {value!r}")
    return int(value)


def _deferred(name: str, tensor: Tensor | Deferred) -> Deferred:
    if isinstance(tensor, Deferred):
        return tensor
    kind = tensor.type if isinstance(tensor, Packed) else _plain_type(name, tensor)
    return Deferred(type=kind, shape=tensor.shape, make=lambda: tensor)


def _plain_type(name: str, array: ndarray) -> BlockType:
    for kind in BLOCK_TYPES.values():
        if kind.block_size == 1 and kind.dtype == array.dtype.newbyteorder("little"):
            return kind
    raise InputError(f"the tensor {name!r}: GGUF cannot store {array.dtype}; convert it to float32")


def _header(
    values: Mapping[str, Exact],
    queue: Mapping[str, Deferred],
    alignment: int,
    byte_order: ByteOrder,
    version: int,
) -> bytes:
    """Everything before the data."""
    counts = (n.to_bytes(8, byte_order) for n in (len(queue), len(values)))
    parts = [MAGIC, version.to_bytes(4, byte_order), *counts]
    for key, value in values.items():
        parts += [_name(key, MAX_NAME, byte_order), encode(value, byte_order)]
    offset = 0
    for name, tensor in queue.items():
        parts.append(_entry(name, tensor, offset, byte_order))
        offset = padded(offset + _nbytes(name, tensor), alignment)
    return b"".join(parts)


def _entry(name: str, tensor: Deferred, offset: int, byte_order: ByteOrder) -> bytes:
    dims = [dim.to_bytes(8, byte_order) for dim in reversed(tensor.shape)]
    return b"".join(
        [
            _name(name, MAX_TENSOR_NAME, byte_order),
            len(dims).to_bytes(4, byte_order),
            *dims,
            tensor.type.id.to_bytes(4, byte_order),
            offset.to_bytes(8, byte_order),
        ]
    )


def _name(name: str, max_bytes: int, byte_order: ByteOrder) -> bytes:
    encoded = encode_string(name, byte_order)
    if len(encoded) - 8 > max_bytes:
        raise InputError(f"the name {name!r} is longer than the {max_bytes} bytes GGUF allows")
    return encoded


def _nbytes(name: str, tensor: Deferred) -> int:
    if len(tensor.shape) > MAX_DIMS or 0 in tensor.shape:
        raise InputError(
            f"the tensor {name!r} has the shape {tensor.shape}; "
            f"GGUF allows at most {MAX_DIMS} dimensions, none of them 0"
        )
    try:
        return nbytes(tensor.type, tensor.shape)
    except FormatError as cause:
        raise InputError(f"the tensor {name!r}: {cause}") from None


def _stored(name: str, tensor: Deferred, byte_order: ByteOrder) -> memoryview:
    """Make a tensor, and see it as the bytes it has in the file."""
    made = tensor.make()
    actual = _deferred(name, made)
    if (actual.type.id, actual.shape) != (tensor.type.id, tensor.shape):
        raise InputError(
            f"the tensor {name!r} was announced as {tensor.type.name} {tensor.shape}, "
            f"and made as {actual.type.name} {actual.shape}"
        )
    blocks = made.blocks if isinstance(made, Packed) else made
    flat = np.ascontiguousarray(blocks, tensor.type.dtype).reshape(-1)
    return (flat.byteswap() if byte_order == "big" else flat).view(np.uint8).data


def _write_padded(file: BinaryIO, data: bytes | memoryview, alignment: int) -> None:
    """The last tensor is padded too: ggml reads the data up to there."""
    file.write(data)
    file.write(bytes(-file.tell() % alignment))
