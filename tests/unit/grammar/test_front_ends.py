"""Lark and XML: what is accepted, what is refused by name, and against Lark's meaning."""

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from refimpl.errors import InputError, UnsupportedError
from refimpl.grammar import lark, xml
from refimpl.grammar.constraint import Constraint
from refimpl.grammar.guide import read_grammar
from refimpl.grammar.machine import Grammar, Machine
from refimpl.grammar.masks import Vocabulary, unpack

CALCULATOR = """
// arithmetic
?start: sum
sum: product (("+"|"-") product)*
product: atom (("*"|"/") atom)*   -> prod
atom: NUMBER | "-" atom | NAME
    | "(" sum ")" | "sin"i "(" [sum] ")" | "x"~2..3
%import common.CNAME -> NAME
%import common.NUMBER
%import common.WS_INLINE
%ignore WS_INLINE
"""
CALL = {
    "root": "call",
    "elements": {
        "call": {"attributes": {"name": {"enum": ["get", "p<t"]}}, "children": ["arg*", "note?"]},
        "arg": {"attributes": {"key": {}, "unit?": {"pattern": "[a-z]+"}}, "text": {}},
        "note": {"mixed": True, "children": ["arg"]},
    },
}


def accepts(grammar: Grammar, text: str) -> bool:
    machine = Machine(grammar)
    state = machine.advance(machine.start, text.encode())
    return state is not None and machine.accepts(state)


@pytest.mark.parametrize("text", ["1+2*(3-4)", "1 + foo ", "SIN( 3 )", "sin()", "xx", "3.5e2 / -x"])
def test_lark_accepts(text: str):
    assert accepts(lark.grammar(CALCULATOR), text)


@pytest.mark.parametrize("text", ["1+", "(1", "1 2", "", "sin(", "+"])
def test_lark_rejects(text: str):
    assert not accepts(lark.grammar(CALCULATOR), text)


@pytest.mark.parametrize(
    ("text", "error", "word"),
    [
        ("start: x", InputError, "no rule 'x'"),
        ('start: "a" start.2', InputError, "expected"),
        ("start: (", InputError, "not closed"),
        ("start: #", InputError, "cannot read"),
        ('start: "a"\nstart: "b"', InputError, "twice"),
        ('start: start "a" | "b"', UnsupportedError, "left recursion"),
        ('a{x}: x\nstart: "a"', UnsupportedError, "templates"),
        ("%import python.NAME\nstart: NAME", UnsupportedError, "common"),
        ("%declare X\nstart: X", UnsupportedError, "declare"),
        ('start: "a"~9999', UnsupportedError, "repeat"),
        ("start: /a/x", UnsupportedError, "flags"),
    ],
)
def test_lark_refuses_by_name(text: str, error: type[Exception], word: str):
    with pytest.raises(error, match=word):
        lark.grammar(text)


@pytest.mark.parametrize(
    "text",
    [
        '<call name="get"><arg key="a">x &lt; y</arg></call>',
        '<call name="p&lt;t"></call>',
        '<call name="get"><arg key="a" unit="cm">é"</arg><arg key=""></arg></call>',
        '<call name="get"><note>a<arg key="&quot;">b</arg>c</note></call>',
    ],
)
def test_xml_accepts_what_a_parser_reads(text: str):
    assert accepts(xml.grammar(CALL), text)
    assert ElementTree.fromstring(text).tag == "call"


@pytest.mark.parametrize(
    "text",
    [
        '<call name="other"></call>',
        '<call name="get"><arg key="a" unit="9"></arg></call>',
        '<call name="get"><arg key="a">a & b</arg></call>',
        '<call name="get"></note></call>',
        '<call name="get">text</call>',
        "<call></call>",
    ],
)
def test_xml_rejects(text: str):
    assert not accepts(xml.grammar(CALL), text)


@pytest.mark.parametrize(
    ("schema", "word"),
    [
        ({"elements": {}}, "root"),
        ({"root": "a", "elements": {}}, "not described"),
        ({"root": "a b", "elements": {"a b": {}}}, "no name"),
        ({"root": "a", "elements": {"a": {"children": ["a!"]}}}, "not described|may follow"),
        ({"root": "a", "elements": {"a": {"children": ["a"], "text": {}}}}, "mixed"),
        ({"root": "a", "elements": {"a": {"children": ["a"]}}}, "no finite text"),
    ],
)
def test_a_malformed_schema_of_elements(schema: dict[str, object], word: str):
    with pytest.raises(InputError, match=word):
        xml.grammar(schema)


def test_xml_walks_are_well_formed(vocabulary: Vocabulary):
    c, rnd = Constraint(xml.grammar(CALL), vocabulary), np.random.default_rng(3)
    finished = 0
    for _ in range(8):
        state, text = c.start, b""
        for _ in range(80):
            allowed = np.flatnonzero(unpack(c.mask(state), len(vocabulary.tokens)))
            closing = [t for t in allowed if vocabulary.tokens[t] in (b"<", b"/", b">")]
            token = int(rnd.choice(closing if closing and rnd.random() < 0.7 else allowed))
            if token == 0:
                finished += 1
                ElementTree.fromstring(text.decode())
                break
            state, text = c.advance(state, token), text + vocabulary.tokens[token]
    assert finished


def test_the_notation_is_recognised():
    assert accepts(read_grammar('root ::= "a"'), "a")
    assert accepts(read_grammar('start: "a"'), "a")
    assert accepts(read_grammar('{"root": "a", "elements": {"a": {}}}'), "<a></a>")
