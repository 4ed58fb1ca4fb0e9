"""Arrays whose items must differ, against all documents there are."""

import json
import random
from itertools import permutations
from typing import Any

import pytest

from refimpl.errors import UnsupportedError
from refimpl.grammar.closing import Closing
from refimpl.grammar.constraint import compile_json_schema
from refimpl.grammar.json_states import Layout, UnsatisfiableError
from refimpl.grammar.masks import Vocabulary, unpack
from tests.unit.grammar.documents import (
    BIT,
    UNIQUE,
    ZERO,
    accepts,
    arrays,
    machine_of,
    objects,
    pair,
    spelled,
    texts,
)

BITS = [False, True]
PAIRS = [*objects([False, True, 0]), {"c": 0}, 0, True]
LISTS = [*arrays(BITS, 3), {}]
NESTED = [{"a": v, **b} for v in arrays(BITS, 2) for b in ({}, {"b": []}, {"b": [False]})]
DEEP = [[a, b] for a in objects(BITS) for b in (*objects([False], "b"), [])]
FEW = [True, False, 0, [], {"a": 0}]
# The schema of the items, what else is said of the array, and values among which all items are.
FINITE: dict[str, tuple[Any, dict[str, Any], list[Any]]] = {
    "pairs": (pair(), {}, PAIRS),
    "all pairs": (pair(), {"minItems": 2}, PAIRS),
    "some have one member": (pair(required=["b"]), {"minItems": 3}, PAIRS),
    "no member is required": (pair(required=[]), {"minItems": 2, "maxItems": 2}, PAIRS),
    "one or two members": (pair(required=[], minProperties=1), {"maxItems": 3}, PAIRS),
    "one member at most": (pair(required=[], maxProperties=1), {"minItems": 3}, PAIRS),
    "keys by pattern": (
        {"type": "object", "patternProperties": {"^[ab]$": BIT}, "additionalProperties": False,
         "maxProperties": 1}, {"minItems": 4}, objects(BITS)),
    "members or not": (
        {"anyOf": [pair(), pair(required=["a"]), {"const": 0}]}, {"minItems": 3}, PAIRS),
    "one of": ({"oneOf": [pair(required=["a"]), pair(required=["b"])]}, {"minItems": 2}, PAIRS),
    "a member that is not": (
        pair(required=[], **{"not": {"properties": {"a": {"const": True}}}}), {}, PAIRS),
    "if": (pair(required=["a"], **{"if": {"properties": {"a": {"const": True}}},
                                   "then": {"required": ["b"]}}), {"minItems": 2}, PAIRS),
    "none is the constant": (
        {"allOf": [pair(required=["a"]), {"not": {"const": {"a": True, "b": 0}}}]},
        {"minItems": 3}, PAIRS),
    "enum": ({"enum": [{"a": 0}, {"a": 0, "b": 0}, [0], [0, 0], [], {}, 0]},
             {"minItems": 4, "maxItems": 4}, [*objects([0]), *arrays([0], 2), 0]),
    "lists": ({"type": "array", "items": BIT, "maxItems": 2}, {"maxItems": 3}, LISTS),
    "all lists": ({"type": "array", "items": BIT, "maxItems": 1}, {"minItems": 3}, LISTS),
    "lists of a length": ({"type": "array", "items": BIT, "minItems": 2, "maxItems": 2},
                          {"minItems": 4}, LISTS),
    "tuples": ({"type": "array", "prefixItems": [BIT, ZERO], "items": False}, {"minItems": 3},
               [*LISTS, [0], [True, 0], [False, 0]]),
    "lists that contain": (
        {"type": "array", "items": BIT, "maxItems": 2, "contains": {"const": True}},
        {"maxItems": 3}, LISTS),
    "lists that contain one": (
        {"type": "array", "items": BIT, "minItems": 2, "maxItems": 2, "contains": {"const": True},
         "maxContains": 1}, {}, LISTS),
    "lists of unlike": ({**UNIQUE, "items": BIT}, {"maxItems": 3}, LISTS),
    "lists of two unlike": ({**UNIQUE, "items": BIT, "minItems": 2}, {"minItems": 2}, LISTS),
    "one is a list of two": (
        {"type": "array", "items": BIT, "maxItems": 2},
        {"contains": {"const": [True, False]}, "maxItems": 3}, LISTS),
    "slots": ({"type": "array", "items": BIT, "maxItems": 1},
              {"prefixItems": [{"enum": [[True], [False]]}, {"const": [True]}], "maxItems": 3},
              LISTS),
    "lists in objects": (
        {"type": "object", "properties": {"a": {"type": "array", "items": BIT, "maxItems": 2},
                                          "b": {"enum": [[], [False]]}},
         "required": ["a"], "additionalProperties": False}, {"maxItems": 2}, NESTED),
    "objects in lists": (
        {"type": "array", "prefixItems": [pair(required=[], properties={"a": BIT}),
                                          {"enum": [{"b": False}, []]}], "minItems": 2,
         "items": False}, {"maxItems": 2}, DEEP),
    "two of a few": (
        {"enum": FEW}, {"contains": {"enum": [True, [], 1]}, "minContains": 2, "maxItems": 3}, FEW),
    "two of a few among four": (
        {"enum": FEW}, {"contains": {"enum": [True, []]}, "minContains": 2, "minItems": 4}, FEW),
    "one of a few at most": (
        {"enum": FEW}, {"contains": {"enum": [True, [], 0]}, "maxContains": 1, "minItems": 2}, FEW),
    "none of a few": (
        {"enum": FEW}, {"contains": {"enum": [True, []]}, "minContains": 0, "maxContains": 0,
                        "minItems": 3}, FEW),
    "one of a few of a few": (
        {"enum": FEW}, {"contains": {"enum": [0, True]}, "minItems": 3, "maxItems": 4}, FEW),
    "two ways to contain": (
        {"enum": FEW}, {"allOf": [{"contains": {"enum": [True, [], 0]}, "minContains": 2},
                                  {"contains": {"enum": [0, False]}, "minContains": 2}],
                        "maxItems": 4}, FEW),
    "three must share two places": (
        {"enum": FEW}, {"allOf": [{"contains": {"enum": [True, []]}},
                                  {"contains": {"enum": [[], 0]}},
                                  {"contains": {"enum": [0, True]}, "maxContains": 1}],
                        "maxItems": 2}, FEW),
    "slots, and two of a few": (
        {"enum": FEW}, {"prefixItems": [{"enum": [True, 0]}, {"enum": [0, []]}], "maxItems": 4,
                        "contains": {"enum": [0, [], False]}, "minContains": 3}, FEW),
    "two lists of one": (
        {"type": "array", "items": BIT, "maxItems": 2},
        {"contains": {"minItems": 1, "maxItems": 1}, "minContains": 2, "maxItems": 3}, LISTS),
    "one list of two at most": (
        {"type": "array", "items": BIT, "minItems": 1, "maxItems": 2},
        {"contains": {"minItems": 2}, "maxContains": 1, "minItems": 3}, LISTS),
    "objects, two of them with b": (
        pair(required=["a"]), {"contains": {"required": ["b"]}, "minContains": 2, "minItems": 3},
        PAIRS),
    "sets that contain two": (
        {**UNIQUE, "items": {"enum": [0, True, False]}, "contains": BIT, "minContains": 2,
         "maxItems": 2}, {"minItems": 2},
        [[], *([a, b] for a in (0, True, False) for b in (0, True, False))]),
}  # fmt: skip


