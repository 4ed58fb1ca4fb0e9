"""Types as schemas and back: a program gets what it asks for, or an error that says where."""

import json
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal

import hypothesis.strategies as st
import jsonschema
import pytest
from hypothesis import given

from refimpl.errors import UnsupportedError
from refimpl.lang.faults import SchemaError
from refimpl.lang.shapes import json_schema
from refimpl.lang.values import read


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Thing:
    name: str
    colour: Colour = Colour.RED


@dataclass
class Box:
    things: list[Thing]
    weight: float
    count: int | None = None
    kind: Literal["open", "shut", 3] = "shut"
    labels: dict[str, bool] = field(default_factory=dict)
    note: Any = None


THINGS = st.builds(Thing, name=st.text(), colour=st.sampled_from(Colour))
BOXES = st.builds(
    Box,
    things=st.lists(THINGS, max_size=3),
    weight=st.floats(allow_nan=False, allow_infinity=False),
    count=st.none() | st.integers(),
    kind=st.sampled_from(["open", "shut", 3]),
    labels=st.dictionaries(st.text(), st.booleans(), max_size=2),
    note=st.none() | st.lists(st.integers()),
)


def plain(value):
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, list):
        return [plain(one) for one in value]
    if hasattr(value, "__dataclass_fields__"):
        return {name: plain(getattr(value, name)) for name in value.__dataclass_fields__}
    return value


@given(BOXES)
def test_a_value_written_as_json_fits_its_schema_and_is_read_back(box):
    document = plain(box)
    jsonschema.validate(document, json_schema(Box))
    assert read(Box, json.dumps(document)) == box


@given(BOXES, st.sampled_from(list(Box.__dataclass_fields__)), st.integers(0, 9))
def test_what_the_schema_refuses_is_refused_and_nothing_else(box, name, kind):
    document = plain(box)
    strange = [None, True, 5, 2.5, "x", [], {}, [{"name": 3}], {"a": 1}, "open"]
    document[name] = strange[kind]
    valid = not list(jsonschema.Draft202012Validator(json_schema(Box)).iter_errors(document))
    if valid:
        assert plain(read(Box, json.dumps(document))) == document
    else:
        with pytest.raises(SchemaError, match=rf"does not fit Box: \$.{name}"):
            read(Box, json.dumps(document))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"things": [], "weight": 1', "no JSON"),
        ("[" * 100_000, "no JSON"),
        ('{"things": []}', "missing 1 required"),
        ('{"things": [], "weight": 1, "wait": 2}', "member 'wait'"),
        ("[]", r"\$ is \[\], not an object"),
    ],
)
def test_what_is_wrong_is_named(text, says):
    with pytest.raises(SchemaError, match=says):
        read(Box, text)


def test_a_whole_float_is_an_integer_as_in_json():
    assert read(Box, '{"things": [], "weight": 1, "count": 2.0}').count == 2
    assert type(read(Box, '{"things": [], "weight": 1}').weight) is float


def test_a_type_without_a_schema_is_refused_by_name():
    with pytest.raises(UnsupportedError, match="complex"):
        json_schema(complex)


def test_a_pydantic_model_brings_its_own():
    pydantic = pytest.importorskip("pydantic")

    class Point(pydantic.BaseModel):
        x: int

    assert json_schema(Point)["required"] == ["x"]
    assert read(Point, '{"x": 3}').x == 3
    with pytest.raises(SchemaError, match="Point"):
        read(Point, '{"x": "three"}')


def test_a_schema_is_taken_as_it_is():
    schema = {"type": "array"}
    assert json_schema(schema) is schema and read(schema, "[1]") == [1]
