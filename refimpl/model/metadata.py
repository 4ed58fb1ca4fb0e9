"""Typed, checked access to a checkpoint's metadata: the keys of GGUF, whatever the file was.

Sizes come from files that strangers wrote, so every number is checked before it sizes anything.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from refimpl.errors import FormatError

MISSING: Any = object()


@dataclass(frozen=True)
class Metadata:
    """`Metadata(values, prefix="llama")` reads `llama.block_count` as `.size("block_count")`."""

    values: Mapping[str, Any]
    prefix: str

    def _get(self, key: str, default: Any) -> Any:
        full = f"{self.prefix}.{key}"
        value = self.values.get(full, default)
        if value is MISSING:
            raise FormatError(f"the model's metadata lacks {full!r}: the file is incomplete")
        return value

    def size(self, key: str, default: Any = MISSING, *, most: int = 1 << 24) -> int:
        """A whole number from 1 to `most`."""
        value = self._get(key, default)
        if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer):
            raise FormatError(f"{self.prefix}.{key} is {value!r}, not a whole number")
        if not 1 <= value <= most:
            raise FormatError(f"{self.prefix}.{key} is {value}, outside 1..{most}")
        return int(value)

    def same_size(self, key: str, default: Any = MISSING) -> int:
        """A size that may be given per layer, as long as the layers agree."""
        value = self._get(key, default)
        if isinstance(value, np.ndarray | list):
            if len(value) == 0 or any(v != value[0] for v in value):
                raise FormatError(f"{self.prefix}.{key} differs between layers: not supported")
            value = value[0]
        return Metadata({f"{self.prefix}.{key}": value}, self.prefix).size(key)

    def number(self, key: str, default: Any = MISSING) -> float:
        """A finite number."""
        value = self._get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float | np.number):
            raise FormatError(f"{self.prefix}.{key} is {value!r}, not a number")
        if not np.isfinite(value):
            raise FormatError(f"{self.prefix}.{key} is {value}, not a finite number")
        return float(value)

    def flag(self, key: str, default: Any = MISSING) -> bool:
        value = self._get(key, default)
        if not isinstance(value, bool | np.bool_):
            raise FormatError(f"{self.prefix}.{key} is {value!r}, not true or false")
        return bool(value)

    def text(self, key: str, default: Any = MISSING) -> str:
        value = self._get(key, default)
        if not isinstance(value, str):
            raise FormatError(f"{self.prefix}.{key} is {value!r}, not a string")
        return value

    def flags(self, key: str, length: int) -> tuple[bool, ...] | None:
        """A list of `length` booleans, or None where the key is absent."""
        value = self._get(key, None)
        if value is None:
            return None
        if not isinstance(value, Sequence | np.ndarray) or len(value) != length:
            raise FormatError(f"{self.prefix}.{key} should list {length} flags")
        return tuple(bool(v) for v in value)

    def has(self, key: str) -> bool:
        return f"{self.prefix}.{key}" in self.values
