"""Reading typed values out of a mapping that may hold anything.

>>> fields = Fields({"a.n": 3, "a.names": ["x", "y"]}, prefix="a.")
>>> fields.integer("n"), fields.integer("m"), fields.texts("names")
(3, None, ['x', 'y'])
>>> fields.flag("n")
Traceback (most recent call last):
...
refimpl.text.errors.TokenizerError: 'a.n' should be true or false, and is 3
"""

from array import array
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

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
        return self.read(key, "an integer", lambda value: value if type(value) is int else None)

    def flag(self, key: str) -> bool | None:
        return self.read(key, "true or false", lambda value: value if type(value) is bool else None)

    def text(self, key: str) -> str | None:
        return self.read(key, "a text", lambda value: value if type(value) is str else None)

    def texts(self, key: str) -> list[str]:
        return self.read(key, "a list of texts", lambda value: list_of(value, str)) or []

    def integers(self, key: str) -> list[int]:
        return self.read(key, "a list of integers", lambda value: list_of(value, int)) or []

    def numbers(self, key: str) -> list[float]:
        return self.read(key, "a list of numbers", float32s) or []

    def read(self, key: str, kind: str, parse: Callable[[Any], T | None]) -> T | None:
        key = self.prefix + key
        if key not in self.mapping:
            return None
        value = self.mapping[key]
        parsed = parse(value.tolist() if hasattr(value, "tolist") else value)  # NumPy's
        if parsed is None:
            raise TokenizerError(f"{key!r} should be {kind}, and is {repr(value)[:60]}")
        return parsed


def list_of(value: Any, *types: type) -> list[Any] | None:
    """The value, if it is a list of elements of these types; else None."""
    if not isinstance(value, list | tuple) or not frozenset(types) >= set(map(type, value)):
        return None
    return list(value)


def float32s(value: Any) -> list[float] | None:
    """A list of numbers as floats, rounded to what a file can store."""
    numbers = list_of(value, float, int)
    try:
        return None if numbers is None else array("f", numbers).tolist()
    except OverflowError:  # an integer beyond every float
        return None