@pytest.mark.parametrize("name", FINITE)
def test_the_texts_are_all_those_that_are_valid(name: str):
    jsonschema = pytest.importorskip("jsonschema")
    items, more, values = FINITE[name]
    one = jsonschema.Draft202012Validator(items)
    schema = {**UNIQUE, "items": items, **more}
    whole = jsonschema.Draft202012Validator(schema)
    able = [v for v in values if one.is_valid(v) or "prefixItems" in more]
    most = min(more.get("maxItems", len(able)), len(able))
    documents = (list(d) for n in range(most + 1) for d in permutations(able, n))
    right = {text for d in documents if whole.is_valid(d) for text in spelled(d)}
    machine = machine_of(schema, white_space=0)
    assert sorted(texts(machine, b'{}[],:"abctrufels0')) == sorted(right)
    assert right


def id_and_more(**more: Any) -> dict[str, Any]:
    properties = {"id": {"type": "integer"}, **more}
    return {"type": "object", "properties": properties, "required": [*properties],
            "additionalProperties": False}  # fmt: skip


NUMBERED = {**UNIQUE, "items": id_and_more(on=BIT)}


@pytest.mark.parametrize(("schema", "text", "valid"), [
    (NUMBERED, '[{"id":1,"on":true},{"id":1,"on":false}]', True),
    (NUMBERED, '[{"id":1,"on":true},{"id":1.0,"on":true}]', False),
    (NUMBERED, '[{"id":1,"on":true},{"on":true,"id":1000e-3}]', False),
    (NUMBERED, '[{"on":true,"id":1},{"\\u0069d":1,"\\u006fn":true}]', False),
    (NUMBERED, '[{"id":1,"on":true},{"id":1,"on":false},{"id":1', False),
    (NUMBERED, '[{"id":1,"on":true},{"id":1,"on":false},{"id":10,"on":false}]', True),
    (UNIQUE, '[{"x":"a","y":[1]},{"y":[1.0],"x":"\\u0061"}]', False),
    (UNIQUE, '[{"x":"a","y":[1]},{"y":[1.0],"x":"\\u0061","z":0}]', True),
    (UNIQUE, '[{"x":"a","y":[1]},{"y":[10e-1,{}]}]', True),
    (UNIQUE, '[[1,{"a":[]}],[1.0,{"a":[]}]]', False),
    (UNIQUE, '[[1,{"a":[]}],[1.0,{"a":[]},null]]', True),
    (UNIQUE, '[{},{ }]', False),
    (UNIQUE, '[[],[ ]]', False),
    (UNIQUE, '[[],{},0,"",null,false,[0],[null]]', True),
    (UNIQUE, '[0,-0.0]', False),
    (UNIQUE, '[0,false,[0],[false],{"a":0},{"a":false}]', True),
    (UNIQUE, '[[0.1],[0.1000000000000000000000001]]', False),  # the same double
    (UNIQUE, '[[1e999],[2e999]]', False),  # both are read as infinite
    (UNIQUE, '[{"a":1,"a":2},{"a":2}]', False),
])  # fmt: skip
def test_values_are_compared_and_not_their_spellings(schema: Any, text: str, valid: bool):
    assert accepts(machine_of(schema), text) is valid


