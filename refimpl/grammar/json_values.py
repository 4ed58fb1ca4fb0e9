"""Reading values: numbers exactly, counts and containers with a named error.

>>> canonical({"b": [1.0, True], "a": None}) == canonical({"a": None, "b": [1, True]})
True
"""

import json
import math
from fractions import Fraction
from typing import Any, TypeGuard

from refimpl.errors import InputError
from refimpl.grammar.doubles import EXACT

KINDS = ("literal", "number", "string", "array", "object")
MAX_DIGITS = 4000  # of an integer that is read as one


def is_number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_infinite(value: Any) -> TypeGuard[float]:
    return isinstance(value, float) and math.isinf(value)


def fraction(value: int | float | Fraction) -> Fraction:
    """The decimal number that was written, not the double nearest to it; a large double as it is.

    >>> fraction(0.1), int(fraction(1e23))
    (Fraction(1, 10), 99999999999999991611392)
    """
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"a schema can't compare with {value}: no double holds what is written")
    small = isinstance(value, float) and abs(value) < EXACT
    return Fraction(repr(value)) if small else Fraction(value)


def canonical(value: Any) -> str:
    """Equal JSON values, and only those, have the same canonical text (1 equals 1.0)."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(k)}:{canonical(value[k])}" for k in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(canonical, value)) + "]"
    number = is_number(value) or isinstance(value, Fraction)
    return json.dumps(value) if not number or is_infinite(value) else str(fraction(value))


def kind_of(value: Any) -> str:
    """Its type; null, true and false are literals."""
    if isinstance(value, dict | list):
        return "object" if isinstance(value, dict) else "array"
    if isinstance(value, str):
        return "string"
    return "literal" if value is None or isinstance(value, bool) else "number"


def read(text: str | bytes) -> Any:
    """A value that was written, as those who compare it read it.

    A number with a point or an exponent is the double nearest to it: 0.1 and 0.1 with a 1 far
    behind are the same item of an array.  What lies beyond all doubles is infinite.

    >>> read("[1.50, 1e999, 0.1000000000000000000001, 9007199254740993, 9007199254740993.0]")
    [1.5, inf, 0.1, 9007199254740993, 9007199254740992.0]
    """
    return json.loads(text, parse_int=_integer)


def _integer(text: str) -> int | float:
    return int(text) if len(text) < MAX_DIGITS else float(text)


def count(schema: dict[str, Any], key: str) -> int | None:
    value = schema.get(key)
    if value is None:
        return None
    if not is_number(value) or not 0 <= value < math.inf or value != int(value):
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
