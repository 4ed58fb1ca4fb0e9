"""What every block format has in common, and a tensor that stays packed until it is read.

GGUF stores a matrix row by row, each row as blocks of a fixed number of weights; a block is a small
struct (scales and packed integers).  A format is therefore four facts: how many weights a block
holds, the struct's layout, how to expand it, and how to make it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Float64, Integer, Shaped
from numpy import ndarray

from refimpl.errors import FormatError


class Parts(NamedTuple):
    """n blocks taken apart: `weight = scale * q - minimum`, with a scale for each sub-block.

    All three are exact: a scale such as `d * (2 * s + 1)` has the 11 bits of float16 and a few
    more, and fits float32.  So only the two operations of the formula round.
    """

    q: Integer[ndarray, "n weights"]
    scale: Float32[ndarray, "n subs"]
    minimum: Float32[ndarray, "n subs"] | None = None


Split = Callable[[Shaped[ndarray, "n"]], Parts]
Dequantize = Callable[[ndarray], Float32[ndarray, "*blocks weights"]]


@runtime_checkable
class Quantize(Protocol):
    """Weights [..., blocks of a row, block_size] to structs [..., blocks of a row].

    `importance` (llama.cpp's importance matrix) says how much an error in each column of the matrix
    matters: it has the shape of one row, [blocks of a row, block_size].
    """

    def __call__(
        self,
        weights: Float32[ndarray, "*blocks weights"],
        importance: Float32[ndarray, "..."] | None = None,
    ) -> ndarray: ...


@dataclass(frozen=True, kw_only=True)
class BlockType:
    """One way to store weights.  `dtype` is the struct, its field names are ggml's.

    `dequantize` takes structs [...] and gives float32 [..., block_size]; `quantize` is its
    inverse up to the format's step, or None where ggml does not make the format.  Some formats
    can only be made with an importance: their `quantize` says so (`needs_importance`).  `split`
    takes structs [n] apart into integers and scales; plain numbers have nothing to split.
    `formula` is what `dequantize` computes, in the names of the fields.
    """

    id: int
    name: str
    block_size: int
    dtype: np.dtype
    dequantize: Dequantize
    quantize: Quantize | None = None
    needs_importance: bool = False
    split: Split | None = None
    formula: str = ""

    @property
    def bits_per_weight(self) -> float:
        return 8 * self.dtype.itemsize / self.block_size

    def row_bytes(self, n_weights: int) -> int:
        """Bytes of a row of `n_weights`; a row is whole blocks."""
        if n_weights % self.block_size:
            raise FormatError(
                f"{self.name} stores blocks of {self.block_size} weights, "
                f"and a row of {n_weights} is not a whole number of them"
            )
        return n_weights // self.block_size * self.dtype.itemsize


@dataclass(frozen=True, kw_only=True, eq=False)
class Packed:
    """A matrix of packed rows that reads like an array: indexing rows dequantises just those.

    `blocks` are structs [..., n_blocks], usually a view of the mapped file; `shape` is the shape in
    weights, [..., n_blocks * block_size].
    """

    type: BlockType
    blocks: ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        *rows, n_blocks = self.blocks.shape
        return (*rows, n_blocks * self.type.block_size)

    @property
    def ndim(self) -> int:
        return self.blocks.ndim

    @property
    def size(self) -> int:
        return self.blocks.size * self.type.block_size

    @property
    def nbytes(self) -> int:
        return self.blocks.nbytes

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> Float32[ndarray, "..."]:
        """Rows (an index, a slice or an integer array over the leading axes), as float32."""
        weights = self.type.dequantize(self.blocks[rows])
        return weights.reshape(*weights.shape[:-2], -1)

    def part(self, i: int) -> "Packed":
        """Matrix i of a stack of matrices, still packed."""
        return Packed(type=self.type, blocks=self.blocks[i])


Tensor = ndarray | Packed
"""A weight: anything whose rows can be indexed and come out as floats."""


def part(stack: Any, i: int) -> Any:
    """Matrix i of a stack (the experts of a layer), as it is stored: by us or by a backend."""
    return stack[i] if isinstance(stack, ndarray) else stack.part(i)


def widen(weight: Tensor) -> Float64[ndarray, "..."]:
    """All of a weight in float64, exactly (every storage format's values are float64 values)."""
    return np.asarray(weight[...], dtype=np.float64)
