"""The way back: from JSON to a value of the type that was asked for.

A constraint makes the text fit the schema, unless it ends too early; a server may take the schema
for a wish.  So every value is checked, and what does not fit is a `SchemaError` that says where.

>>> from dataclasses import dataclass
>>> @dataclass
... class Point:
...     x: int
...     tags: list[str]
>>> read(Point, '{"x": 3, "tags": ["a"]}')
Point(x=3, tags=['a'])
>>> read(Point, '{"x": 3, "tags": ["a", 5]}')
Traceback (most recent call last):
refimpl.lang.faults.SchemaError: the model's text does not fit Point: $.tags[1] is 5, not a str
"""

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from refimpl.lang.faults import SchemaError


def read(wanted: Any, text: str) -> Any:
    """The value that a text says, of the type or schema that was asked for."""
    name = getattr(wanted, "__name__", "the schema")
    if hasattr(wanted, "model_validate_json"):
        try:
            return wanted.model_validate_json(text)
        except ValueError as error:
            raise SchemaError(f"the model's text does not fit {name}: {error}") from error
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SchemaError(
            f"the model's text is no JSON: {text[:80]!r} ({error}); "
            "if it was cut off, ask for more tokens"
        ) from error
    if isinstance(wanted, Mapping | bool):
        return parsed
    try:
        return value_of(wanted, parsed, "$")
    except MisfitError as error:
        raise SchemaError(f"the model's text does not fit {name}: {error}") from None


class MisfitError(Exception):
    """A part of a value is not of its type."""


def value_of(kind: Any, value: Any, at: str) -> Any:
    if kind is Any:
        return value
    if is_dataclass(kind) and isinstance(kind, type):
        return object_of(kind, value, at)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind(one_of([member.value for member in kind], value, at))
    if get_origin(kind) is None:
        return plain(kind, value, at)
    return generic(kind, value, at)


def plain(kind: Any, value: Any, at: str) -> Any:
    if kind is float and type(value) is int:
        return float(value)
    if kind is int and type(value) is float and value.is_integer():  # 1.0 is an integer in JSON
        return int(value)
    if type(value) is not (NoneType if kind is None else kind):
        raise MisfitError(f"{at} is {value!r}, not a {getattr(kind, '__name__', kind)}")
    return value


def generic(kind: Any, value: Any, at: str) -> Any:
    origin, args = get_origin(kind), get_args(kind)
    if origin is Literal:
        return one_of(list(args), value, at)
    if origin in (Union, UnionType):
        return first_fitting(args, value, at)
    if not isinstance(value, origin):
        raise MisfitError(f"{at} is {value!r}, not a {origin.__name__}")
    if origin is list:
        return [value_of(args[0], one, f"{at}[{i}]") for i, one in enumerate(value)]
    return {key: value_of(args[1], one, f"{at}.{key}") for key, one in value.items()}


def first_fitting(kinds: tuple[Any, ...], value: Any, at: str) -> Any:
    for kind in kinds:
        try:
            return value_of(kind, value, at)
        except MisfitError:
            continue
    raise MisfitError(f"{at} is {value!r}, which fits none of {len(kinds)} types")


def one_of(allowed: list[Any], value: Any, at: str) -> Any:
    for one in allowed:
        if isinstance(one, bool) == isinstance(value, bool) and one == value:
            return one
    raise MisfitError(f"{at} is {value!r}, not one of {allowed}")


def object_of(kind: type, value: Any, at: str) -> Any:
    if not isinstance(value, dict):
        raise MisfitError(f"{at} is {value!r}, not an object")
    hints, known = get_type_hints(kind), [field.name for field in fields(kind)]
    if strange := [key for key in value if key not in known]:
        raise MisfitError(f"{at} has a member {strange[0]!r}, which {kind.__name__} has not")
    given = {key: value_of(hints[key], one, f"{at}.{key}") for key, one in value.items()}
    try:
        return kind(**given)
    except (TypeError, ValueError) as error:
        raise MisfitError(f"{at}: {error}") from None
