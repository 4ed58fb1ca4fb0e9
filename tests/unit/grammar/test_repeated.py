"""Arrays that must hold two equal items: `uniqueItems` under `not`, against all documents."""

import json
import random
from itertools import product
from typing import Any

import pytest

from refimpl.errors import UnsupportedError
from refimpl.grammar.closing import Closing
from refimpl.grammar.constraint import compile_json_schema
from refimpl.grammar.in_time import InTime, Needs
from refimpl.grammar.json_states import Layout, UnsatisfiableError
from refimpl.grammar.masks import Vocabulary, unpack
from tests.unit.grammar.documents import (
    BIT,
    UNIQUE,
    ZERO,
    accepts,
    machine_of,
    pair,
    spelled,
    texts,
)

REPEATED: dict[str, Any] = {"type": "array", "not": {"uniqueItems": True}}
LETTERS = b'{}[]:,"ab0123'
EITHER = {"enum": [0, 1]}
DIGITS = [0, 1, 2]
PAIRS = [{"a": a, "b": 0} for a in (0, 1)]
LISTS = [[], [0], [1], [0, 1], [0, 0]]
# A schema, values among which the items of its documents are, and how many items these may have.
FINITE: dict[str, tuple[Any, list[Any], int]] = {
    "of three": ({**REPEATED, "items": {"enum": DIGITS}, "maxItems": 3}, DIGITS, 3),
    "of two": ({**REPEATED, "items": EITHER, "maxItems": 4}, [0, 1], 4),
    "two": ({**REPEATED, "items": {"enum": DIGITS}, "maxItems": 2}, DIGITS, 2),
    "four": ({**REPEATED, "items": {"enum": DIGITS}, "minItems": 4, "maxItems": 4}, DIGITS, 4),
    "slots": ({**REPEATED, "prefixItems": [EITHER, {"enum": [2]}, {"enum": [1, 2]}],
               "items": False}, DIGITS, 3),
    "slots and more": ({**REPEATED, "prefixItems": [EITHER, {"const": 2}],
                        "items": {"enum": [0, 3]}, "maxItems": 4}, [*DIGITS, 3], 4),
    "the first again": ({**REPEATED, "prefixItems": [{"enum": DIGITS}, {"const": 3}],
                         "items": {"enum": [1, 2]}, "maxItems": 3}, [*DIGITS, 3], 3),
    "one 0": ({**REPEATED, "items": {"enum": DIGITS}, "maxItems": 4, "contains": ZERO,
               "maxContains": 1}, DIGITS, 4),
    "two that are not 2": ({**REPEATED, "items": {"enum": DIGITS}, "maxItems": 3, "minContains": 2,
                            "contains": EITHER}, DIGITS, 3),
    "all but two counted": ({**REPEATED, "items": {"enum": DIGITS}, "maxItems": 4, "allOf": [
        {"contains": ZERO}, {"contains": EITHER, "maxContains": 2}]}, DIGITS, 4),
    "objects": ({**REPEATED, "items": pair(properties={"a": EITHER, "b": ZERO}), "maxItems": 3},
                PAIRS, 3),
    "objects and lists": ({**REPEATED, "items": {"enum": [{"a": 0, "b": 1}, [0], [], {}]},
                           "maxItems": 3}, [{"a": 0, "b": 1}, [0], [], {}], 3),
    "lists": ({**REPEATED, "items": {"type": "array", "items": EITHER, "maxItems": 1},
               "maxItems": 3}, LISTS, 3),
    "twice": ({**REPEATED, "maxItems": 2, "items": {
        **REPEATED, "items": EITHER, "maxItems": 2}}, [[0, 0], [1, 1], [0, 1], [0]], 2),
    "different lists of equals": ({**UNIQUE, "minItems": 2, "maxItems": 2, "items": {
        **REPEATED, "items": EITHER, "maxItems": 3}},
        [list(v) for n in (2, 3) for v in product((0, 1), repeat=n)], 2),
    "equal lists of different ones": ({**REPEATED, "maxItems": 3, "items": {
        **UNIQUE, "items": EITHER}}, [[], [0], [1], [0, 1], [1, 0]], 3),
    "both ways": ({"type": "array", "items": {"enum": DIGITS}, "maxItems": 3, "anyOf": [
        {"not": {"uniqueItems": True}}, {"uniqueItems": True, "minItems": 3}]}, DIGITS, 3),
    "one way": ({"type": "array", "items": {"enum": DIGITS}, "maxItems": 3, "oneOf": [
        {"uniqueItems": True}, {"contains": ZERO}]}, DIGITS, 3),
    "if": ({"type": "array", "items": {"enum": DIGITS}, "maxItems": 3, "if": {"uniqueItems": True},
            "then": {"maxItems": 2}, "else": {"contains": ZERO}}, DIGITS, 3),
    "not a set of few": ({"type": "array", "items": {"enum": DIGITS}, "maxItems": 3,
                          "not": {"uniqueItems": True, "items": EITHER}}, DIGITS, 3),
    "not not": ({"type": "array", "items": {"enum": DIGITS}, "maxItems": 3,
                 "not": {"not": {"uniqueItems": True}}}, DIGITS, 3),
    "no array is not a set": ({"not": {"uniqueItems": True}, "type": ["array", "string"],
                               "items": EITHER, "maxItems": 2}, [0, 1], 2),
}  # fmt: skip


