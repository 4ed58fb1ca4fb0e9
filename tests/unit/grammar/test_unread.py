"""What must differ from what was read: its ways home are those of the slow definition."""

import json
import random
from typing import Any

import numpy as np
import pytest

from refimpl.grammar import closing
from refimpl.grammar.closing import Closing
from refimpl.grammar.constraint import compile_json_schema
from refimpl.grammar.in_time import InTime, Needs
from refimpl.grammar.json_states import Layout
from refimpl.grammar.machine import Machine, State
from refimpl.grammar.masks import Vocabulary, unpack

UNIQUE: dict[str, Any] = {"type": "array", "uniqueItems": True}
ONE_OF_TWO = [{"properties": {"a": {"type": "integer"}}, "required": ["a"]},
              {"properties": {"a": {"enum": ["x", "y"]}, "c": {"enum": [1, 2]}},
               "required": ["a", "c"]}]  # fmt: skip
SCHEMAS: dict[str, Any] = {
    "strings": {**UNIQUE, "items": {"type": "string"}},
    "three strings": {**UNIQUE, "minItems": 3, "items": {"type": "string"}},
    "strings or integers": {**UNIQUE, "minItems": 3, "items": {"type": ["string", "integer"]}},
    "words": {**UNIQUE, "minItems": 3, "items": {"enum": ["a", "b", "ccc", "ddddd"]}},
    "both": {**UNIQUE, "minItems": 2, "maxItems": 2, "items": {"type": "boolean"}},
    "numbers": {**UNIQUE, "minItems": 3, "items": {"type": "number", "minimum": 0, "maximum": 5}},
    "arrays": {**UNIQUE, "minItems": 2, "items": {"type": "array", "items": {"type": "integer"}}},
    "sets of sets": {**UNIQUE, "items": {**UNIQUE, "minItems": 2, "items": {"type": "integer"}}},
    "objects": {**UNIQUE, "minItems": 2, "items": {"type": "object", "anyOf": ONE_OF_TWO}},
    "one of two": {**UNIQUE, "minItems": 2, "anyOf": [
        {"items": {"type": "string"}}, {"items": {"enum": ["a", 1, 2, 3]}, "maxItems": 3}]},
    "counted keys": {
        "type": "object", "minProperties": 3, "additionalProperties": {"type": "integer"},
        "propertyNames": {"pattern": "^[a-c]{1,2}$"}},
    "all keys there are": {
        "type": "object", "minProperties": 3, "additionalProperties": False,
        "patternProperties": {"^[ab]$": {"const": 0}, "^c$": {"const": "xxxx"}}},
    "counted keys in a set": {**UNIQUE, "items": {
        "type": "object", "minProperties": 2, "additionalProperties": False,
        "patternProperties": {"^[ab]": {"const": 0}}}},
    "a member that is not": {
        "type": "object", "not": {"additionalProperties": {"type": "integer"}},
        "minProperties": 2},
}  # fmt: skip
JSON_LETTERS = b'"[]{},:01abc'


def machine_of(name: str, vocabulary: Vocabulary) -> Machine:
    layout = Layout(white_space=1)
    return compile_json_schema(SCHEMAS[name], vocabulary, layout=layout).machine


def random_states(machine: Machine, rnd: random.Random, length: int) -> list[State]:
    """The states on one way through a document."""
    states = [machine.start]
    for _ in range(length):
        able = [b for b in range(256) if machine.step(states[-1], b) is not None]
        likely = [b for b in able if b in JSON_LETTERS]
        if not able:
            break
        after = machine.step(states[-1], rnd.choice(likely or able))
        assert after is not None
        states.append(after)
    return states