TAGGED = {"anyOf": [id_and_more(tag={"enum": ["a", "b"]}), id_and_more(),
                    {"type": "array", "items": {"enum": [0, 1, "a"]}, "minItems": 1}]}  # fmt: skip
WALKED: dict[str, Any] = {
    "anything": UNIQUE,
    "tagged": {**UNIQUE, "items": TAGGED, "minItems": 4},
    "tagged, in order": {**UNIQUE, "items": TAGGED, "minItems": 4},
    "counted keys": {**UNIQUE, "minItems": 3, "items": {
        "type": "object", "patternProperties": {"^[a-c]$": BIT}, "minProperties": 2,
        "additionalProperties": False}},
    "sets of pairs": {**UNIQUE, "minItems": 2, "items": {**UNIQUE, "items": pair(), "minItems": 1}},
    "matrix": {**UNIQUE, "minItems": 5, "items": {**UNIQUE, "minItems": 2, "items": {
        "type": "array", "items": {"enum": [0, 1]}, "minItems": 1, "maxItems": 2}}},
    "lists of any length": {**UNIQUE, "minItems": 5, "items": {"type": "array", "items": ZERO}},
    "no constants": {**UNIQUE, "minItems": 3, "contains": {"const": [1]}, "items": {
        "anyOf": [id_and_more(), {"enum": [[0], [1]]}], "not": {"const": {"id": 0}}}},
    "three of ten": {**UNIQUE, "minItems": 2, "contains": {"enum": [*range(9), True]},
                     "minContains": 3, "maxContains": 4},
    "some and some": {**UNIQUE, "items": TAGGED, "allOf": [
        {"contains": {"type": "array"}, "minContains": 2},
        {"contains": {"enum": [[0], [1], {"id": 0}]}, "minContains": 2, "maxContains": 3}]},
    "two ways": {"anyOf": [{**UNIQUE, "items": pair(required=[])}, {"items": pair()}],
                 "minItems": 2, "maxItems": 6},
}  # fmt: skip


