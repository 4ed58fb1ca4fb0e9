"""Texts end in time, keys keep their order, and forced text changes nothing."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backends.numba.grammar import CompiledTries
from backends.numba.grammar_constraint import compile_json_schema as fast_schema
from refimpl.errors import InputError, UnsupportedError
from refimpl.grammar.closing import Closing
from refimpl.grammar.constraint import Constraint, compile_json_schema
from refimpl.grammar.forced import forced_text, forced_tokens
from refimpl.grammar.gbnf import grammar
from refimpl.grammar.in_time import InTime, Needs
from refimpl.grammar.json_states import Layout
from refimpl.grammar.machine import Machine, State
from refimpl.grammar.masks import Vocabulary, unpack
from refimpl.grammar.regex_grammar import pattern

SCHEMAS = json.loads(Path(__file__).with_name("schemas.json").read_text())["SCHEMAS"]
FEW = ["object", "not", "if", "one_of", "integer", "unique", "tree", "few_keys", "tuple"]


def allowed_of(c: Any, state: Any, size: int) -> list[int]:
    return np.flatnonzero(unpack(c.mask(state), size)).tolist()


@pytest.mark.parametrize("name", FEW)
def test_the_rest_shrinks_by_a_byte_with_each_byte(name: str, vocabulary: Vocabulary):
    machine = compile_json_schema(SCHEMAS[name], vocabulary).machine
    closing, state = Closing(machine), machine.start
    rest = closing.rest(state)
    for i, byte in enumerate(rest):
        assert len(closing.rest(state)) == len(rest) - i
        state = machine.step(state, byte)
        assert state is not None
    assert machine.accepts(state)
    json.loads(rest)


@pytest.mark.parametrize("name", FEW)
def test_a_document_is_complete_when_the_tokens_run_out(name: str, vocabulary: Vocabulary):
    jsonschema = pytest.importorskip("jsonschema")
    c, rnd = compile_json_schema(SCHEMAS[name], vocabulary), random.Random(name)
    limit = len(Closing(c.machine).rest(c.start)) + 6
    in_time = InTime(Needs(c), limit)
    state, text = in_time.start, b""
    for _ in range(limit):
        allowed = allowed_of(in_time, state, len(vocabulary.tokens))
        token = rnd.choice([t for t in allowed if t] or allowed)  # never ends of its own accord
        if token == 0:
            break
        state, text = in_time.advance(state, token), text + vocabulary.tokens[token]
    assert c.accepts(state[0])
    assert jsonschema.Draft202012Validator(SCHEMAS[name]).is_valid(json.loads(text))


SMALL = {
    "a longer value leads to a shorter text": {
        "type": "array", "minItems": 1,
        "anyOf": [{"prefixItems": [{"const": 1}, {"const": 123456}], "minItems": 2},
                  {"prefixItems": [{"const": 22}]}]},
    "one alternative requires less": {
        "type": "object", "additionalProperties": False,
        "properties": {"aa": {"const": 11}, "b": {"const": 2}},
        "anyOf": [{"required": ["aa"]}, {"required": ["b"]}]},
    "a number": {"type": "integer", "minimum": 4000, "exclusiveMaximum": 6000},
    "texts": {"type": "string", "pattern": "^(aaa|b\\n|é.)$"},
    "lengths": {"type": "string", "minLength": 2, "maxLength": 4},
    "choice": {"enum": ["yes", None, [1], {"k": 0}]},
    "contains": {"type": "array", "contains": {"const": 7}, "minContains": 2},
}  # fmt: skip


@pytest.mark.parametrize("name", SMALL)
def test_a_rest_is_the_shortest_there_is(name: str, vocabulary: Vocabulary):
    """Breadth first over all bytes, from the beginning and from states on random ways."""
    layout = Layout(white_space=0)
    machine = compile_json_schema(SMALL[name], vocabulary, layout=layout).machine
    closing, rnd = Closing(machine), random.Random(name)
    starts, state = [machine.start], machine.start
    for _ in range(6):
        bytes_ = [b for b in range(256) if machine.step(state, b) is not None]
        after = machine.step(state, rnd.choice(bytes_)) if bytes_ else None
        if after is None:
            break
        starts.append(state := after)
    for start in starts:
        level, n = {start: None}, 0
        while not any(map(machine.accepts, level)) and len(level) < 3000:
            steps = (machine.step(s, b) for s in level for b in range(256))
            level, n = dict.fromkeys(s for s in steps if s is not None), n + 1
        rest = closing.rest(start)
        assert rest is not None
        assert len(rest) == n if any(map(machine.accepts, level)) else len(rest) > n


@pytest.mark.parametrize("text", ["root ::= [a-c]+ x | \"é\" x x\nx ::= \"q\" x \"!\" | \"zzz\"",
                                  'root ::= "[" (root ("," root)+)? "]" | "true"'])  # fmt: skip
def test_a_rest_under_rules_is_the_shortest_there_is(text: str):
    machine = Machine(grammar(text))
    closing, level, n = Closing(machine), {machine.start: None}, 0
    rest = closing.rest(machine.start)
    while not any(map(machine.accepts, level)):
        steps = (machine.step(s, b) for s in level for b in range(256))
        level, n = dict.fromkeys(s for s in steps if s is not None), n + 1
    assert rest is not None and len(rest) == n
    part = machine.advance(machine.start, "é".encode()[:1]) or machine.start
    assert len(closing.rest(part) or b"") > 0


def test_half_an_escaped_character_rules_out_the_key_that_is_needed(vocabulary: Vocabulary):
    """\\u006 can become m, but not z."""
    machine = compile_json_schema(ORDERED, vocabulary).machine
    state = machine.advance(machine.start, b'{"\\u006')
    assert state is not None
    rest = Closing(machine).rest(state)
    assert rest is not None and json.loads(b'{"\\u006' + rest).keys() == {"m", "z"}


@pytest.mark.parametrize("name", ["object", "any_of", "if", "tree", "lengths", "pattern_length"])
def test_compiled_tables_close_in_time_by_the_same_masks(name: str, vocabulary: Vocabulary):
    tries, rnd = CompiledTries(vocabulary), random.Random(name)
    slow = Needs(compile_json_schema(SCHEMAS[name], vocabulary))
    fast = Needs(fast_schema(SCHEMAS[name], vocabulary, tries))
    assert not fast.is_plain
    limit = (slow.bytes_of(slow.machine.start)) + 8
    one, two = InTime(slow, limit), InTime(fast, limit)
    state, quick = one.start, two.start
    for _ in range(limit):
        mask = one.mask(state)
        assert np.array_equal(mask, two.mask(quick))
        token = rnd.choice(np.flatnonzero(unpack(mask, len(vocabulary.tokens))).tolist())
        if token == 0:
            break
        state, quick = one.advance(state, token), two.advance(quick, token)
    assert one.machine.accepts(state[1])


@pytest.mark.parametrize("name", ["object", "numbers", "unique", "contains"])
def test_a_mask_in_time_is_the_mask_less_what_cannot_be_closed(name: str, vocabulary: Vocabulary):
    needs, rnd = Needs(compile_json_schema(SCHEMAS[name], vocabulary)), random.Random(name)
    machine, start = needs.machine, needs.machine.start
    in_time = InTime(needs, needs.bytes_of(start) + 3)
    state = in_time.start
    for _ in range(12):
        mask = unpack(in_time.mask(state), len(vocabulary.tokens))
        for token, data in enumerate(vocabulary.tokens):
            after = machine.advance(state[1], data) if data else None
            expected = after is not None and needs.bytes_of(after) < state[2]
            assert mask[token] == (machine.accepts(state[1]) if token == 0 else expected)
        token = rnd.choice(np.flatnonzero(mask).tolist())
        if token == 0:
            break
        state = in_time.advance(state, token)


def test_too_little_room_is_an_error_before_the_first_token(vocabulary: Vocabulary):
    c = Constraint(grammar('root ::= "(" root ")" | "x"'), vocabulary)
    assert InTime(Needs(c), 1).start
    with pytest.raises(InputError, match="needs 5 tokens; max_tokens leaves 4"):
        InTime(Needs(Constraint(pattern("a{5}"), vocabulary)), 4)


def test_closing_needs_every_byte_as_a_token():
    vocabulary = Vocabulary.of([b"</s>", b"a"], [0])
    with pytest.raises(UnsupportedError, match="every byte"):
        InTime(Needs(Constraint(pattern("a{5}"), vocabulary)), 9)


ORDERED = {"type": "object", "required": ["z", "m"],
           "properties": {"z": {"type": "integer"}, "a": {}, "m": {"type": "integer"}}}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ('{"z":1,"a":2,"m":3}', True),
        ('{"z":1,"m":3}', True),
        ('{"a":1,"z":2,"m":3}', False),
        ('{"z":1,"m":3,"a":2}', False),
        ('{"z":1,"m":3,"q":2}', True),
        ('{"z":1,"q":3,"m":2}', False),
    ],
)
def test_keys_in_order(text: str, valid: bool, vocabulary: Vocabulary):
    machine = compile_json_schema(ORDERED, vocabulary, layout=Layout(in_order=True)).machine
    state = machine.advance(machine.start, text.encode())
    assert (state is not None and machine.accepts(state)) == valid


def test_without_escapes_a_character_has_one_spelling(vocabulary: Vocabulary):
    layout = Layout(escapes=False)
    machine = compile_json_schema({"type": "string"}, vocabulary, layout=layout).machine
    texts = [rb'"\u0061"', rb'"\/"', rb'"\ud83d\ude00"', b'"a/\xf0\x9f\x98\x80"', rb'"\n\""']
    taken = [machine.advance(machine.start, t) is not None for t in texts]
    assert taken == [False, False, False, True, True]


def only_way(machine: Machine, state: State) -> bytes:
    """The definition of forced text: while one byte alone can follow, it does."""
    out = b""
    while not machine.accepts(state):
        steps = {bytes([b]): machine.step(state, b) for b in range(256)}
        alive = [(b, s) for b, s in steps.items() if s is not None]
        if len(alive) != 1:
            break
        [(byte, state)] = alive
        out += byte
    return out


@pytest.mark.parametrize("name", FEW)
def test_compiled_tables_jump_as_the_machine_does(name: str, vocabulary: Vocabulary):
    layout, rnd = Layout(white_space=0), random.Random(name)
    slow = compile_json_schema(SCHEMAS[name], vocabulary, layout=layout)
    fast = fast_schema(SCHEMAS[name], vocabulary, CompiledTries(vocabulary), layout=layout)
    state, quick = slow.start, fast.start
    for _ in range(12):
        assert forced_text(fast, quick) == forced_text(slow, state)
        assert forced_tokens(fast, quick) == forced_tokens(slow, state)
        token = rnd.choice(allowed_of(slow, state, len(vocabulary.tokens)))
        if token == 0:
            break
        state, quick = slow.advance(state, token), fast.advance(quick, token)


def test_a_text_that_ends_in_time_can_be_forced_too(vocabulary: Vocabulary):
    """With three tokens left of `[[[`, nothing but the brackets that close them can come."""
    schema = {"type": "array", "items": {"$ref": "#"}}
    fast = fast_schema(schema, vocabulary, CompiledTries(vocabulary), layout=Layout(white_space=0))
    in_time = InTime(Needs(fast), 6)
    state, bracket = in_time.start, vocabulary.byte_tokens[ord("[")]
    for _ in range(3):
        state = in_time.advance(state, bracket)
    assert forced_text(in_time, state) == b"]]]"


def test_very_deep_texts_have_an_end_too(vocabulary: Vocabulary):
    machine = compile_json_schema({"type": "array", "items": {"$ref": "#"}}, vocabulary).machine
    state = machine.advance(machine.start, b"[" * 5000)
    assert state is not None and Closing(machine).rest(state) == b"]" * 5000


@pytest.mark.parametrize("name", FEW)
def test_law_28_jump_forward_text_equals_step_by_step_text(name: str, vocabulary: Vocabulary):
    layout = Layout(white_space=0, escapes=False)
    c, rnd = compile_json_schema(SCHEMAS[name], vocabulary, layout=layout), random.Random(name)
    state, size = c.start, len(vocabulary.tokens)
    for _ in range(6):
        forced = b"".join(vocabulary.tokens[t] for t in forced_tokens(c, state))
        assert forced_text(c, state) == only_way(c.machine, state)
        assert forced_text(c, state).startswith(forced)
        stepped, at = b"", state
        while len(stepped) < len(forced):
            token = rnd.choice(allowed_of(c, at, size))
            stepped, at = stepped + vocabulary.tokens[token], c.advance(at, token)
        assert stepped.startswith(forced)
        token = rnd.choice(allowed_of(c, at, size))
        if token == 0:
            break
        state = c.advance(at, token)


def test_something_is_forced(vocabulary: Vocabulary):
    layout = Layout(white_space=0, escapes=False)
    schema = {"type": "object", "required": ["name"], "properties": {"name": {"enum": ["x"]}},
              "additionalProperties": False}  # fmt: skip
    c = compile_json_schema(schema, vocabulary, layout=layout)
    assert forced_text(c, c.start) == b'{"name":"x"}'
    loose = compile_json_schema(schema, vocabulary)
    assert forced_text(loose, loose.start) == b"{"
