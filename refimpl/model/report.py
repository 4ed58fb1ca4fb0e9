"""What `refimpl inspect` says of a checkpoint: sizes, the mix of types, the memory it takes."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from refimpl.formats.gguf import GGUF
from refimpl.formats.safetensors import SafetensorsDir

LONGEST = 8
"""Elements of a metadata array that are shown."""


@dataclass(frozen=True, kw_only=True)
class TensorLine:
    name: str
    type: str
    shape: tuple[int, ...]
    n_bytes: int


@dataclass(frozen=True, kw_only=True)
class Report:
    """Plain values, ready for JSON."""

    path: str
    kind: str
    metadata: Mapping[str, Any]
    tensors: tuple[TensorLine, ...]
    cache_bytes_per_token: int | None
    """Keys and values of one token over all layers, in float32."""
    context_length: int | None

    @property
    def n_weights(self) -> int:
        return sum(prod(t.shape) for t in self.tensors)

    @property
    def n_bytes(self) -> int:
        return sum(t.n_bytes for t in self.tensors)

    @property
    def mix(self) -> dict[str, dict[str, int]]:
        """Tensors, weights and bytes of each type, largest first."""
        bytes_of: Counter[str] = Counter()
        for t in self.tensors:
            bytes_of[t.type] += t.n_bytes
        return {
            kind: {
                "tensors": sum(t.type == kind for t in self.tensors),
                "weights": sum(prod(t.shape) for t in self.tensors if t.type == kind),
                "bytes": n,
            }
            for kind, n in bytes_of.most_common()
        }

    def as_json(self) -> dict[str, Any]:
        return {
            "path": self.path,
            "kind": self.kind,
            "n_weights": self.n_weights,
            "n_bytes": self.n_bytes,
            "mix": self.mix,
            "cache_bytes_per_token": self.cache_bytes_per_token,
            "context_length": self.context_length,
            "metadata": dict(self.metadata),
            "tensors": [asdict(t) for t in self.tensors],
        }


def inspect_checkpoint(path: Path) -> Report:
    """Headers only; no weight is read.  A vocabulary without tensors is fine too."""
    from refimpl.model.load import open_checkpoint

    if path.is_dir():
        kind, lines = "Hugging Face folder", safetensors_lines(path)
        metadata = open_checkpoint(path).metadata
    elif path.suffix == ".bin":
        checkpoint, kind = open_checkpoint(path), "llama2.c"
        metadata = checkpoint.metadata
        lines = tuple(
            TensorLine(name=n, type="F32", shape=t.shape, n_bytes=4 * prod(t.shape))
            for n, t in checkpoint.tensors.items()
        )
    else:
        file = GGUF.open(path)
        kind, metadata = f"GGUF v{file.version}, {file.byte_order}-endian", file.metadata
        lines = tuple(
            TensorLine(name=t.name, type=t.type.name, shape=t.shape, n_bytes=t.nbytes)
            for t in file.tensors.values()
        )
    return Report(
        path=str(path),
        kind=kind,
        metadata={key: shown(metadata[key]) for key in metadata},
        tensors=lines,
        **cache_facts(path, lines),
    )


def safetensors_lines(path: Path) -> tuple[TensorLine, ...]:
    files = SafetensorsDir.open(path)
    infos = ((name, *files.info(name)) for name in files.names)
    return tuple(
        TensorLine(name=name, type=str(dtype), shape=shape, n_bytes=prod(shape) * dtype.itemsize)
        for name, dtype, shape in infos
    )


def cache_facts(path: Path, lines: tuple[TensorLine, ...]) -> dict[str, int | None]:
    """From the configuration, where there is a model to have one."""
    from refimpl.errors import UnsupportedError
    from refimpl.model.load import open_checkpoint, read_config

    if not lines:
        return {"cache_bytes_per_token": None, "context_length": None}
    try:
        c = read_config(open_checkpoint(path))
    except UnsupportedError:  # an architecture we cannot run can still be looked at
        return {"cache_bytes_per_token": None, "context_length": None}
    per_token = 2 * 4 * c.n_layers * c.n_kv_heads * c.head_dim
    return {"cache_bytes_per_token": per_token, "context_length": c.context_length}


def shown(value: Any) -> Any:
    """A metadata value short enough to read, and fit for JSON."""
    if isinstance(value, np.ndarray | list):
        head = value[:LONGEST].tolist() if isinstance(value, np.ndarray) else value[:LONGEST]
        return head if len(value) <= LONGEST else {"length": len(value), "first": head}
    return value.item() if isinstance(value, np.generic) else value


def tables(report: Report, with_tensors: bool) -> list[Any]:
    """The report as `rich` tables, for a terminal."""
    from rich.table import Table

    summary = Table("", "", show_header=False, title=report.path)
    summary.add_row("format", report.kind)
    summary.add_row("weights", f"{report.n_weights:,}")
    summary.add_row("bytes of weights", f"{report.n_bytes:,}")
    if report.cache_bytes_per_token is not None and report.context_length is not None:
        full = report.cache_bytes_per_token * report.context_length
        summary.add_row("cache, a token", f"{report.cache_bytes_per_token:,} bytes in float32")
        summary.add_row("cache, full context", f"{full:,} bytes ({report.context_length:,} tokens)")
        summary.add_row("memory, at least", f"{report.n_bytes + full:,} bytes")
    metadata = Table("key", "value", title="metadata")
    for key, value in report.metadata.items():
        metadata.add_row(key, str(value))
    mix = Table("type", "tensors", "weights", "bytes", title="types")
    for kind, counts in report.mix.items():
        mix.add_row(kind, *(f"{n:,}" for n in counts.values()))
    tensors = Table("tensor", "type", "shape", "bytes", title="tensors")
    for t in report.tensors:
        tensors.add_row(t.name, t.type, " x ".join(map(str, t.shape)), f"{t.n_bytes:,}")
    return [metadata, *([tensors] if with_tensors else []), mix, summary]