@pytest.mark.parametrize("name", WALKED)
def test_walks_end_and_are_valid(name: str):
    """Random bytes as long as there are some, then the way home, as often as a test may last."""
    jsonschema = pytest.importorskip("jsonschema")
    judge = jsonschema.Draft202012Validator(WALKED[name])
    machine = machine_of(WALKED[name], white_space=0, in_order="order" in name)
    closing, rnd = Closing(machine), random.Random(name)
    for _ in range(20):
        state, text = machine.start, b""
        for _ in range(rnd.randint(1, 90)):
            able = [(b, s) for b in LETTERS if (s := machine.step(state, b)) is not None]
            if not able:
                break
            byte, state = rnd.choice(able)
            text += bytes((byte,))
        rest = closing.rest(state)
        assert rest is not None, text
        assert judge.is_valid(json.loads(text + rest)), text + rest
        assert accepts(machine, (text + rest).decode())


LETTERS = b'[]{}[]{},,::""01abidontagrue'


def test_an_array_of_thousands_goes_on_and_ends(vocabulary: Vocabulary):
    """What is told apart is looked up: the states inside an item are as few as for the first."""
    schema = {**UNIQUE, "items": id_and_more(name={"type": "string"}), "minItems": 2000}
    c = compile_json_schema(schema, vocabulary, layout=Layout(white_space=0))
    machine = c.machine
    state, known = machine.advance(machine.start, b"["), []
    for i in range(2000):
        known.append(len(machine.locals))
        item = b',{"id":%d,"name":"n%d"}' % (i, i // 2)
        assert state is not None
        state = machine.advance(state, item[i == 0 :])
    assert known[-1] - known[-2] == known[1000] - known[999]
    assert state is not None and Closing(machine).rest(state) == b"]"
    again = b',{"name":"n999","id":'
    before = machine.advance(state, again)
    assert before is not None
    ids = (b"1998", b"1998.0", b"1.999e3", b"1997", b"2000", b"1.9985e3")
    assert [machine.advance(before, b"%s}" % i) is not None for i in ids] == [
        False, False, False, True, True, False]  # fmt: skip
    assert Closing(machine).rest(before) == b"0}]"
    unpacked = unpack(c.mask(before), len(vocabulary.tokens))
    assert unpacked[1 + ord("1")] and not unpacked[1 + ord('"')]


@pytest.mark.parametrize("schema", [
    {"items": pair(), "minItems": 3},
    {"items": {"enum": [0, 1]}, "minItems": 3},
    {"contains": {"enum": [0, 1]}, "minContains": 3},
    {"contains": {"enum": [[0], [1]]}, "minContains": 3},
    {"contains": pair(), "minContains": 3},
    {"items": {"enum": [0, 1, 2]}, "contains": {"const": 0}, "maxContains": 0, "minItems": 3},
    {"items": {"type": "array", "prefixItems": [BIT, ZERO], "items": False}, "minItems": 6},
    {"items": {**UNIQUE, "items": {**UNIQUE, "items": BIT, "minItems": 2}}, "minItems": 6},
])  # fmt: skip
def test_too_few_values_are_found_before_anything_is_generated(schema: dict[str, Any]):
    with pytest.raises(UnsatisfiableError):
        machine_of({**UNIQUE, **schema})
    left = machine_of({"anyOf": [{**UNIQUE, **schema}, {"const": 0}]}, white_space=0)
    assert list(texts(left, b"[]{}01truefals")) == ["0"]


def test_values_that_hold_values_of_their_kind_are_not_counted():
    schema = {"$ref": "#/$defs/set", "$defs": {"set": {
        **UNIQUE, "minItems": 2, "items": {"anyOf": [ZERO, {"$ref": "#/$defs/set"}]}}}}  # fmt: skip
    with pytest.raises(UnsupportedError, match="nested in themselves"):
        machine_of(schema)


def test_what_one_item_took_no_other_is_waited_for():
    """A way in which the only 1 was not counted is no way, and the text that waits for it ends."""
    machine = machine_of({**UNIQUE, "contains": {"const": [1]}, "minItems": 3}, white_space=0)
    state = machine.advance(machine.start, b"[[1")
    assert state is not None and Closing(machine).rest(state) == b"],0,1]"