@pytest.mark.parametrize("name", FINITE)
def test_the_texts_are_all_those_that_are_valid(name: str):
    jsonschema = pytest.importorskip("jsonschema")
    schema, values, most = FINITE[name]
    judge = jsonschema.Draft202012Validator(schema)
    documents = (list(d) for n in range(most + 1) for d in product(values, repeat=n))
    right = {text for d in documents if judge.is_valid(d) for text in spelled(d)}
    assert sorted(texts(machine_of(schema, white_space=0), LETTERS)) == sorted(right)
    assert right


def few(rnd: random.Random) -> Any:
    return {"enum": rnd.sample(DIGITS, rnd.randint(1, 3))}


def counted(rnd: random.Random) -> Any:
    bounds = {"minContains": rnd.randint(0, 3), "maxContains": rnd.randint(0, 3)}
    return {"contains": few(rnd), **{k: n for k, n in bounds.items() if rnd.random() < 0.6}}


def some_array(rnd: random.Random) -> Any:
    """Any array of a few digits, with whatever can be said of their number."""
    said = {"prefixItems": [few(rnd) for _ in range(rnd.randint(1, 2))], **counted(rnd),
            "allOf": [counted(rnd)], "minItems": rnd.randint(1, 3), "items": few(rnd),
            "not": {"uniqueItems": True}}  # fmt: skip
    chosen = {k: v for k, v in said.items() if rnd.random() < 0.6}
    unique = {"uniqueItems": True} if "not" not in chosen else {}
    return {"type": "array", "items": {"enum": DIGITS}, "maxItems": rnd.randint(2, 4),
            **chosen, **unique}  # fmt: skip


@pytest.mark.parametrize("seed", range(60))
def test_random_arrays_that_count_and_compare(seed: int):
    jsonschema = pytest.importorskip("jsonschema")
    rnd = random.Random(seed)
    schema = some_array(rnd)
    if seed % 3 == 0:
        schema = {rnd.choice(["anyOf", "oneOf"]): [schema, some_array(rnd)]}
    judge = jsonschema.Draft202012Validator(schema)
    documents = (list(d) for n in range(5) for d in product(DIGITS, repeat=n))
    right = sorted(json.dumps(d, separators=(",", ":")) for d in documents if judge.is_valid(d))
    if right:
        assert sorted(texts(machine_of(schema, white_space=0), LETTERS)) == right
    else:
        with pytest.raises(UnsatisfiableError):
            machine_of(schema)


ID = {"type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"]}


@pytest.mark.parametrize(("schema", "text", "valid"), [
    (REPEATED, "[1,1]", True),
    (REPEATED, "[1,1.0]", True),
    (REPEATED, "[10,true,100e-1]", True),
    (REPEATED, "[1,true]", False),
    (REPEATED, "[]", False),
    (REPEATED, "[[1,2],[2,1]]", False),
    (REPEATED, '["a","\\u0061"]', True),
    (REPEATED, '[{"a":1,"b":[2]},{"b":[2.0],"a":1}]', True),
    (REPEATED, '[{"a":1},{"a":1,"b":0},{"a":2},{"a":1e0}]', True),
    ({"not": {"uniqueItems": True}}, "1", False),
    ({"not": {"uniqueItems": False}}, "[1,1]", False),
    ({**REPEATED, "maxItems": 2, "items": ID}, '[{"id":7},{"id":7', True),
    ({**REPEATED, "maxItems": 2, "items": ID}, '[{"id":7},{"id":8', False),
    ({**REPEATED, "maxItems": 2, "items": ID}, '[{"id":7},{"no', False),
    ({**REPEATED, "maxItems": 2, "items": ID}, '[{"no":0,"id":7},{"id":7.0,"no', True),
    ({**REPEATED, "maxItems": 2, "items": {"type": "string"}}, '["a","b', False),
    ({**REPEATED, "maxItems": 3, "items": {"type": "string"}}, '["a","b","\\u0062', True),
    ({**REPEATED, "prefixItems": [BIT, {"type": "string"}], "items": False}, "[", None),
])  # fmt: skip
def test_values_are_compared_and_not_their_spellings(schema: Any, text: str, valid: bool | None):
    """None: nothing satisfies the schema; a text that is not whole is one that can go on."""
    if valid is None or schema == {"not": {"uniqueItems": False}}:
        with pytest.raises(UnsatisfiableError):
            machine_of(schema)
    else:
        machine = machine_of(schema)
        whole = text[-1] in "]1"
        able = accepts(machine, text) if whole else machine.advance(machine.start, text.encode())
        assert bool(able) is valid


