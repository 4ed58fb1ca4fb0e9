"""Reading the values in a schema: numbers exactly, counts and containers with a named error.

>>> canonical({"b": [1.0, True], "a": None}) == canonical({"a": None, "b": [1, True]})
True
"""

import json
from fractions import Fraction
from typing import Any, TypeGuard

from refimpl.errors import InputError


def is_number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def fraction(value: int | float | Fraction) -> Fraction:
    """The decimal number that was written, not the double nearest to it."""
    return Fraction(repr(value)) if isinstance(value, float) else Fraction(value)


def canonical(value: Any) -> str:
    """Equal JSON values, and only those, have the same canonical text (1 equals 1.0)."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(k)}:{canonical(value[k])}" for k in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(canonical, value)) + "]"
    number = is_number(value) or isinstance(value, Fraction)
    return str(fraction(value)) if number else json.dumps(value)


def count(schema: dict[str, Any], key: str) -> int | None:
    value = schema.get(key)
    if value is None:
        return None
    if not is_number(value) or value < 0 or value != int(value):
        raise InputError(f"`{key}` must be a whole number, not {value!r:.60}")
    return int(value)


def text_of(schema: dict[str, Any], key: str) -> str:
    if not isinstance(schema[key], str):
        raise InputError(f"`{key}` must be a string, not {schema[key]!r:.60}")
    return str(schema[key])


def list_of(schema: dict[str, Any], key: str) -> list[Any]:
    value = schema.get(key, [])
    if not isinstance(value, list):
        raise InputError(f"`{key}` must be a list, not {value!r:.60}")
    return value


def object_of(schema: dict[str, Any], key: str) -> dict[str, Any]:
    value = schema.get(key, {})
    if not isinstance(value, dict):
        raise InputError(f"`{key}` must be an object, not {value!r:.60}")
    return value
