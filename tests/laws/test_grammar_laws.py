"""Laws 27 and 28: a mask is exactly what the automaton takes, and leads to valid text."""

import gc
import json
import random
import weakref
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.numba import grammar_storage
from backends.numba.grammar import CompiledTries, NumbaMasks
from backends.numba.grammar_constraint import CompiledConstraint
from backends.numba.grammar_constraint import compile_json_schema as fast_schema
from backends.numba.grammar_layout import MASK_ROOM, N_KEPT, N_MASKS, ROOM, SHAPES
from refimpl.errors import InputError
from refimpl.grammar.constraint import Constraint, compile_json_schema
from refimpl.grammar.machine import State
from refimpl.grammar.masks import Vocabulary, brute_force, pack, unpack

CASES = json.loads((Path(__file__).parents[1] / "unit" / "grammar" / "schemas.json").read_text())
SCHEMAS = CASES["SCHEMAS"]


def make_vocabulary() -> Vocabulary:
    """Every byte, pieces of JSON, and noise; one special token and one twin."""
    rnd = random.Random(27)
    letters = b'{}[]":, \\01.e-+atrufnlsb\xc3\xa9\xf0\x9f\x98\x80d8'
    noise = [bytes(rnd.choices(letters, k=rnd.randint(2, 5))) for _ in range(200)]
    pieces = [b'{"a":', b'"}', b'":', b'","', b"true", b"1,1", b'"a":1,"a":', b'1,"', b"\\u00"]
    return Vocabulary.of(
        [b"</s>", *(bytes([b]) for b in range(256)), *pieces, *noise, b"", b"1"], [0]
    )


VOCABULARY = make_vocabulary()
TRIES = CompiledTries(VOCABULARY)
COMPILED: dict[str, tuple[Constraint, NumbaMasks]] = {}


def compiled(name: str) -> tuple[Constraint, NumbaMasks]:
    if name not in COMPILED:
        c = compile_json_schema(SCHEMAS[name], VOCABULARY)
        COMPILED[name] = c, NumbaMasks(c.machine, VOCABULARY, TRIES)
    return COMPILED[name]


def allowed_tokens(c: Constraint, state: State) -> list[int]:
    return np.flatnonzero(unpack(c.mask(state), len(VOCABULARY.tokens))).tolist()


@pytest.mark.parametrize("name", SCHEMAS)
def test_law_27_a_mask_has_exactly_the_tokens_that_are_accepted(name: str):
    c, compiled_masks = compiled(name)
    rnd = random.Random(name)
    for _ in range(2):
        state = c.start
        for _ in range(12):
            mask = c.mask(state)
            assert np.array_equal(mask, brute_force(c.machine, state, VOCABULARY))
            assert np.array_equal(mask, compiled_masks.mask(state)), "numba differs from NumPy"
            allowed = allowed_tokens(c, state)
            assert allowed, "a dead end"
            assert (0 in allowed) == c.accepts(state)
            token = rnd.choice(allowed)
            if token == 0:
                break
            state = c.advance(state, token)


@pytest.mark.parametrize("name", SCHEMAS)
def test_law_27_one_call_per_token_gives_the_masks_of_the_definition(name: str):
    c, _ = compiled(name)
    fast, rnd = fast_schema(SCHEMAS[name], VOCABULARY, TRIES), random.Random(name)
    for _ in range(3):
        state, quick = c.start, fast.start
        mask = fast.mask(quick)
        for _ in range(25):
            assert np.array_equal(c.mask(state), mask)
            token = rnd.choice(allowed_tokens(c, state))
            if token == 0:
                assert fast.accepts(quick)
                break
            state = c.advance(state, token)
            if isinstance(fast, CompiledConstraint):
                kept, before = fast.mask(quick).copy(), quick
                quick, mask = fast.advance_and_mask(quick, token)
                assert np.array_equal(fast.mask(before), kept), "an old state stays valid"
            else:
                quick = fast.advance(quick, token)
                mask = fast.mask(quick)


@pytest.mark.parametrize("name", SCHEMAS)
def test_law_27_a_mask_that_was_kept_is_the_one_that_would_be_made(name: str):
    kept, anew = (fast_schema(SCHEMAS[name], VOCABULARY, TRIES) for _ in range(2))
    if not isinstance(kept, CompiledConstraint) or not isinstance(anew, CompiledConstraint):
        return
    rnd = random.Random(name)
    for _ in range(40):
        state, other = kept.start, anew.start
        for _ in range(30):
            anew.forget_masks()
            mask = kept.mask(state)
            assert np.array_equal(mask, anew.mask(other))
            token = rnd.choice(np.flatnonzero(unpack(mask, len(VOCABULARY.tokens))).tolist())
            if token == 0:
                break
            state, other = kept.advance(state, token), anew.advance(other, token)


