"""Regular expressions agree with `re` and with themselves under the boolean operations."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refimpl.errors import InputError, RefimplError, UnsupportedError
from refimpl.grammar.regex import Regexes
from refimpl.grammar.regex_dialects import python_dialect
from refimpl.grammar.regex_language import ECMA, full_match, search

atoms = st.sampled_from(
    ["a", "b", ".", "[ab]", "[^a]", r"\d", r"\w", "^", "$", r"\b", r"\B", "(?=a)"]
)
patterns = st.recursive(
    atoms,
    lambda p: st.one_of(
        st.tuples(p, p).map("".join),
        st.tuples(p, p).map("|".join).map("({})".format),
        st.tuples(p, st.sampled_from(["*", "+", "?", "{2}", "{1,2}"])).map(
            lambda x: f"(?:{x[0]}){x[1]}"
        ),
    ),
    max_leaves=8,
)
texts = st.text("ab1 é", max_size=6)


@given(patterns, texts)
def test_search_agrees_with_re(pattern: str, text: str):
    r = Regexes()
    try:
        node = search(r, pattern)
    except RefimplError:
        return  # refused by name: the next test pins what may be
    if not text and r"\B" in pattern:
        return  # before Python 3.14 its \B does not match the empty text
    assert r.matches(node, text) == bool(re.search(pattern.replace("$", r"\Z"), text, re.ASCII))


@given(patterns, texts)
def test_full_match_agrees_with_re(pattern: str, text: str):
    r = Regexes()
    try:
        node = full_match(r, pattern, python_dialect())
    except RefimplError:
        return
    if text or r"\B" not in pattern:  # before Python 3.14 \B does not match the empty text
        assert r.matches(node, text) == bool(re.fullmatch(pattern, text))


@given(patterns, patterns, texts)
def test_boolean_operations_are_what_they_say(p: str, q: str, text: str):
    r = Regexes()
    try:
        a, b = search(r, p), search(r, q)
    except RefimplError:
        return
    in_a, in_b = r.matches(a, text), r.matches(b, text)
    assert r.matches(r.both(a, b), text) == (in_a and in_b)
    assert r.matches(r.alt(a, b), text) == (in_a or in_b)
    assert r.matches(r.non(a), text) == (not in_a)


@given(patterns, patterns)
def test_is_live_exactly_when_a_word_exists(p: str, q: str):
    r = Regexes()
    try:
        node = r.both(search(r, f"^(?:{p})$"), r.non(search(r, q)))
    except RefimplError:
        return
    if r.is_live(node):
        seen = {node: None}
        for state in (todo := [node]):  # breadth first: a word is never far
            if state.nullable:
                break
            for _, after in r.row(state):
                if after not in seen and r.is_live(after):
                    seen[after] = None
                    todo.append(after)
        assert state.nullable
    else:
        short = ("", "a", "b", "1", "ab", "ba", "aa", "a b", "é")
        assert not any(r.matches(node, t) for t in short)


@given(patterns, st.integers(0, 4), st.integers(0, 4) | st.none())
def test_lengths_decide_what_a_search_decides(pattern: str, lo: int, hi: int | None):
    r = Regexes()
    try:
        node = search(r, f"^(?:{pattern})$")
    except RefimplError:
        return
    node = r.both(node, r.repeat(r.ANY, lo, hi))
    seen = {node: None}
    for state in (todo := [node]):
        for _, after in r.row(state):
            if after not in seen:
                seen[after] = None
                todo.append(after)
    assert r.is_live(node) == any(n.nullable for n in seen)


def test_a_long_search_is_refused_while_compiling_and_never_later():
    """The states count past the limit; the search of a text that is being written goes on."""
    r = Regexes()
    ones, twos = (search(r, f"^(.{{0,60}}{c}.{{60}})*$") for c in "ab")
    far = r.both(ones, twos, r.non(r.cat(r.ALL, r.words(["a", "b"]))), r.non(r.EPS))
    with pytest.raises(UnsupportedError, match="more than 50 states"):
        r.is_live(far, 50)
    assert not r.is_live(r.both(far, r.repeat(r.ANY, 0, 8)))


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        ("b", "abc", True),  # unanchored
        (r"^\d$", "٣", False),  # ASCII digits only
        (r"^\w$", "é", False),
        (r"^\s$", "\ufeff", True),
        (r"^\S$", "\u2003", False),
        (r"^.$", "\u2028", False),  # a line end in ECMA-262
        (r"^a$", "a\n", False),  # $ is the very end
        (r"^([^,]+(,|$)){3,}$", "a,b,c", True),  # and can stand in the last round of a repeat
        (r"^([^,]+(,|$)){3,}$", "a,b", False),
        (r"^(ab?$|c)*", "ccab", True),
        (r"^(ab?$|c)*$", "abc", False),
        (r"^\p{Lu}+$", "ÄÖ", True),
        (r"^\p{Script=Greek}$", "λ", True),
        (r"^🐲*$", "🐲🐲", True),
        (r"^\uD83D\uDC32$", "🐲", True),
        (r"^\u{1F432}$", "🐲", True),
        (r"^(?!foo)[a-z]{3}$", "foo", False),
        (r"^(?!foo)[a-z]{3}$", "fob", True),
        (r"(?<=a)b", "cab", True),
        (r"(?<!a)b", "ab", False),
        (r"^[\w-]+\/x$", "a-b/x", True),
        (r"^\cC$", "\x03", True),
        (r"^[a-z]{2,3}?$", "abc", True),
    ],
)
def test_ecma_semantics(pattern: str, text: str, found: bool):
    r = Regexes()
    assert r.matches(search(r, pattern, ECMA), text) is found


@pytest.mark.parametrize(
    ("pattern", "word"),
    [
        (r"(a)\1", "backreference"),
        (r"(?<n>a)\k<n>", "backreference"),
        (r"\Za", "escape"),
        (r"((?!b)a)*c", "long repeat"),
        (r"\p{Nonsense}", "not a Unicode property"),
        ("a{200000}", "100000"),
    ],
)
def test_what_is_not_regular_or_not_known_is_refused_by_name(pattern: str, word: str):
    with pytest.raises(UnsupportedError, match=word):
        search(Regexes(), pattern)


@pytest.mark.parametrize("pattern", ["(", ")", "a{3,2}", "[", "*", "[b-a]", "\\", "(?<=a"])
def test_bad_syntax_is_an_input_error(pattern: str):
    with pytest.raises(InputError, match="bad regular expression"):
        search(Regexes(), pattern)


@pytest.mark.parametrize("pattern", ["(?>a)", "a++", "(?m)a"])
def test_python_constructs_that_depend_on_backtracking_are_refused(pattern: str):
    with pytest.raises(UnsupportedError):
        full_match(Regexes(), pattern, python_dialect())


def test_deep_nesting_is_refused_not_a_crash():
    with pytest.raises(UnsupportedError, match="nested"):
        search(Regexes(), "(" * 20_000 + ")" * 20_000)
