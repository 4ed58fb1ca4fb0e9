"""Hugging Face's weights: safetensors files, alone or as the shards an index names.

A file is a u64 length, a JSON header of that length, and the bytes of the tensors in little-endian
order.  The `safetensors` library judges the header (its size, and that the tensors cover the data
without a hole or an overlap).  The bytes are then mapped and viewed here, because the library's
NumPy side copies each tensor and has no float8.  A tensor is a view: taking a slice of one touches
only the pages of that slice, so a model larger than memory can be walked through.

Files that hold Python pickles (.bin, .pt, .pth, .ckpt) are refused: opening one can run any code.

Source: the safetensors format, https://huggingface.co/docs/safetensors; OCP MX 1.0 for F8_E8M0.

>>> import tempfile
>>> with tempfile.TemporaryDirectory() as folder:
...     write_safetensors(f"{folder}/model.safetensors", {"w": np.eye(2, dtype=ml_dtypes.bfloat16)})
...     model = SafetensorsDir.open(folder)
>>> model.names, model.info("w"), model.tensor("w")[1]
(('w',), (dtype(bfloat16), (2, 2)), array([0, 1], dtype=bfloat16))
"""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from mmap import mmap
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from numpy import ndarray

from refimpl.errors import FormatError, InputError, UnsupportedError
from refimpl.formats.files import map_file, replacing