DIFFERENT = {"type": "array", "uniqueItems": True, "minItems": 3, "items": {"anyOf": [
    {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"enum": ["x", "y"]}},
     "required": ["a", "b"], "additionalProperties": False},
    {"type": "array", "items": {"type": "boolean"}, "maxItems": 2}]}}  # fmt: skip


def test_law_27_holds_for_objects_and_arrays_that_must_differ():
    c, fast = compile_json_schema(DIFFERENT, VOCABULARY), fast_schema(DIFFERENT, VOCABULARY, TRIES)
    text = (
        b'[{"a":1,"b":"x"},[true],{"a":1,"b":"y"},{"b":"x","a":10},[true,false],[],{"a":1.0e1,"b"'
    )
    state, quick = c.start, fast.start
    for byte in text:
        state, quick = c.advance(state, 1 + byte), fast.advance(quick, 1 + byte)
        mask = c.mask(state)
        assert np.array_equal(mask, brute_force(c.machine, state, VOCABULARY))
        assert np.array_equal(mask, fast.mask(quick))
    assert c.machine.advance(state, b':"x"') is None
    assert c.machine.advance(state, b':"y"}]') is not None


COMPARED = {
    "counted": {**DIFFERENT, "contains": {"maxItems": 1}, "minContains": 2, "maxContains": 2},
    "repeated": {"type": "array", "not": {"uniqueItems": True}, "maxItems": 3,
                 "items": {"anyOf": [DIFFERENT["items"], {"type": "integer"}]}},
    "either": {"type": "array", "items": {"type": "string"}, "maxItems": 3,
               "anyOf": [{"uniqueItems": False, "maxItems": 1}, {"not": {"uniqueItems": True}}]},
}  # fmt: skip


@pytest.mark.parametrize("name", COMPARED)
def test_law_27_holds_where_items_are_counted_and_compared(name: str):
    schema, rnd = COMPARED[name], random.Random(name)
    c, fast = compile_json_schema(schema, VOCABULARY), fast_schema(schema, VOCABULARY, TRIES)
    for _ in range(3):
        state, quick = c.start, fast.start
        for _ in range(30):
            mask = c.mask(state)
            assert np.array_equal(mask, brute_force(c.machine, state, VOCABULARY))
            assert np.array_equal(mask, fast.mask(quick))
            allowed = allowed_tokens(c, state)
            assert allowed, "a dead end"
            token = rnd.choice([t for t in allowed if VOCABULARY.tokens[t] in LIKELY] or allowed)
            if token == 0:
                break
            state, quick = c.advance(state, token), fast.advance(quick, token)


LIKELY = [bytes((b,)) for b in b'[]{},:"abxy1']


def test_the_compiled_constraint_is_used_and_refuses_what_the_mask_forbids():
    fast = fast_schema(SCHEMAS["object"], VOCABULARY, TRIES)
    assert isinstance(fast, CompiledConstraint)
    with pytest.raises(InputError, match="not allowed"):
        fast.advance(fast.start, VOCABULARY.tokens.index(b"]"))
    with pytest.raises(InputError, match="not allowed"):
        fast.advance(fast.start, 0)


@pytest.mark.parametrize("compile_", [compile_json_schema, fast_schema])
def test_a_dropped_constraint_leaves_nothing_to_the_collector(compile_: Callable[..., Any]):
    """What stands in a cycle is found, and paid for, while a later schema is compiled."""
    schema = {"patternProperties": {"^a": {"type": "integer"}}, "properties": {"b": {"minimum": 3}},
              "anyOf": [{"required": ["b"]}, {"minProperties": 1}]}  # fmt: skip
    arguments = (schema, VOCABULARY, TRIES)[: 2 if compile_ is compile_json_schema else 3]
    gc.disable()
    try:
        made = compile_(*arguments)
        parts = (made, made.machine, made.machine.grammar.fit, getattr(made, "tables", made))
        left = [weakref.ref(part) for part in parts]
        del made, parts
        assert not any(part() for part in left)
    finally:
        gc.enable()


