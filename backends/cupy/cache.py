"""The paged cache on the device: [layer][keys, values][block][kv head][place][row].

A head's rows of a block lie side by side, so a warp that attends to a block reads them in one
stretch.  A row is head_dim numbers in the cache's format; q8_0 has the bytes first, then a
float16 scale for each 32.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from refimpl.errors import UnsupportedError
from refimpl.model.config import Config

CACHES = {"float32": 0, "float16": 1, "bfloat16": 2, "q8_0": 3}


def row_bytes(cache: str, head_dim: int) -> int:
    """Bytes of one head's key.

    >>> row_bytes("float16", 128), row_bytes("q8_0", 128)
    (256, 136)
    """
    if cache == "q8_0":
        if head_dim % 32:
            raise UnsupportedError(f"a q8_0 cache needs heads of a multiple of 32, not {head_dim}")
        return head_dim + head_dim // 32 * 2
    return head_dim * (4 if cache == "float32" else 2)


def piece_of(cache: str, head_dim: int) -> int:
    """The largest piece, of 2 to 16 bytes, of which a row is made.

    >>> piece_of("float32", 128), piece_of("q8_0", 128), piece_of("q8_0", 96)
    (16, 8, 2)
    """
    n_bytes = row_bytes(cache, head_dim)
    return min(16, n_bytes & -n_bytes)


@dataclass(frozen=True, kw_only=True, eq=False)
class DeviceCache:
    """Bytes of every layer's keys and values."""

    data: Any  # uint8 [layers, 2, blocks, bytes of a block]
    block_size: int
    format: str

    @property
    def n_blocks(self) -> int:
        return int(self.data.shape[2])

    def keys(self, layer: int) -> Any:
        return self.data[layer, 0]

    def values(self, layer: int) -> Any:
        return self.data[layer, 1]


def new_cache(config: Config, n_blocks: int, block_size: int, format: str) -> DeviceCache:
    import cupy

    block = config.n_kv_heads * block_size * row_bytes(format, config.head_dim)
    data = cupy.zeros((config.n_layers, 2, n_blocks, block), np.uint8)
    return DeviceCache(data=data, block_size=block_size, format=format)