DTYPES: Mapping[str, np.dtype] = {
    "BOOL": np.dtype(np.bool_),
    "U8": np.dtype(np.uint8),
    "I8": np.dtype(np.int8),
    "U16": np.dtype("<u2"),
    "I16": np.dtype("<i2"),
    "U32": np.dtype("<u4"),
    "I32": np.dtype("<i4"),
    "U64": np.dtype("<u8"),
    "I64": np.dtype("<i8"),
    "F16": np.dtype("<f2"),
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
    "C64": np.dtype("<c8"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
    "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
    "F8_E4M3FNUZ": np.dtype(ml_dtypes.float8_e4m3fnuz),
    "F8_E5M2FNUZ": np.dtype(ml_dtypes.float8_e5m2fnuz),
    "F8_E8M0": np.dtype(ml_dtypes.float8_e8m0fnu),
}
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
SINGLE = "model.safetensors"
SHARD_NAME = re.compile(r"[^/\\:\0]+\.safetensors")
INDEX = "model.safetensors.index.json"
MAX_INDEX_BYTES = 100_000_000  # what the library allows a header; the largest models need 10 MB


class SafetensorsError(FormatError):
    """A safetensors file, or the index over several, is truncated, inconsistent or hostile."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Entry:
    """Where a tensor lies: bytes `begin` to `end` of the mapped file `path`."""

    path: Path
    data: mmap
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True, kw_only=True, eq=False)
class SafetensorsDir:
    """The tensors of one file, or of all the shards of a model."""

    path: Path
    entries: Mapping[str, Entry]

    @classmethod
    def open(cls, path: Path | str) -> "SafetensorsDir":
        """A file, an index, or a folder that has a `model.safetensors` or an index."""
        path = Path(path)
        main = _main_file(path) if os.path.isdir(path) else path
        if main.name.endswith(PICKLES):
            raise _pickle(main)
        entries = read_index(main) if main.suffix == ".json" else read_file(main)
        return cls(path=path, entries=entries)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.entries)

    def info(self, name: str) -> tuple[np.dtype, tuple[int, ...]]:
        """The dtype and shape of a tensor, without touching it."""
        entry = self._entry(name)
        return _dtype(name, entry), entry.shape

    def tensor(self, name: str) -> ndarray:
        """A read-only view of the mapped file."""
        entry = self._entry(name)
        dtype = _dtype(name, entry)
        n = (entry.end - entry.begin) // dtype.itemsize
        values = np.frombuffer(entry.data, dtype, n, entry.begin)
        if dtype == np.bool_ and values.view(np.uint8).max(initial=0) > 1:
            raise SafetensorsError(f"{entry.path}: {name!r} has a bool that is neither 0 nor 1")
        try:
            return values.reshape(entry.shape)
        except ValueError as cause:  # too many dimensions, or huge ones beside one of 0
            raise SafetensorsError(
                f"{entry.path}: {name!r}, shape {entry.shape}: {cause}"
            ) from None

    def _entry(self, name: str) -> Entry:
        if name not in self.entries:
            raise SafetensorsError(f"{self.path}: no tensor {name!r}; `names` lists what there is")
        return self.entries[name]


def _dtype(name: str, entry: Entry) -> np.dtype:
    if entry.dtype not in DTYPES:
        raise UnsupportedError(
            f"{entry.path}: {name!r} is stored as {entry.dtype}, which is not read here; "
            "use a version of the model in BF16, F16 or F8"
        )
    return DTYPES[entry.dtype]


def _main_file(folder: Path) -> Path:
    try:
        names = sorted(os.listdir(folder))
    except OSError as cause:
        raise SafetensorsError(f"{folder}: cannot be read: {cause}") from None
    for name in (SINGLE, INDEX):
        if name in names:
            return folder / name
    for name in names:
        if name.endswith(PICKLES):
            raise _pickle(folder / name)
    raise SafetensorsError(f"{folder}: has neither {SINGLE} nor {INDEX}; is it a model's folder?")


def _pickle(path: Path) -> SafetensorsError:
    return SafetensorsError(
        f"{path}: a Python pickle can run any code when it is opened, so it is not read; "
        "use the model's .safetensors files, or convert it with the safetensors library"
    )


def read_file(path: Path) -> dict[str, Entry]:
    """The header of one file, judged by the library."""
    data = map_file(path, SafetensorsError)
    _judge(path)
    start = 8 + int.from_bytes(data[:8], "little")
    header = _load_json(path, data[8:start])
    header.pop("__metadata__", None)
    return {name: _located(path, data, start, info) for name, info in header.items()}


def _judge(path: Path) -> None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np"):
            pass
    except (SafetensorError, OSError) as cause:
        raise SafetensorsError(
            f"{path}: {cause}; the file is truncated or damaged, download it again"
        ) from None


def _located(path: Path, data: mmap, start: int, info: Mapping[str, Any]) -> Entry:
    begin, end = info["data_offsets"]
    return Entry(
        path=path,
        data=data,
        dtype=info["dtype"],
        shape=tuple(info["shape"]),
        begin=start + begin,
        end=start + end,
    )


def read_index(path: Path) -> dict[str, Entry]:
    """All shards that an index names, and that they hold what it says."""
    data = map_file(path, SafetensorsError)
    if len(data) > MAX_INDEX_BYTES:
        raise SafetensorsError(f"{path}: an index of {len(data)} bytes; is it the right file?")
    weight_map = _weight_map(path, _load_json(path, data[:]))
    shards = {file: read_file(path.with_name(file)) for file in dict.fromkeys(weight_map.values())}
    _check_distinct(path, shards)
    for name, file in weight_map.items():
        if name not in shards[file]:
            raise SafetensorsError(f"{path}: says {name!r} is in {file}, and it is not there")
    return {name: shards[file][name] for name, file in weight_map.items()}


def _weight_map(path: Path, index: Mapping[str, Any]) -> dict[str, str]:
    """Tensor -> file, each file a plain name: an index may not point out of its folder."""
    weight_map = index.get("weight_map")
    if not isinstance(weight_map, dict):
        raise SafetensorsError(f"{path}: has no weight_map; download it again")
    for file in weight_map.values():
        if not isinstance(file, str) or not SHARD_NAME.fullmatch(file):
            raise SafetensorsError(
                f"{path}: {file!r} is not the name of a .safetensors file beside it"
            )
    return weight_map


def _check_distinct(path: Path, shards: Mapping[str, Mapping[str, Entry]]) -> None:
    owner: dict[str, str] = {}
    for file, shard in shards.items():
        for name in shard:
            if name in owner:
                raise SafetensorsError(f"{path}: both {owner[name]} and {file} hold {name!r}")
            owner[name] = file


def _load_json(path: Path, text: bytes) -> dict[str, Any]:
    try:
        value = json.loads(text, object_pairs_hook=_distinct_keys)
    except (ValueError, RecursionError) as cause:
        raise SafetensorsError(f"{path}: its JSON cannot be used: {cause}") from None
    if not isinstance(value, dict):
        raise SafetensorsError(f"{path}: its JSON is not an object; download it again")
    return value


def _distinct_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = dict(pairs)
    if len(keys) < len(pairs):
        raise ValueError("a key appears twice")
    return keys


def write_safetensors(
    path: Path | str, tensors: Mapping[str, ndarray], metadata: Mapping[str, str] | None = None
) -> None:
    """Write one file; it appears when it is complete."""
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    # The library takes the memory of an array as it lies, so a transposed one would come out wrong.
    ready = {name: np.asarray(tensor, order="C") for name, tensor in tensors.items()}
    with replacing(Path(path)) as draft:
        draft.touch()
        mode = draft.stat().st_mode
        try:
            save_file(ready, draft, dict(metadata) if metadata else None)
        except SafetensorError as cause:
            raise InputError(f"cannot write {path}: {cause}") from None
        draft.chmod(mode)  # the library makes a file that only its owner may read
