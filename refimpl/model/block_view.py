"""One block of a quantised tensor: `refimpl inspect --blocks TENSOR`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from refimpl.errors import InputError
from refimpl.formats.gguf import GGUF
from refimpl.formats.quants import BlockType, Packed
from refimpl.formats.quants.show import lines


@dataclass(frozen=True, kw_only=True, eq=False)
class BlockView:
    """Where the block is, and the struct that is there."""

    tensor: str
    kind: BlockType
    index: int
    n_blocks: int
    offset: int
    block: np.void

    def as_text(self) -> str:
        place = f"{self.tensor}, block {self.index} of {self.n_blocks}, byte {self.offset}"
        return "\n".join([place, *lines(self.kind, self.block)])

    def as_json(self) -> dict[str, Any]:
        weights = self.kind.dequantize(np.array([self.block], self.kind.dtype))
        return {
            "tensor": self.tensor,
            "type": self.kind.name,
            "block": self.index,
            "blocks": self.n_blocks,
            "offset": self.offset,
            "bytes": self.block.tobytes().hex(),
            "fields": {name: self.block[name].tolist() for name in self.kind.dtype.names or ()},
            "formula": self.kind.formula,
            "weights": weights.reshape(-1).tolist(),
        }


def block_view(path: Path, tensor: str, index: int) -> BlockView:
    """Block `index` of a tensor, counted row after row."""
    file = GGUF.open(path)
    stored, info = file.tensor(tensor), file.tensors[tensor]
    if not isinstance(stored, Packed):
        raise InputError(f"{tensor!r} is {info.type.name}: plain numbers, and no blocks")
    n_blocks = int(stored.blocks.size)
    if not 0 <= index < n_blocks:
        raise InputError(f"{tensor!r} has {n_blocks} blocks, numbered from 0; there is no {index}")
    return BlockView(
        tensor=tensor,
        kind=info.type,
        index=index,
        n_blocks=n_blocks,
        offset=info.offset + index * info.type.dtype.itemsize,
        block=stored.blocks.reshape(-1)[index],
    )