WALKED: dict[str, Any] = {
    "anything": REPEATED,
    "strings": {**REPEATED, "items": {"type": "string"}, "maxItems": 4},
    "objects": {**REPEATED, "items": ID, "minItems": 2, "maxItems": 3},
    "numbers": {**REPEATED, "items": {"type": "number"}, "maxItems": 3},
    "sets": {**REPEATED, "items": {**UNIQUE, "items": {"enum": [0, 1, "a"]}}, "maxItems": 3},
    "lists of equals": {**UNIQUE, "minItems": 2, "items": {**REPEATED, "items": EITHER}},
    "counted": {**REPEATED, "contains": {"type": "integer"}, "maxContains": 1, "minItems": 4,
                "items": {"enum": [0, 1, "a", "b", "c"]}},
    "of thousands": {**REPEATED, "items": {"type": "integer"}, "maxItems": 5000, "minItems": 3},
    "either": {"type": "array", "maxItems": 4, "minItems": 2, "oneOf": [
        {"uniqueItems": True}, {"items": ID}]},
}  # fmt: skip


@pytest.mark.parametrize("name", WALKED)
def test_walks_end_and_are_valid(name: str):
    jsonschema = pytest.importorskip("jsonschema")
    judge = jsonschema.Draft202012Validator(WALKED[name])
    machine = machine_of(WALKED[name], white_space=0)
    closing, rnd = Closing(machine), random.Random(name)
    for _ in range(25):
        state, text = machine.start, b""
        for _ in range(rnd.randint(1, 60)):
            able = [(b, s) for b in b'[]{}[]{},,::""01abid"' if (s := machine.step(state, b))]
            if not able:
                break
            byte, state = rnd.choice(able)
            text += bytes((byte,))
        rest = closing.rest(state)
        assert rest is not None, text
        assert judge.is_valid(json.loads(text + rest)), text + rest
        assert accepts(machine, (text + rest).decode())


@pytest.mark.parametrize("name", ["strings", "objects", "lists of equals", "either"])
def test_a_text_ends_in_time(name: str, vocabulary: Vocabulary):
    jsonschema = pytest.importorskip("jsonschema")
    c = compile_json_schema(WALKED[name], vocabulary, layout=Layout(white_space=1))
    needs, rnd = Needs(c), random.Random(name)
    for extra in (0, 9, 20):
        in_time = InTime(needs, needs.bytes_of(c.machine.start) + extra)
        state, text = in_time.start, b""
        while state[2]:
            mask = unpack(in_time.mask(state), len(vocabulary.tokens))
            token = rnd.choice(mask.nonzero()[0].tolist())
            if token == 0:
                break
            text += vocabulary.tokens[token]
            state = in_time.advance(state, token)
        jsonschema.validate(json.loads(text), WALKED[name])


def test_what_must_be_equal_is_forced():
    machine = machine_of({**REPEATED, "items": ID, "maxItems": 2}, white_space=0)
    state = machine.advance(machine.start, b'[{"id":123,"on":[true]},{"')
    assert state is not None
    rest = Closing(machine).rest(state)
    assert rest is not None and len(rest) == len(b'id":123,"on":[true]}]')


def test_more_objects_than_there_may_be_alternatives_are_refused():
    with pytest.raises(UnsupportedError, match="more than 400 arrays or objects"):
        machine_of({**REPEATED, "items": ID, "maxItems": 401})
    assert machine_of({**REPEATED, "items": ID})
    assert machine_of({**REPEATED, "items": {"type": "integer"}, "maxItems": 401})
