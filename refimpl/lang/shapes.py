"""A Python type as a JSON Schema: what `gen(schema=...)` makes of a dataclass.

Fields become properties, those without a default are required, others are not allowed.  A pydantic
model brings its own schema; a mapping is a schema already.

>>> from dataclasses import dataclass
>>> @dataclass
... class Purchase:
...     person: str
...     price: float
...     paid: Literal["cash", "card"] = "cash"
>>> schema = schema_of(Purchase)
>>> schema["properties"]["price"], schema["properties"]["paid"], schema["required"]
({'type': 'number'}, {'enum': ['cash', 'card']}, ['person', 'price'])
"""

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from refimpl.errors import UnsupportedError

PLAIN: dict[Any, str] = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    NoneType: "null",
    None: "null",
}


def json_schema(wanted: Any) -> Mapping[str, Any] | bool:
    """The schema of whatever `gen(schema=...)` was given."""
    if isinstance(wanted, Mapping | bool):
        return wanted
    if isinstance(wanted, type) and hasattr(wanted, "model_json_schema"):
        schema: Mapping[str, Any] = wanted.model_json_schema()
        return schema
    return schema_of(wanted)


def schema_of(kind: Any) -> dict[str, Any]:
    if kind is Any:
        return {}
    if kind in PLAIN:
        return {"type": PLAIN[kind]}
    if isinstance(kind, type) and is_dataclass(kind):
        return object_of(kind)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return {"enum": [member.value for member in kind]}
    return generic(kind)


def generic(kind: Any) -> dict[str, Any]:
    """`list[int]`, `dict[str, int]`, `Literal["a", "b"]`, `int | None`."""
    origin, args = get_origin(kind), get_args(kind)
    if origin is Literal:
        return {"enum": list(args)}
    if origin in (Union, UnionType):
        return {"anyOf": [schema_of(one) for one in args]}
    if origin is list:
        return {"type": "array", "items": schema_of(args[0])}
    if origin is dict and args[0] is str:
        return {"type": "object", "additionalProperties": schema_of(args[1])}
    raise UnsupportedError(
        f"{kind!r} has no JSON schema here: use dataclasses of str, int, float, bool, None, "
        "Literal, Enum, list, dict[str, ...] and unions, or give the schema as a dict"
    )


def object_of(kind: type) -> dict[str, Any]:
    hints = get_type_hints(kind)
    needed = [
        field.name
        for field in fields(kind)
        if field.default is MISSING and field.default_factory is MISSING
    ]
    return {
        "type": "object",
        "properties": {field.name: schema_of(hints[field.name]) for field in fields(kind)},
        "required": needed,
        "additionalProperties": False,
    }
