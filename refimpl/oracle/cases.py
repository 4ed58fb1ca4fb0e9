"""A case as a file: JSON that any language reads, its arrays in a safetensors file beside it.

The format is that of golden/README.md.  A case names its `check` and holds `arguments`, in which

    {"tensor": KEY}                          is that entry of the safetensors file of the same name
    {"packed": "Q4_0", "tensor": KEY}        is a packed weight: rows of blocks, as bytes

and everything else is itself.  Half-precision arrays keep their dtype.  Where the right answer is
one array, the case holds it, too: `expected`, and the `bound` within which it must be met.

>>> case = Case(check="add", arguments={"args": [np.float32([1, 2]), np.float32([3, 4])]})
>>> case.describe()
'add(args=[float32[2], float32[2]])'
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from numpy import ndarray

from refimpl.errors import FormatError, InputError
from refimpl.formats.quants import block_type
from refimpl.formats.quants.block import Packed

SCHEMA = "refimpl/conformance/1"
LINE = 160
Arguments = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """One question to a backend: which check, and on what."""

    check: str
    arguments: Arguments
    authority: str = "the definition in refimpl/ops"
    answer: Arguments = field(default_factory=dict)
    """What is right, where that is one array: `expected`, and a `bound` for every component."""

    def describe(self) -> str:
        """One line: the shapes, not the numbers."""
        inside = ", ".join(f"{name}={short(value)}" for name, value in self.arguments.items())
        return f"{self.check}({inside if len(inside) < LINE else inside[:LINE] + ' ...'})"


def short(value: Any) -> str:
    if isinstance(value, ndarray):
        return f"{value.dtype}{list(value.shape)}"
    if isinstance(value, Packed):
        return f"{value.type.name}{list(value.shape)}"
    if isinstance(value, list | tuple):
        inside = [short(one) for one in value[:6]] + ["..."] * (len(value) > 6)
        return f"[{', '.join(inside)}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{k}: {short(v)}' for k, v in value.items())}}}"
    return repr(value)


@dataclass(kw_only=True)
class Encoder:
    """Takes arrays out of a nested value, under a name each."""

    tensors: dict[str, ndarray] = field(default_factory=dict)

    def encode(self, value: Any) -> Any:
        if isinstance(value, Packed):
            raw = np.ascontiguousarray(value.blocks).view(np.uint8)
            rows = raw.reshape(*value.blocks.shape[:-1], -1)
            return {"packed": value.type.name, **self.encode(rows)}
        if isinstance(value, ndarray):
            key = f"t{len(self.tensors)}"
            self.tensors[key] = np.array(value, order="C")
            return {"tensor": key}
        if isinstance(value, Mapping):
            return {name: self.encode(one) for name, one in value.items()}
        if isinstance(value, list | tuple):
            return [self.encode(one) for one in value]
        return value.item() if isinstance(value, np.generic) else value


def decode(value: Any, tensors: Mapping[str, ndarray]) -> Any:
    if isinstance(value, list):
        return [decode(one, tensors) for one in value]
    if not isinstance(value, dict):
        return value
    if set(value) - {"packed"} != {"tensor"}:
        return {name: decode(one, tensors) for name, one in value.items()}
    if value["tensor"] not in tensors:
        raise FormatError(f"the case names tensor {value['tensor']!r}, and its file has none")
    array = tensors[value["tensor"]]
    if "packed" not in value:
        return array
    kind = block_type(value["packed"])
    if array.dtype != np.uint8 or array.shape[-1] % kind.dtype.itemsize:
        raise FormatError(f"tensor {value['tensor']!r} is not whole blocks of {kind.name}")
    blocks = np.ascontiguousarray(array).view(kind.dtype)
    return Packed(type=kind, blocks=blocks)


def save_case(case: Case, path: Path) -> None:
    """Write `path` (.json) and its arrays beside it."""
    from safetensors.numpy import save_file

    encoder = Encoder()
    stated = {
        "name": case.describe(),
        "authority": case.authority,
        "check": case.check,
        "arguments": encoder.encode(case.arguments),
        **encoder.encode(case.answer),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"schema": SCHEMA, "cases": [stated]}, indent=1) + "\n")
    if encoder.tensors:
        save_file(encoder.tensors, path.with_suffix(".safetensors"))


def load_cases(path: Path) -> list[Case]:
    """The cases of a file that `save_case` wrote."""
    try:
        document = json.loads(path.read_text())
        schema, stated = document["schema"], document["cases"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FormatError(f"{path} is no file of cases: {error}") from None
    if schema != SCHEMA:
        raise InputError(f"{path} follows {schema!r}, and this program replays {SCHEMA!r}")
    tensors = load_tensors(path.with_suffix(".safetensors"))
    try:
        return [
            Case(
                check=one["check"],
                arguments=decode(one["arguments"], tensors),
                authority=one["authority"],
            )
            for one in stated
        ]
    except (KeyError, TypeError) as error:
        raise FormatError(f"{path}: a case lacks {error}") from None


def load_tensors(path: Path) -> Mapping[str, ndarray]:
    if not path.exists():
        return {}
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    assert ml_dtypes.bfloat16  # registers the dtype that the loader asks for by name
    try:
        return dict(load_file(path))
    except (SafetensorError, OSError) as error:
        raise FormatError(f"{path} cannot be read: {error}") from None
