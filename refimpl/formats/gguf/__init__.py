"""GGUF, llama.cpp's file format: typed metadata, a table of tensors, then their bytes.

    "GGUF"  version  n_tensors  n_keys         u32, u64, u64
    key  type  value                           n_keys times
    name  n_dims  dims  type  offset           n_tensors times; dims innermost first
    zeros up to a multiple of the alignment    32, or what `general.alignment` says
    the bytes of the tensors, each padded      offsets count from here

Read in this order: `cursor` (bounds), `values` and `metadata`, `tensors`, `reader`; then `encode`
and `writer`.
"""

from refimpl.formats.gguf.cursor import ByteOrder, GGUFError
from refimpl.formats.gguf.metadata import Metadata
from refimpl.formats.gguf.reader import GGUF
from refimpl.formats.gguf.tensors import TensorInfo
from refimpl.formats.gguf.writer import Deferred, write_gguf

__all__ = ["GGUF", "ByteOrder", "Deferred", "GGUFError", "Metadata", "TensorInfo", "write_gguf"]
