"""From 2^53 on: what is accepted is valid read exactly, and valid read as doubles.

There whole numbers are closer together than doubles, so 9007199254740993.0 is read as another
number than 9007199254740993.  The judge is `jsonschema`, over both readings of the same text.
"""

import json
import math
import re
from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from refimpl.grammar.assertions import SchemaOptions
from refimpl.grammar.closing import Closing
from refimpl.grammar.doubles import inside, is_double, is_large
from refimpl.grammar.json_grammar import JsonGrammar
from refimpl.grammar.json_states import Layout, UnsatisfiableError
from refimpl.grammar.json_values import fraction
from refimpl.grammar.machine import Machine
from refimpl.grammar.number_intervals import fits
from refimpl.grammar.number_sets import INTEGERS, NumberSet
from refimpl.grammar.number_settle import settle
from refimpl.grammar.number_texts import can_complete, is_complete
from refimpl.grammar.schema import SchemaReader

jsonschema = pytest.importorskip("jsonschema")

F, EXAMPLES = Fraction, settings().max_examples
EDGES = [2**53, 2**54, 2**60, 2**63, 10**22, 10**23, int(1e23), 3 * 2**70]
DRAFT_4 = {"$schema": "http://json-schema.org/draft-04/schema#"}


@lru_cache(maxsize=64)
def machine_of(schema: str) -> Machine:
    return Machine(JsonGrammar(SchemaReader(json.loads(schema), SchemaOptions()), Layout()))


def accepts(schema: Any, text: str) -> bool:
    machine = machine_of(json.dumps(schema))
    end = machine.advance(machine.start, text.encode())
    return end is not None and machine.accepts(end)


def exact(text: str) -> Fraction:
    """The number that was written; 1e23, as a large double is printed, is that double."""
    x, near = Fraction(text), float(text)
    is_printed = is_large(x) and math.isfinite(near) and Fraction(repr(near)) == x
    return Fraction(near) if is_printed else x


def exactly(value: Any) -> Any:
    """A schema whose numbers are exact."""
    if isinstance(value, dict):
        return {k: exactly(v) for k, v in value.items()}
    if isinstance(value, list):
        return list(map(exactly, value))
    return fraction(value) if isinstance(value, float) else value


def is_whole(_checker: Any, x: Any) -> bool:
    return isinstance(x, int | Fraction) and not isinstance(x, bool) and x == int(x)


@lru_cache(maxsize=64)
def judges(text: str) -> tuple[Any, Any]:
    """Validators of what is read as doubles, and of what is read exactly."""
    schema = json.loads(text)
    kind = jsonschema.Draft4Validator if "$schema" in schema else jsonschema.Draft202012Validator
    checker = kind.TYPE_CHECKER
    if "$schema" not in schema:
        checker = checker.redefine("integer", is_whole)
    return kind(schema), jsonschema.validators.extend(kind, type_checker=checker)(exactly(schema))


def valid(schema: Any, text: str) -> tuple[bool, bool]:
    rounded, exact_ = judges(json.dumps(schema))
    return rounded.is_valid(json.loads(text)), exact_.is_valid(json.loads(text, parse_float=exact))


@st.composite
def wholes(draw: st.DrawFn) -> int:
    """Near an edge: close by, or some doubles away, or in the middle of two."""
    edge = draw(st.sampled_from(EDGES)) * draw(st.sampled_from([1, 1, -1]))
    half = int(math.ulp(float(edge))) // 2 or 1
    return edge + draw(st.integers(-3, 3)) + half * draw(st.integers(-5, 5))


bounds = wholes() | wholes().map(float)
keyword = st.one_of(
    st.tuples(st.sampled_from(["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"]),
              bounds),
    st.tuples(st.just("const"), bounds),
    st.tuples(st.just("enum"), st.lists(bounds, min_size=1, max_size=3)),
    st.tuples(st.just("multipleOf"), st.sampled_from([1, 2, 3, 4, 7, 10, 0.5, 2**54, 3 * 2**60])),
    st.tuples(st.just("type"), st.just("integer")),
)  # fmt: skip
simple = st.lists(keyword, min_size=1, max_size=3).map(dict)
schemas = st.recursive(
    simple,
    lambda s: st.one_of(
        s.map(lambda x: {"not": x}),
        st.lists(s, min_size=2, max_size=2).map(lambda x: {"allOf": x}),
        st.lists(s, min_size=2, max_size=2).map(lambda x: {"anyOf": x}),
        st.lists(s, min_size=2, max_size=2).map(lambda x: {"oneOf": x}),
    ),
    max_leaves=3,
).map(lambda s: {"type": "number", "allOf": [s]})


