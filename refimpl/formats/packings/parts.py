"""The stored tensors behind one weight, each checked before it is used.

A scheme builds a `PackedWeight` from names, dtypes and shapes alone; nothing is allocated until its
`load` is called.  So what is wrong with a file is said when the folder is opened, by a
`PackingError` that names the file and the module.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import ml_dtypes
import numpy as np
from jaxtyping import Float32, Int
from numpy import ndarray

from refimpl.errors import FormatError
from refimpl.formats.safetensors import SafetensorsDir

INT32 = (np.dtype("<i4"),)
INT8 = (np.dtype(np.int8),)
UINT8 = (np.dtype(np.uint8),)
FLOAT32 = (np.dtype("<f4"),)
FLOATS = (np.dtype("<f2"), np.dtype(ml_dtypes.bfloat16), np.dtype("<f4"))


class PackingError(FormatError):
    """A quantised checkpoint lacks a part, or its parts contradict each other or the config."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PackedWeight:
    """A weight `name` of `shape` that `load` computes from the stored tensors `parts`."""

    name: str
    shape: tuple[int, ...]
    parts: tuple[str, ...]
    load: Callable[[], Float32[ndarray, "..."]]


Find = Callable[[SafetensorsDir, Mapping[str, Any]], Iterator[PackedWeight]]


@dataclass(frozen=True, kw_only=True)
class Scheme:
    """How a `quant_method` is read.

    `find` yields the packed weights of a folder; a tensor ending in one of `suffixes` must be part
    of one of them; those ending in one of `hidden` are about activations and are left out.
    """

    find: Find
    suffixes: tuple[str, ...]
    hidden: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Parts:
    """The tensors whose names are `stem` and a part's suffix, as in `model.q_proj` + `.qweight`."""

    files: SafetensorsDir
    stem: str

    def error(self, message: str) -> PackingError:
        return PackingError(f"{self.files.path}: {self.stem}: {message}")

    def name(self, part: str) -> str:
        return self.stem + part

    def has(self, part: str) -> bool:
        return self.name(part) in self.files.entries

    def present(self, *parts: str) -> tuple[str, ...]:
        """The names of those parts that are stored."""
        return tuple(self.name(part) for part in parts if self.has(part))

    def shape(self, part: str, dtypes: tuple[np.dtype, ...], ndim: int) -> tuple[int, ...]:
        """The shape of a part that must be stored, in one of these dtypes, and not be empty."""
        if not self.has(part):
            raise self.error(f"has no {part!r}, which its scheme needs; is a shard missing?")
        dtype, shape = self.files.info(self.name(part))
        if dtype not in dtypes:
            wanted = " or ".join(str(d) for d in dtypes)
            raise self.error(f"{part!r} is stored as {dtype}, not as {wanted}")
        if len(shape) != ndim or not prod(shape):
            raise self.error(f"{part!r} has shape {list(shape)}; {ndim} dimensions are needed")
        return shape

    def expect(
        self, part: str, dtypes: tuple[np.dtype, ...], *shapes: tuple[int, ...]
    ) -> tuple[int, ...]:
        """Its shape, if it is one of these."""
        shape = self.files.info(self.name(part))[1] if self.has(part) else shapes[0]
        if shape not in shapes:
            wanted = " or ".join(str(list(s)) for s in shapes)
            raise self.error(f"{part!r} has shape {list(shape)}, and the others need {wanted}")
        return self.shape(part, dtypes, len(shape))

    def tensor(self, part: str) -> ndarray:
        return self.files.tensor(self.name(part))

    def group_index(self, part: str, n_groups: int) -> Int[ndarray, " in"]:
        """The values of a part that gives each input its group, each a group that exists."""
        index = self.tensor(part)
        if index.min() < 0 or index.max() >= n_groups:
            found = f"{int(index.min())}..{int(index.max())}"
            raise self.error(f"{part!r} holds {found}, and the groups are 0..{n_groups - 1}")
        return index


def stems(files: SafetensorsDir, part: str) -> list[str]:
    """Every stem that has this part, in the order of the file."""
    return [name.removesuffix(part) for name in files.names if name.endswith(part)]
