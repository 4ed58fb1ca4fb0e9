"""`multipleOf` is about the decimal numbers that were written: who agrees, and who rounds."""

import json
import random
from fractions import Fraction
from typing import Any

import pytest

from refimpl.grammar.assertions import SchemaOptions
from refimpl.grammar.closing import Closing
from refimpl.grammar.json_grammar import JsonGrammar
from refimpl.grammar.json_states import Layout
from refimpl.grammar.machine import Machine
from refimpl.grammar.schema import SchemaReader

jsonschema = pytest.importorskip("jsonschema")


def exactly(text: str) -> Any:
    """JSON with the numbers that were written, not the doubles nearest to them."""
    return json.loads(text, parse_float=Fraction)


def machine_of(schema: Any) -> Machine:
    return Machine(JsonGrammar(SchemaReader(schema, SchemaOptions()), Layout()))


def some_number(machine: Machine, rnd: random.Random) -> str:
    state, text = machine.start, ""
    for _ in range(rnd.randrange(1, 20)):
        able = [b for b in b"-0123456789.eE+" if machine.step(state, b) is not None]
        if not able:
            break
        text += chr(byte := rnd.choice(able))
        state = machine.step(state, byte) or state
    rest = Closing(machine).rest(state)
    assert rest is not None
    return text + rest.decode()


@pytest.mark.parametrize("step", [3, 7, 0.5, 2.5, 0.01, 0.007])
def test_a_multiple_is_valid_read_exactly_and_in_doubles_if_they_lose_nothing(step: float):
    schema, rnd = {"type": "number", "multipleOf": step}, random.Random(step)
    machine = machine_of(schema)
    exact = jsonschema.Draft202012Validator(exactly(json.dumps(schema)))
    rounded = jsonschema.Draft202012Validator(schema)
    for _ in range(80):
        text = some_number(machine, rnd)
        assert exact.is_valid(exactly(text))
        if Fraction(step) == Fraction(str(step)):
            assert rounded.is_valid(json.loads(text))


@pytest.mark.parametrize(("step", "text"), [(0.01, "0.07"), (0.1, "0.3"), (0.05, "1.15")])
def test_a_validator_that_divides_doubles_refuses_what_is_right(step: float, text: str):
    machine = machine_of(schema := {"multipleOf": step})
    end = machine.advance(machine.start, text.encode())
    assert end is not None and machine.accepts(end)
    assert jsonschema.Draft202012Validator(exactly(json.dumps(schema))).is_valid(exactly(text))
    assert not jsonschema.Draft202012Validator(schema).is_valid(json.loads(text))