def test_a_store_of_masks_that_is_full_begins_anew():
    fast = fast_schema(True, VOCABULARY, TRIES)
    first = fast.mask(fast.start)
    kept = first.copy()
    for slots in (grammar_storage.READY_MASKS, grammar_storage.MAX_MASKS):
        fast.facts[N_MASKS] = fast.facts[MASK_ROOM] = slots
        fast.header[SHAPES][:] = 0
        fast.lately.clear()
        assert np.array_equal(fast.mask(fast.start), kept)
    assert np.array_equal(first, kept), "masks that were given away are not written over"


@pytest.mark.parametrize("most", [0, 4096])
def test_what_constraints_share_may_grow_or_begin_anew_under_them(most: int):
    tries = CompiledTries(VOCABULARY)
    stores = tries.shared.inside, tries.shared.masks
    for store in stores:
        store.most = most
    schemas = ({"type": "string", "pattern": "^[a-d]+$"}, {"type": "string", "maxLength": 6})
    slow = [compile_json_schema(s, VOCABULARY) for s in schemas]
    fast = [fast_schema(s, VOCABULARY, tries) for s in schemas]
    states = [(c.start, f.start) for c, f in zip(slow, fast, strict=True)]
    for byte in b'"abcd':
        for k, (c, f) in enumerate(zip(slow, fast, strict=True)):
            state, quick = states[k]
            states[k] = c.advance(state, 1 + byte), f.advance(quick, 1 + byte)
            for store in stores:
                store.facts[ROOM] = store.facts[N_KEPT]  # no room is left for the next one
            assert np.array_equal(c.mask(states[k][0]), f.mask(states[k][1]))


@settings(max_examples=20)
@given(st.sampled_from(sorted(SCHEMAS)), st.randoms(use_true_random=False))
def test_law_28_masked_sampling_is_accepted_and_rolls_back(name: str, rnd: random.Random):
    c, _ = compiled(name)
    states, text = [c.start], b""
    for _ in range(30):
        token = rnd.choice(allowed_tokens(c, states[-1]))
        if token == 0:
            json.loads(text)
            break
        text += VOCABULARY.tokens[token]
        states.append(c.advance(states[-1], token))
        again = c.machine.advance(c.start, text)
        assert again == states[-1], "reading the whole text gives the same state"
    masks = [c.mask(s).copy() for s in states]
    for state, mask in reversed(list(zip(states, masks, strict=True))):  # old states stay valid
        assert np.array_equal(c.mask(state), mask)


@pytest.mark.parametrize("name", ["object", "tree"])
def test_a_forbidden_token_is_a_named_error(name: str):
    c, _ = compiled(name)
    with pytest.raises(InputError, match="not allowed"):
        c.advance(c.start, VOCABULARY.tokens.index(b"]"))


@given(st.lists(st.booleans(), min_size=1, max_size=100))
def test_packing_is_little_endian_bits(bits: list[bool]):
    mask = pack(np.array(bits, bool))
    assert [bool(int(mask[t >> 5]) >> (t & 31) & 1) for t in range(len(bits))] == bits
    assert unpack(mask, len(bits)).tolist() == bits


def test_a_mask_with_one_wrong_bit_would_be_caught():
    """The planted bug: the comparison of law 27 sees a single token."""
    c, _ = compiled("object")
    mask = c.mask(c.start).copy()
    mask[1] ^= np.uint32(1)
    assert not np.array_equal(mask, brute_force(c.machine, c.start, VOCABULARY))


def test_law_27_holds_for_a_vocabulary_of_262144():
    rnd = np.random.default_rng(262)
    letters = np.frombuffer(b'etaoinshrdlucmfw {}[]":,0123456789\\\n.-\xc3\xa9', np.uint8)
    lengths = rnd.integers(2, 9, 262_144 - 257)
    text = rnd.choice(letters, int(lengths.sum())).tobytes()
    cuts = np.concatenate([[0], np.cumsum(lengths)]).tolist()
    tokens = [text[a:b] for a, b in pairwise(cuts)]  # many are spelled alike
    large = Vocabulary.of([b"</s>", *(bytes([b]) for b in range(256)), *tokens], [0])
    schema = {"type": "object", "properties": {"a": {"type": "string"}, "at": {"enum": ["on"]}}}
    c, fast = compile_json_schema(schema, large), fast_schema(schema, large, CompiledTries(large))
    for prefix in (b"", b"{", b'{"a', b'{"a": "', b'{"at":', b'{"a":"x"', b"{}"):
        state, quick = c.start, fast.start
        for byte in prefix:
            state, quick = c.advance(state, 1 + byte), fast.advance(quick, 1 + byte)
        assert np.array_equal(c.mask(state), fast.mask(quick)), prefix