def spellings(n: int) -> Iterator[str]:
    """Numbers near n, in many ways."""
    sign, digits = "-" * (n < 0), str(abs(n))
    yield from (str(n), f"{n}.0", f"{n}.5", f"{n}.000", f"{n}.0000001")
    yield f"{sign}{digits[0]}.{digits[1:]}e{len(digits) - 1}"
    yield f"{sign}{digits[0]}.{digits[1:]}5E+{len(digits) - 1}"
    yield repr(float(n)).replace("e+", "e")
    yield str(int(float(n)))
    yield f"{int(float(n))}.0"
    yield f"{int(digits)}0e-1"


def numbers_in(schema: Any) -> list[int]:
    """The large numbers that a schema speaks of."""
    if isinstance(schema, dict):
        return [n for v in schema.values() for n in numbers_in(v)]
    if isinstance(schema, list):
        return [n for v in schema for n in numbers_in(v)]
    return [int(schema)] if not isinstance(schema, str | bool) and abs(schema) >= 2**53 else []


@st.composite
def schema_and_texts(draw: st.DrawFn) -> tuple[Any, list[str]]:
    schema = draw(schemas)
    known = [st.sampled_from(numbers_in(schema))] if numbers_in(schema) else []
    n = draw(st.one_of(*known, wholes())) + draw(st.integers(-2, 2))
    shift = int(math.ulp(float(n))) // 2
    return schema, list(spellings(n + shift * draw(st.integers(-2, 2))))


@settings(max_examples=EXAMPLES // 2)
@given(schema_and_texts())
@example(({"exclusiveMinimum": 2**53}, ["9007199254740992.5"]))
@example(({"minimum": 2**53 + 1}, ["9007199254740993.0", "9007199254740994.0"]))
@example(({"maximum": 1e23}, ["100000000000000000000000"]))
@example(({"not": {"const": 2**53}}, ["9007199254740993.0"]))
@example(({"multipleOf": 3}, ["9007199254740993.0"]))
@example(({"const": 1e23}, ["1e23", "99999999999999991611392", "100000000000000000000000"]))
@example(({"type": "number", "not": {"type": "integer"}}, ["9007199254740992.5", "4e0", "0.1"]))
@example(({"not": {"type": "integer"}}, ["1.00000000000000000001", "4503599627370496.5", "5e-1"]))
@example(({**DRAFT_4, "type": "integer", "maximum": 2**60 + 1}, ["1152921504606846977", "5.0"]))
@example(({**DRAFT_4, "type": "number", "not": {"type": "integer"}}, ["9007199254740993.0", "5.0"]))
@example(({"minimum": 2**1023 + 1, "type": "integer"}, [str(2**1023 + 1), str(2**1023), "9e307"]))
@example(({"oneOf": [{"minimum": 2**53}, {"type": "integer"}]}, ["9007199254740992.5", "5.0"]))
@example(({"not": {"oneOf": [{"type": "integer"}, {"minimum": 2**53}]}}, ["9007199254740992.5"]))
def test_what_is_accepted_is_valid_however_it_is_read(drawn: tuple[Any, list[str]]):
    schema, texts = drawn
    try:
        machine_of(json.dumps(schema))
    except UnsatisfiableError:
        assert not any(all(valid(schema, text)) for text in texts if is_digits(text))
        return
    for text in texts:
        good = valid(schema, text)
        if accepts(schema, text):
            assert all(good), text
        elif is_digits(text):
            assert not all(good), text


SIMPLE: list[Any] = [
    {key: x}
    for key in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "const")
    for x in (2**53, 2**53 + 1, -(2**60) - 5, 1e23)
]


