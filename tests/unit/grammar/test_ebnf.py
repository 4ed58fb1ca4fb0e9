"""The EBNF of the W3C: XML's own rules, what is refused by name, and random grammars by fuzz."""

import random
import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from cli import main
from refimpl.errors import InputError, RefimplError, UnsupportedError
from refimpl.grammar import ebnf
from refimpl.grammar.guide import read_grammar
from refimpl.grammar.machine import Machine

# Productions of XML 1.0 (fifth edition), numbers and all.
XML = """
[40] STag      ::= '<' Name (S Attribute)* S? '>'   [ WFC: Unique Att Spec ]
[41] Attribute ::= Name Eq AttValue
[25] Eq        ::= S? '=' S?
[10] AttValue  ::= '"' ([^<&"] | Reference)* '"' | "'" ([^<&'] | Reference)* "'"
[68] Reference ::= '&' Name ';' | '&#' [0-9]+ ';' | '&#x' [0-9a-fA-F]+ ';'
[3]  S         ::= (#x20 | #x9 | #xD | #xA)+
[5]  Name      ::= NameStart (NameStart | [-.0-9#xB7])*  /* shortened */
[4]  NameStart ::= ":" | [A-Z] | "_" | [a-z] | [#xC0-#xD6]
"""
TARGET = "PITarget ::= Name - (('X' | 'x') ('M' | 'm') ('L' | 'l'))\nName ::= [A-Za-z] [A-Za-z0-9]*"
CDATA = "CharData ::= [^<&]* - ([^<&]* ']]>' [^<&]*)"


def accepts(text: str, document: str) -> bool:
    machine = Machine(ebnf.grammar(text))
    state = machine.advance(machine.start, document.encode())
    return state is not None and machine.accepts(state)


@pytest.mark.parametrize(
    ("text", "document", "valid"),
    [
        (XML, "<a>", True),
        (XML, "<À.b c = '\"&amp;&#x1F;' d=\"'\" >", True),
        (XML, "<a b='<'>", False),
        (XML, "<.a>", False),
        (TARGET, "xm", True),
        (TARGET, "xmlx", True),
        (TARGET, "xMl", False),
        (CDATA, "a ]] > b", True),
        (CDATA, "a ]]> b", False),
        (CDATA, "", True),
        ("a ::= [^a-c]", "d", True),
        ("a ::= [^a-c]", "b", False),
        ("a ::= '\\n'", "\\n", True),  # no escapes
        ("a ::= [a-]+ '' b | 'q'\nb ::= 'x'?", "a-x", True),
        ("b ::= 'b' root\nroot ::= 'a' b?", "aba", True),  # `root` is the root wherever it stands
        ("a ::= [0-9] - '0' - '9'", "9", False),
    ],
)
def test_what_is_accepted(text: str, document: str, valid: bool):
    assert accepts(text, document) is valid


@pytest.mark.parametrize(
    ("text", "error", "word"),
    [
        ("a ::= 'x", InputError, "cannot read"),
        ("a ::= ('x'", InputError, "not closed"),
        ("a ::= [a", InputError, "not closed"),
        ("a ::= [b-a]", InputError, "out of order"),
        ("a ::= #x110000", InputError, "beyond Unicode"),
        ("a ::= 'x' /* ", InputError, "comment is not closed"),
        ("a ::= b", InputError, "no rule 'b'"),
        ("a ::= 'x' - b", InputError, "no rule 'b'"),
        ("a ::= 'x'\na ::= 'y'", InputError, "twice"),
        ("a ::= 'x' -", InputError, "nothing after"),
        ("a ::= 'x' - 'x'", InputError, "no finite text"),
        ("a-b ::= 'x'", InputError, "line 1: expected"),
        ("", InputError, "no rule"),
        ("a ::= '(' a? ')'\nb ::= a - '()'", UnsupportedError, "'a', which is recursive"),
        ("a ::= a 'x' | 'y'", UnsupportedError, "left recursion"),
        ("a ::= " + "(" * 5000 + "'x'" + ")" * 5000, UnsupportedError, "nested this deeply"),
    ],
)
def test_what_is_refused_by_name(text: str, error: type[RefimplError], word: str):
    with pytest.raises(error, match=word):
        ebnf.grammar(text)


@pytest.mark.parametrize(
    ("text", "document"),
    [
        ("digits ::= #x30 | [1-9]+", "12"),
        ("x ::= [a-z] - 'b'", "c"),
        ('root ::= "\\n" # GBNF: a comment, isn\'t it', "\n"),
        ('root ::= "it\'s" [#-\'] "/*"', "it's%/*"),
        ('start: "a"', "a"),
    ],
)
def test_the_notation_is_recognised(text: str, document: str):
    machine = Machine(read_grammar(text))
    state = machine.advance(machine.start, document.encode())
    assert state is not None and machine.accepts(state)


LEAVES = [("'a'", "a"), ('"b"', "b"), ("#x63", "c"), ("[ab]", "[ab]"), ("[^a]", "[^a]")]
Pair = tuple[str, str]


def written(tree: st.SearchStrategy[Pair]) -> st.SearchStrategy[Pair]:
    """The same expression in EBNF and in Python's notation."""
    pairs = st.tuples(tree, tree)
    return st.one_of(
        pairs.map(lambda p: (f"({p[0][0]} {p[1][0]})", f"(?:{p[0][1]}{p[1][1]})")),
        pairs.map(lambda p: (f"({p[0][0]} | {p[1][0]})", f"(?:{p[0][1]}|{p[1][1]})")),
        tree.map(lambda t: (f"{t[0]}?", f"(?:{t[1]})?")),
    )


EXPRESSIONS = st.recursive(st.sampled_from(LEAVES), written, max_leaves=6)


@given(EXPRESSIONS, EXPRESSIONS, st.text("abc", max_size=4))
def test_fuzz_expressions_mean_what_python_says(one: Pair, two: Pair, document: str):
    in_one, in_two = (bool(re.fullmatch(pattern, document)) for _, pattern in (one, two))
    assert accepts(f"root ::= {one[0]}", document) == in_one
    loops, pattern = f"root ::= (#x7A | {one[0]} #x7A)*", f"(?:z|{one[1]}z)*"
    for text in (document, document + "zz", f"{document}z{document}z"):
        assert accepts(loops, text) == bool(re.fullmatch(pattern, text))
    try:
        assert accepts(f"root ::= {one[0]} - {two[0]}", document) == (in_one and not in_two)
    except InputError as error:
        assert "no finite text" in str(error)
        assert not in_one or in_two


@given(st.text("ab'\"[]#x09()|-?*+ \n:=/", max_size=40))
def test_fuzz_any_text_is_read_or_refused_by_name(text: str):
    try:
        machine = Machine(ebnf.grammar("a ::= " + text))
    except RefimplError:
        return
    rnd, state = random.Random(text), machine.start
    for _ in range(20):
        bytes_ = [b for b in range(256) if machine.step(state, b) is not None]
        assert bytes_ or machine.accepts(state), "a dead end"
        if not bytes_:
            break
        after = machine.step(state, rnd.choice(bytes_))
        assert after is not None
        state = after


def test_the_command_line_reads_it(tmp_path: Path):
    file = tmp_path / "answer.ebnf"
    file.write_text("answer ::= ('yes' | 'no') - 'no' /* always */")
    result = CliRunner().invoke(
        main, ["generate", "Well? ", "--grammar", str(file), "--max-tokens", "8"]
    )
    assert result.exit_code == 0, result.output
    assert "yes" in result.output
