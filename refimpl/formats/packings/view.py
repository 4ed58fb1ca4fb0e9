"""A folder of safetensors files in which every quantised matrix looks like a plain one.

The view has the three members that reading a model needs: names, info, tensor.  A packed weight
stands where the first of its parts stood; everything else is passed through.  A part that belongs
to no weight, and a matrix of integers that no scheme explains, are errors: neither may be taken for
weights.

>>> import tempfile
>>> from refimpl.formats.safetensors import write_safetensors
>>> with tempfile.TemporaryDirectory() as folder:
...     write_safetensors(f"{folder}/model.safetensors", {
...         "up.qweight": np.full((1, 8), 0x7654_3210, np.int32),       # inputs 0..7, for 8 outputs
...         "up.qzeros": np.full((1, 1), 0x3333_3333, np.int32),        # 4, stored as 3
...         "up.scales": np.full((1, 8), 0.5, np.float16),
...     })
...     config = {"quant_method": "gptq", "bits": 4, "group_size": 8}
...     view = unpacked(SafetensorsDir.open(folder), config)
...     view.names, view.info("up.weight"), view.tensor("up.weight")[0].tolist()
(('up.weight',), (dtype('float32'), (8, 8)), [-2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5])
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy import ndarray

from refimpl.formats.packings import awq, bitsandbytes, compressed_tensors, fp8, gptq, mxfp4
from refimpl.formats.packings.parts import PackedWeight, PackingError, Scheme
from refimpl.formats.packings.settings import one_of
from refimpl.formats.safetensors import SafetensorsDir

SCHEMES: Mapping[str, Scheme] = {
    "gptq": gptq.SCHEME,
    "awq": awq.SCHEME,
    "fp8": fp8.SCHEME,
    "fbgemm_fp8": fp8.SCHEME,
    "compressed-tensors": compressed_tensors.SCHEME,
    "mxfp4": mxfp4.SCHEME,
    "bitsandbytes": bitsandbytes.SCHEME,
}


@runtime_checkable
class SafetensorsView(Protocol):
    """What reading a model needs of its files: a `SafetensorsDir` has it, and so has `Unpacked`."""

    @property
    def names(self) -> tuple[str, ...]: ...

    def info(self, name: str) -> tuple[np.dtype, tuple[int, ...]]: ...

    def tensor(self, name: str) -> ndarray: ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Unpacked:
    """The files' tensors.  `shown` has every name, in order, and the packed weight behind it."""

    files: SafetensorsDir
    shown: Mapping[str, PackedWeight | None]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.shown)

    def info(self, name: str) -> tuple[np.dtype, tuple[int, ...]]:
        weight = self._weight(name)
        return self.files.info(name) if weight is None else (np.dtype(np.float32), weight.shape)

    def tensor(self, name: str) -> ndarray:
        """The stored tensor, or the weights computed from their parts, anew at each call."""
        weight = self._weight(name)
        return self.files.tensor(name) if weight is None else weight.load()

    def _weight(self, name: str) -> PackedWeight | None:
        if name not in self.shown:
            raise PackingError(f"{self.files.path}: no tensor {name!r}; `names` lists them all")
        return self.shown[name]


def unpacked(files: SafetensorsDir, quantization_config: Mapping[str, Any]) -> Unpacked:
    """The view of a quantised checkpoint; only names, shapes and small settings are read."""
    method = method_of(quantization_config)
    scheme = SCHEMES[method]
    weights = tuple(scheme.find(files, quantization_config))
    if not weights:
        raise PackingError(f"{files.path}: config.json says {method}, and nothing is stored so")
    owner = owners(files, weights)
    shown: dict[str, PackedWeight | None] = {}
    for name in files.names:
        if name in owner:
            shown[owner[name].name] = owner[name]
        elif not name.endswith(scheme.hidden):
            check_plain(files, name, scheme)
            shown[name] = None
    return Unpacked(files=files, shown=shown)


def method_of(config: Mapping[str, Any]) -> str:
    """`quant_method`; bitsandbytes' first configs had only a load_in_4bit or load_in_8bit."""
    unnamed = any(config.get(key) is True for key in ("load_in_4bit", "load_in_8bit"))
    method: str = one_of(
        config, "quant_method", tuple(SCHEMES), "bitsandbytes" if unnamed else None
    )
    return method


def owners(files: SafetensorsDir, weights: tuple[PackedWeight, ...]) -> dict[str, PackedWeight]:
    """Part -> weight; each part has one, and no weight takes the name of another tensor."""
    owner: dict[str, PackedWeight] = {}
    for weight in weights:
        for part in weight.parts:
            if owner.setdefault(part, weight) is not weight:
                raise PackingError(f"{files.path}: {part!r} is a part of two weights")
    for weight in weights:
        if weight.name in files.entries and owner.get(weight.name) is not weight:
            raise PackingError(f"{files.path}: {weight.name!r} is stored both packed and plain")
    return owner


def check_plain(files: SafetensorsDir, name: str, scheme: Scheme) -> None:
    """A tensor that is passed through is neither a stray part nor half of a packed weight."""
    if name.endswith(scheme.suffixes):
        raise PackingError(f"{files.path}: {name!r} is part of no weight; is a shard missing?")
    dtype, _ = files.info(name)
    whole_numbers = name.endswith(".weight") and dtype.kind in "iub"
    if whole_numbers or dtype.name.startswith("float8"):
        raise PackingError(
            f"{files.path}: {name!r} is stored as {dtype}, and there are no scales beside it"
        )
