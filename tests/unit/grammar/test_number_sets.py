"""`can_complete` is exact: a prefix lives if and only if some allowed text continues it."""

import itertools
import json
import re
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from refimpl.grammar.number_intervals import fits
from refimpl.grammar.number_rest import shortest_rest
from refimpl.grammar.number_sets import INTEGERS, NumberSet
from refimpl.grammar.number_settle import digits_alike, settle, smallest_alike
from refimpl.grammar.number_texts import NUMBER, can_complete, is_complete

F = Fraction
SETS = [
    NumberSet(lo=F(0), hi=F(10), step=F(1)),
    NumberSet(lo=F(3), lo_open=True),
    NumberSet(lo=F(0), hi=F("5.6"), step=F("0.2")),  # 5.5 leads nowhere, though 5.6 is near
    NumberSet(hi=F(-1)),
    NumberSet(step=F(5)),
    NumberSet(step=F("0.01"), hi=F(1)),
    NumberSet(not_steps=frozenset({F(1)})),
    NumberSet(only=frozenset({F(15), F("0.1"), F(-2)})),
    NumberSet(without=frozenset({F(1)}), step=F(1), lo=F(0), hi=F(1)),
    NumberSet(lo=F(0), hi=F(0)),
    NumberSet(lo=F("1.5"), hi=F("1.5")),
    NumberSet(step=F(1), spelled="digits"),
    NumberSet(step=F(1), spelled="dotted"),
    NumberSet(lo=F("0.2"), lo_open=True, hi=F("0.3"), hi_open=True),
    INTEGERS,
]
ALPHABET = "-015.e+2"
LONG_TAILS = (
    "0e-1",
    "5e-1",
    "5.0e-1",
    "0.5e-1",
    ".0e-1",
    "0.0e-1",
    ".5e-1",
    ".1e-1",
    ".2e-1",
    "2.5e-1",
    "1.0e-2",
    ".0e-2",
    "e-1",
)


@pytest.mark.parametrize("s", SETS, ids=range(len(SETS)))
def test_prefixes_live_exactly_when_completed(s: NumberSet):
    texts = ("".join(t) for n in range(1, 6) for t in itertools.product(ALPHABET, repeat=n))
    complete = {t for t in texts if is_complete(s, t)}
    prefixes = {t[:i] for t in complete for i in range(len(t) + 1)}
    assert all(can_complete(s, p) for p in prefixes)
    assert all(s.has(F(t)) for t in complete)
    for n in range(3):  # every short living prefix has a completion among the texts above
        for t in map("".join, itertools.product(ALPHABET, repeat=n)):
            alive = t in prefixes or any(is_complete(s, t + tail) for tail in LONG_TAILS)
            assert can_complete(s, t) == alive, t


@pytest.mark.parametrize("s", SETS, ids=range(len(SETS)))
def test_the_rest_of_a_number_is_the_shortest_there_is(s: NumberSet):
    for prefix in ("", "-", "5", "0.2", "15", "1e-"):
        if not can_complete(s, prefix):
            continue
        rest, level, n = shortest_rest(s, prefix), [prefix], 0
        while not any(is_complete(s, t) for t in level) and len(level) < 20:
            longer = (t + c for t in level for c in "0123456789.eE+-")
            level, n = [t for t in longer if can_complete(s, t)], n + 1
        assert rest is not None and is_complete(s, prefix + rest)
        assert len(rest) == n if any(is_complete(s, t) for t in level) else len(rest) > n


numbers = st.decimals(-1000, 1000, places=2).map(lambda d: F(str(d)))


@st.composite
def sets(draw: st.DrawFn) -> NumberSet:
    lo, hi = draw(st.none() | numbers), draw(st.none() | numbers)
    return NumberSet(
        lo=lo,
        hi=hi,
        lo_open=lo is not None and draw(st.booleans()),
        hi_open=hi is not None and draw(st.booleans()),
        step=draw(st.none() | st.sampled_from([F(1), F(3), F("0.5"), F("0.01")])),
        without=draw(st.frozensets(numbers, max_size=2)),
    )


@given(sets(), st.decimals(-2000, 2000, places=2).map(str) | st.integers(-2000, 2000).map(str))
def test_every_member_written_plainly_is_allowed_step_by_step(s: NumberSet, text: str):
    allowed = s.has(F(text))
    assert is_complete(s, text) == allowed
    if allowed:
        assert all(can_complete(s, text[:i]) for i in range(len(text) + 1))


@given(sets(), sets(), numbers)
def test_intersection_and_complement(a: NumberSet, b: NumberSet, x: Fraction):
    both = a.both(b)
    assert (both is not None and both.has(x)) == (a.has(x) and b.has(x))
    outside = any(s.has(x) for s in a.non())
    assert not (outside and a.has(x))
    assert outside or a.has(x) or _near_a_bound(a, x)


