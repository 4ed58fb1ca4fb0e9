"""Grammars with recursion, in GBNF, and patterns and choices as constraints."""

import itertools
import random
import re

import numpy as np
import pytest

from refimpl.errors import InputError, RefimplError, UnsupportedError
from refimpl.grammar import gbnf
from refimpl.grammar.fsm import minimal
from refimpl.grammar.machine import Machine
from refimpl.grammar.masks import Masks, Vocabulary, brute_force, unpack
from refimpl.grammar.regex import Regexes
from refimpl.grammar.regex_grammar import choices, pattern
from refimpl.grammar.regex_language import ECMA, full_match

JSON = r"""
root   ::= value
value  ::= object | array | string | number | "true" | "false" | "null"
object ::= "{" ws ( pair ("," ws pair)* )? "}"   # members
pair   ::= string ":" ws value
array  ::= "[" ws ( value ("," ws value)* )? "]"
string ::= "\"" ( [^"\\\x00-\x1f] | "\\" ( ["\\/bfnrt] | "u" [0-9a-fA-F]{4} ) )* "\""
number ::= "-"? ( "0" | [1-9] [0-9]* ) ( "." [0-9]+ )?
  | "-"? "0" "e" [0-9]{1,2}
ws     ::= [ \t\n]*
"""


def accepts(m: Machine, text: str) -> bool:
    state = m.advance(m.start, text.encode())
    return state is not None and m.accepts(state)


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ('{"a": [1, {"é": null}], "b": -0.5}', True),
        ('["\\u00e9", "😀", []]', True),
        ("0e12", True),
        ("01", False),
        ("[1,]", False),
        ('{"a" 1}', False),
        ("[[[[]]]", False),
    ],
)
def test_a_json_grammar(text: str, valid: bool):
    assert accepts(Machine(gbnf.grammar(JSON)), text) is valid


def test_ambiguous_grammars_keep_all_their_stacks():
    m = Machine(gbnf.grammar('root ::= "a"* "a" ( "ab" | "b" )'))
    assert [accepts(m, t) for t in ("ab", "aab", "aaaab", "aaa", "b")] == [True] * 3 + [False] * 2


@pytest.mark.parametrize(
    ("text", "error", "word"),
    [
        ('root ::= root "a" | "b"', UnsupportedError, "left recursion"),
        ('root ::= x "a"\nx ::= "b"? root?', UnsupportedError, "left recursion"),
        ('root ::= "a" root', InputError, "no finite text"),
        ("root ::= nothing", InputError, "no rule"),
        ('x ::= "a"', InputError, "no rule 'root'"),
        ('root ::= "a', InputError, "not closed"),
        ('root ::= ("a"', InputError, "not closed"),
        ("root ::= [b-a]", InputError, "out of order"),
        ('root ::= "a"{9999}', UnsupportedError, "repeat"),
        ("root = x", InputError, "line 1"),
        ('root ::= "a"\nroot ::= "b"', InputError, "twice"),
    ],
)
def test_bad_grammars_are_named(text: str, error: type[RefimplError], word: str):
    with pytest.raises(error, match=word):
        gbnf.grammar(text)


@pytest.mark.parametrize("make", [lambda: gbnf.grammar(JSON), lambda: pattern(r"(é|\d{2})+!")])
def test_masks_are_what_brute_force_says_and_never_empty(make, vocabulary: Vocabulary):
    machine, rnd = Machine(make()), random.Random(4)
    masks = Masks(machine, vocabulary)
    for _ in range(4):
        state = machine.start
        for _ in range(15):
            mask = masks.mask(state)
            assert np.array_equal(mask, brute_force(machine, state, vocabulary))
            allowed = np.flatnonzero(unpack(mask, len(vocabulary.tokens)))
            assert allowed.size
            token = int(rnd.choice(allowed))
            if token == 0:
                break
            state = machine.advance(state, vocabulary.tokens[token])


def test_choices_and_patterns():
    m = Machine(choices(["left", "right", "left turn"]))
    assert [accepts(m, t) for t in ("left", "left turn", "left ", "up")] == [
        True,
        True,
        False,
        False,
    ]
    assert accepts(Machine(pattern(r"\d+")), "٣")  # Python's \d is Unicode's
    with pytest.raises(InputError, match="nothing matches"):
        pattern("a(?!a)(?=a)")


def test_equal_languages_have_equal_minimal_machines():
    r = Regexes()
    assert minimal(r, "(a|b)*abb") == minimal(r, "[ab]*ab{2}")
    assert minimal(r, "a+") != minimal(r, "a*")
    fsm = minimal(r, "-?(0|[1-9][0-9]*)")
    assert fsm.path("-10") == [0, 1, 3, 3] and fsm.path("01") == [0, 2]


def test_a_minimal_machine_accepts_what_the_pattern_does():
    r, text = Regexes(), "(a|ab)(c|bcd)?e{2,3}"
    fsm, node = minimal(r, text), full_match(r, text, ECMA)
    for n in range(6):
        for word in map("".join, itertools.product("abcde", repeat=n)):
            path = fsm.path(word)
            accepted = len(path) == n + 1 and path[-1] in fsm.accepting
            assert accepted == r.matches(node, word) == bool(re.fullmatch(text, word))
