"""One view of every checkpoint: GGUF's metadata and tensor names, whatever the file was.

A foreign format is read as the GGUF file it would become, so configuration, loading and conversion
have one source each.  Tensors are loaded one at a time, when asked for.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from refimpl.formats.quants.block import Tensor


@dataclass(frozen=True, kw_only=True)
class LazyTensor:
    """A tensor whose shape is known and whose values are read by `load()`."""

    shape: tuple[int, ...]
    load: Callable[[], Tensor]


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """`metadata` under GGUF keys (without the tokenizer's), `tensors` under GGUF names."""

    metadata: Mapping[str, Any]
    tensors: Mapping[str, LazyTensor]
