"""Reading typed values out of a mapping that may hold anything.

>>> fields = Fields({"a.n": 3, "a.names": ["x", "y"]}, prefix="a.")
>>> fields.integer("n"), fields.integer("m"), fields.texts("names")
(3, None, ['x', 'y'])
>>> fields.flag("n")
Traceback (most recent call last):
...
refimpl.text.errors.TokenizerError: 'a.n' should be true or false, and is 3
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy import ndarray

from refimpl.text.errors import TokenizerError

T = TypeVar("T")


class Fields:
    """A mapping whose values are checked as they are read; what is absent is None, or empty."""

    def __init__(self, mapping: Mapping[str, object], prefix: str = "") -> None:
        self.mapping = mapping
        self.prefix = prefix

    def __contains__(self, key: str) -> bool:
        return self.prefix + key in self.mapping

    def integer(self, key: str) -> int | None:
        return self.read(key, "an integer", _integer)

    def flag(self, key: str) -> bool | None:
        return self.read(key, "true or false", _flag)

    def text(self, key: str) -> str | None:
        return self.read(key, "a text", lambda value: value if isinstance(value, str) else None)

    def texts(self, key: str) -> list[str]:
        return self.read(key, "a list of texts", _texts) or []

    def integers(self, key: str) -> list[int]:
        return self.read(key, "a list of integers", lambda value: _numbers(value, "iub")) or []

    def numbers(self, key: str) -> list[float]:
        return self.read(key, "a list of numbers", lambda value: _numbers(value, "iuf")) or []

    def read(self, key: str, kind: str, parse: Callable[[Any], T | None]) -> T | None:
        key = self.prefix + key
        if key not in self.mapping:
            return None
        value = self.mapping[key]
        parsed = parse(value)
        if parsed is None:
            raise TokenizerError(f"{key!r} should be {kind}, and is {repr(value)[:60]}")
        return parsed


def _flag(value: object) -> bool | None:
    return bool(value) if isinstance(value, bool | np.bool_) else None


def _integer(value: object) -> int | None:
    is_integer = isinstance(value, int | np.integer) and not isinstance(value, bool)
    return int(value) if is_integer else None  # type: ignore[call-overload]


def _texts(value: object) -> list[str] | None:
    if not isinstance(value, list | tuple) or not {str} >= set(map(type, value)):
        return None
    return list(value)


def _numbers(value: object, kinds: str) -> list[Any] | None:
    """Numbers of the given NumPy kinds, as Python's own."""
    if not isinstance(value, ndarray) and isinstance(value, Sequence) and not isinstance(value, str):
        if not {int, float} >= set(map(type, value)):
            return None
        value = np.array(value) if len(value) else np.empty(0)
    if not isinstance(value, ndarray) or value.ndim != 1:
        return None
    if value.size and value.dtype.kind not in kinds:
        return None
    return list(value.tolist())