def _near_a_bound(s: NumberSet, x: Fraction) -> bool:
    return any(abs(x - b) < F(1, 10**9) for b in (s.lo, s.hi, *s.without) if b is not None)


@st.composite
def texts(draw: st.DrawFn) -> str:
    """Numbers and their beginnings, whole, with a fraction, with an exponent."""
    text = draw(st.sampled_from(["", "-"])) + str(draw(st.integers(0, 12) | st.integers(0, 5000)))
    if draw(st.booleans()):
        text += "." + draw(st.text("0123459", max_size=4))
    if draw(st.booleans()) and not text.endswith("."):
        text += "e" + draw(st.sampled_from(["", "+", "-"])) + draw(st.text("0123", max_size=3))
    return text


@st.composite
def restricted(draw: st.DrawFn) -> NumberSet:
    s = draw(sets() | st.sampled_from(SETS))
    return replace(s, spelled=draw(st.sampled_from(["any", "any", "digits", "dotted", "plain"])))


@given(restricted(), texts())
def test_whole_numbers_decide_what_fractions_decide(s: NumberSet, text: str):
    assert all(fits(s, text[:i]) == can_complete(s, text[:i]) for i in range(len(text) + 1))


TAILS = ("", "0", "7", "49", "51", ".", ".5", ".49", ".0", "e1", "e+2", "e-1", "00", "-", "7.25",
         "5e-3", "25.", "0e12")  # fmt: skip


@settings(max_examples=300)
@given(restricted(), texts())
@example(NumberSet(lo=F(0)), "-0.1")
@example(INTEGERS, "0.9")
@example(NumberSet(step=F("0.0001")), "0.00")
@example(NumberSet(lo=F(1, 3)), "0.33")  # a bound that no digits write
def test_settling_changes_no_future(s: NumberSet, text: str):
    t, short = settle(s, text)
    dropped = t.step is not None and (t.lo, t.hi) != (s.lo, s.hi)
    for tail in TAILS:
        if dropped and re.search(r"\.\d{3}", text + tail):
            continue  # how far a multiple is looked for depends on the bounds (`scales`)
        assert can_complete(s, text + tail) == can_complete(t, short + tail), tail
        assert is_complete(s, text + tail) == is_complete(t, short + tail), tail


STEPS = [NumberSet(step=F("0.001")), NumberSet(step=F("0.01"), lo=F("0.05"), hi=F("12.5"))]


@pytest.mark.parametrize("s", SETS + STEPS, ids=range(len(SETS + STEPS)))
def test_settled_step_by_step_every_short_text_has_its_future(s: NumberSet):
    """The automaton that the tables are made of, against the definition, for all short texts."""
    level = [("", s, "")]
    for _ in range(6):
        longer = [(text + c, t, short + c) for text, t, short in level for c in ALPHABET]
        for text, t, short in longer:
            assert fits(t, short) == can_complete(s, text), text
            assert is_complete(t, short) == is_complete(s, text), text
        level = [(text, *settle(t, short)) for text, t, short in longer if fits(t, short)][:4000]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(st.sampled_from(SETS + STEPS), restricted()), min_size=1, max_size=2),
       st.from_regex(r"-?((0|[1-9][0-9]{0,3})(\.[0-9]{0,3})?)?", fullmatch=True))  # fmt: skip
@example([NumberSet(lo=F("0.05"), hi=F(120))], "1")
def test_digits_alike_end_texts_alike(sets: list[NumberSet], text: str):
    for digit, same in digits_alike(sets).items():
        one, other = (text + d for d in (digit, same))
        assert bool(NUMBER.fullmatch(one)) == bool(NUMBER.fullmatch(other))
        if NUMBER.fullmatch(one):
            assert smallest_alike(sets, one) == smallest_alike(sets, other), (one, other)


@pytest.mark.parametrize("s", [INTEGERS, NumberSet(step=F(1), lo=F(-1000))], ids=("all", "some"))
def test_zeros_behind_the_point_have_places(s: NumberSet):
    """1.05e2 is an integer and 1.005e2 is none; read digit by digit, as the states are."""
    for text, whole in (("1.05e2", True), ("1.005e2", False), ("1.005e3", True), ("-1.01e2", True)):
        t, short = s, ""
        for character in text:
            t, short = settle(t, short + character)
        assert is_complete(t, short) == whole, text


def test_a_bounded_number_needs_few_states():
    """Digits that no longer touch a bound are forgotten, so states count places, not numbers."""
    s = NumberSet(lo=F(0), hi=F("99999999999.99"))
    texts = (f"{n}.{m}" for n in range(100, 700, 7) for m in range(0, 90, 11))
    assert len({settle(s, text)[1] for text in texts}) == 1


def test_strict_bounds_survive_rounding_to_double():
    s = NumberSet(hi=F(1), hi_open=True)
    assert not is_complete(s, "0." + "9" * 17) and json.loads("0." + "9" * 17) == 1.0
    assert is_complete(s, "0." + "9" * 15)