@pytest.fixture
def searched(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The slow definition: the rest of a state, searched with all that was read."""

    def rest(slow: Closing, state: State) -> bytes | None:
        with monkeypatch.context() as m:
            m.setattr(closing, "unread", lambda machine, state: None)
            return slow.rest(state)

    return rest


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_way_home_is_as_short_as_if_all_that_was_read_were_known(
    name: str, vocabulary: Vocabulary, searched: Any
):
    machine, rnd = machine_of(name, vocabulary), random.Random(name)
    fast, slow = Closing(machine), Closing(machine)
    for _ in range(3):
        for state in random_states(machine, rnd, 25):
            rest, known = fast.rest(state), searched(slow, state)
            assert rest is not None and known is not None
            assert len(rest) == len(known)
            end = machine.advance(state, rest)
            assert end is not None and machine.accepts(end)


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_mask_in_time_is_that_of_the_slow_definition(
    name: str, vocabulary: Vocabulary, searched: Any
):
    """Asked about some tokens at each step, until all are used up; the document is complete."""
    c = compile_json_schema(SCHEMAS[name], vocabulary, layout=Layout(white_space=1))
    needs, slow, rnd = Needs(c), Closing(c.machine), random.Random(name)
    in_time = InTime(needs, needs.bytes_of(c.machine.start) + 7)
    state = in_time.start
    while state[2]:
        mask = unpack(in_time.mask(state), len(vocabulary.tokens))
        allowed = np.flatnonzero(mask).tolist()
        for token in rnd.sample(range(1, len(vocabulary.tokens)), 20) + rnd.choices(allowed, k=5):
            data = vocabulary.tokens[token]
            after = c.machine.advance(state[1], data) if data else None
            rest = None if after is None else searched(slow, after)
            assert token == 0 or mask[token] == (rest is not None and len(rest) < state[2])
        assert mask[0] == c.machine.accepts(state[1])
        token = rnd.choice([t for t in allowed if t] or allowed)
        if token == 0:
            break
        state = in_time.advance(state, token)
    assert c.machine.accepts(state[1])


@pytest.mark.parametrize(
    ("name", "begun"), [("strings", b'["'), ("counted keys in a set", b'[{"a')]
)
def test_more_of_a_text_makes_no_more_states(name: str, begun: bytes, vocabulary: Vocabulary):
    """A mask looks at each token, and remembers none of the texts that they make."""
    c = compile_json_schema(SCHEMAS[name], vocabulary, layout=Layout(white_space=1))
    needs, known = Needs(c), []
    for more in (b"b", b"bc", b"bcd"):
        state = c.machine.advance(c.machine.start, begun + more)
        assert state is not None
        needs.of(state)
        known.append((len(c.machine.locals), len(needs.closing._rests)))
    assert known[1] == known[2]


def test_values_that_are_equal_are_so_however_they_are_spelled(vocabulary: Vocabulary):
    """A second `1.0` would be the `1` that the shortest end goes on to write."""
    schema = {**UNIQUE, "minItems": 2, "items": {"enum": [1, 22, 333]}}
    machine = compile_json_schema(schema, vocabulary, layout=Layout(white_space=0)).machine
    ends = {}
    for text in (b"[333", b"[1.0", b"[22.0", b"[1e0"):
        state = machine.advance(machine.start, text)
        assert state is not None
        ends[text] = Closing(machine).rest(state)
    assert ends == {b"[333": b",1]", b"[1.0": b",22]", b"[22.0": b",1]", b"[1e0": b",22]"}


def test_strings_that_must_differ_are_never_refused_halfway(vocabulary: Vocabulary):
    """Each can be told from the others, however many there are and whatever their language."""
    for items in ({"type": "string"}, {"maxLength": 5, "type": "string"}, {"pattern": "^a+$"},
                  {"type": "string", "format": "date"}):  # fmt: skip
        schema = {**UNIQUE, "minItems": 3, "items": {"type": "string", **items}}
        machine = compile_json_schema(schema, vocabulary).machine
        rest = Closing(machine).rest(machine.start)
        assert rest is not None and len(set(json.loads(rest))) == 3
    few = {**UNIQUE, "minItems": 3, "items": {"type": "string", "pattern": "^[ab]?$"}}
    machine = compile_json_schema(few, vocabulary).machine
    rest = Closing(machine).rest(machine.start)
    assert rest is not None and set(json.loads(rest)) == {"", "a", "b"}


LATE = [("three strings", b'["a","b","c","d'), ("strings or integers", b'[1,"b",3,4'),
        ("counted keys", b'{"a":1,"b":2,"c":3,"ab'), ("counted keys", b'{"a'),
        ("sets of sets", b"[[1,2],[2,3"), ("counted keys in a set", b'[{"a":0,"b":0},{"a'),
        ("words", b'["ccc","a'), ("a member that is not", b'{"a":1,"b":null,"c')]  # fmt: skip


@pytest.mark.parametrize(("name", "begun"), LATE)
def test_every_token_needs_what_the_slow_definition_says(
    name: str, begun: bytes, vocabulary: Vocabulary, searched: Any
):
    """Those too that end one item or member and begin the next."""
    c = compile_json_schema(SCHEMAS[name], vocabulary, layout=Layout(white_space=1))
    needs, slow = Needs(c), Closing(c.machine)
    state = c.machine.advance(c.machine.start, begun)
    assert state is not None
    need = needs.of(state)
    for token, data in enumerate(vocabulary.tokens):
        after = c.machine.advance(state, data) if data else None
        if after is not None:
            rest = searched(slow, after)
            assert rest is not None and need.bytes[need.group[token]] == len(rest), data
            assert len(needs.closing.rest(needs.follow(state, data)) or b"") == len(rest)