@pytest.mark.parametrize("schema", SIMPLE, ids=json.dumps)
@pytest.mark.parametrize("negated", [False, True])
def test_what_is_refused_though_both_readings_allow_it(schema: Any, negated: bool):
    """Only the middle of two doubles, and what lies between a bound and the double next to it."""
    (x,) = schema.values()
    unit = max(1, int(math.ulp(float(x))) // 4)
    whole = {"type": "number", "not": schema} if negated else {"type": "number", **schema}
    for n in range(int(x) - 5 * unit, int(x) + 6 * unit, unit):
        for text in (str(n), f"{n}.0", f"{n}.5"):
            good = all(valid(whole, text))
            if accepts(whole, text):
                assert good, text
            elif good:
                assert not is_digits(text), text
                assert is_middle(Fraction(text)) or is_next_to(fraction(x), Fraction(text)), text


def is_middle(x: Fraction) -> bool:
    near = float(x)
    beside = (math.nextafter(near, math.inf), math.nextafter(near, -math.inf))
    return any(2 * x == Fraction(near) + Fraction(other) for other in beside)


def is_next_to(bound: Fraction, x: Fraction) -> bool:
    """Whether only one double is further from it: the one that the bound is kept at."""
    sign = 1 if x > bound else -1
    return not is_double(bound) and abs(x - bound) < abs(inside(bound, sign) - bound)


items = st.lists(wholes().flatmap(lambda n: st.sampled_from(list(spellings(n)))), max_size=4)


@given(items)
@example(["9007199254740992", "9007199254740993.0"])
@example(["9007199254740993.0", "9007199254740992"])
@example(["9007199254740993", "9007199254740993.0"])
@example(["1e23", "99999999999999991611392"])
@example(["99999999999999991611392", "1e23"])
@example(["9007199254740993", "9007199254740992.0", "9007199254740992.0000001"])
def test_items_are_told_apart_as_they_are_read(texts: list[str]):
    schema, text = {"uniqueItems": True, "items": {"type": "number"}}, f"[{','.join(texts)}]"
    if accepts(schema, text):
        assert valid(schema, text)[0]
    elif all(map(is_digits, texts)):
        assert not valid(schema, text)[0]


PLACES = [2**53 - 1, 2**53, 2**53 + 1, 2**54 + 2, 2**60 + 128, 10**23, int(1e23)]


@st.composite
def sets(draw: st.DrawFn) -> NumberSet:
    place = st.sampled_from([sign * F(n) for n in PLACES for sign in (1, -1)])
    lo, hi = draw(st.none() | place), draw(st.none() | place)
    return NumberSet(
        lo=lo, hi=hi,
        lo_open=lo is not None and draw(st.booleans()),
        hi_open=hi is not None and draw(st.booleans()),
        step=draw(st.none() | st.sampled_from([F(1), F(2), F(3), F("0.5"), F("0.01"), F(2**55)])),
        not_steps=draw(st.frozensets(st.sampled_from([F(1), F(7)]), max_size=1)),
        without=draw(st.frozensets(place, max_size=2)),
        spelled=draw(st.sampled_from(["any", "any", "digits", "dotted"])),
    )  # fmt: skip


FUTURES = (
    "",
    "0",
    "1",
    "2",
    "3",
    "992",
    "993",
    ".",
    ".0",
    ".5",
    "992.0",
    "992.5",
    "993.0",
    "e1",
    "5e-1",
)


@given(sets(), wholes().flatmap(lambda n: st.sampled_from(list(spellings(n)))))
@example(NumberSet(lo=F(2**60), lo_open=True), "1152921504606846976")
@example(INTEGERS, "1.005e2")
@example(NumberSet(lo=F(1 - 2**53), step=F(1)), "9.007199254740992e15")
@example(NumberSet(step=F(1), lo=F(-1000)), "-1.0001e3")
def test_states_of_large_numbers_have_the_futures_of_their_texts(s: NumberSet, text: str):
    t, short = s, ""
    for i, character in enumerate(text):
        begun = text[: i + 1]
        assert fits(t, short + character) == fits(s, begun) == can_complete(s, begun)
        if not fits(s, begun):
            return
        t, short = settle(t, short + character)
        for tail in FUTURES if i in (1, 15, len(text) - 2) else ():
            assert is_complete(t, short + tail) == is_complete(s, begun + tail), (begun, tail)
            assert fits(t, short + tail) == fits(s, begun + tail), (begun, tail)


def is_digits(text: str) -> bool:
    return not re.search("[.eE]", text)


@settings(max_examples=EXAMPLES // 6)
@given(schema_and_texts())
@example(({"oneOf": [{"minimum": 2**53}, {"minimum": 2**53}, {"const": 5}]}, ["5.0"]))
def test_every_beginning_can_be_completed(drawn: tuple[Any, list[str]]):
    schema, texts = drawn
    try:
        machine = machine_of(json.dumps(schema))
    except UnsatisfiableError:
        return
    closing = Closing(machine)
    for text in texts[:5]:
        state = machine.start
        for i in range(len(text) + 1):
            rest = closing.rest(state)
            assert rest is not None, text[:i]
            whole = text[:i] + rest.decode()
            assert accepts(schema, whole) and all(valid(schema, whole)), whole
            after = machine.step(state, ord(text[i])) if i < len(text) else None
            if after is None:
                assert not accepts(schema, text) or i == len(text)
                break
            state = after
