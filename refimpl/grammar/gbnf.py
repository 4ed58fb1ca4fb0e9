r"""Reads grammars in GBNF, the notation of llama.cpp (an EBNF with character classes).

Source: llama.cpp, grammars/README.md.  A rule is `name ::= alternatives`; an alternative is a
sequence of "literals", [classes], `.`, names and groups in parentheses, each perhaps followed by
`*`, `+`, `?` or `{m,n}`.  A rule ends at a line end outside parentheses, unless the next line goes
on with `|`.  A repeat becomes rules of its own: `x*` is `r ::= x r | ""`.

>>> sorted(parse('root ::= "a" [0-9]?'))
['root', 'root.1']
"""

import re

from refimpl.errors import InputError, UnsupportedError
from refimpl.grammar import charset as cs
from refimpl.grammar.cfg import CfgGrammar, Symbol
from refimpl.grammar.charset import CharSet

Option = tuple[Symbol, ...]
MAX_REPEAT = 2000
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}
_HEX = {"x": 2, "u": 4, "U": 8}


def grammar(text: str) -> CfgGrammar:
    """The grammar of a GBNF document, beginning at its rule `root`."""
    return CfgGrammar(parse(text))


def parse(text: str) -> dict[str, tuple[Option, ...]]:
    reader = _Reader(text)
    try:
        reader.document()
    except RecursionError:
        raise UnsupportedError("a grammar nested this deeply; name its groups") from None
    return reader.rules


class _Reader:
    def __init__(self, text: str):
        self.text, self.at = text, 0
        self.rules: dict[str, tuple[Option, ...]] = {}
        self.name, self.fresh = "", 0

    def bad(self, why: str) -> InputError:
        line = self.text.count("\n", 0, self.at) + 1
        return InputError(f"bad grammar, line {line}: {why}")

    def space(self, lines: bool) -> None:
        """Passes blanks and comments, and line ends if `lines`."""
        self.take(r"(\s|#[^\n]*)*" if lines else r"([ \t]|#[^\n]*)*")

    def take(self, pattern: str) -> "re.Match[str] | None":
        m = re.compile(pattern).match(self.text, self.at)
        self.at = m.end() if m else self.at
        return m

    def document(self) -> None:
        self.space(lines=True)
        while self.at < len(self.text):
            m = self.take(r"([A-Za-z][\w-]*)\s*::=")
            if not m:
                raise self.bad("expected `name ::=`")
            if m[1] in self.rules:
                raise self.bad(f"the rule {m[1]!r} is defined twice")
            self.name, self.fresh = m[1], 0
            self.space(lines=True)
            self.rules[m[1]] = self.alternatives(nested=False)
            self.space(lines=True)

    def alternatives(self, nested: bool) -> tuple[Option, ...]:
        options = [self.sequence(nested)]
        while True:
            here = self.at
            self.space(lines=True)  # a bar may stand at the beginning of the next line
            if not self.take(r"\|"):
                self.at = self.at if nested else here
                return tuple(options)
            self.space(lines=True)
            options.append(self.sequence(nested))

    def sequence(self, nested: bool) -> Option:
        out: list[Symbol] = []
        while True:
            self.space(nested)
            item = self.item()
            if item is None:
                return tuple(out)
            self.space(nested)
            out += self.repeated(item)

    def item(self) -> Option | None:
        c = self.text[self.at : self.at + 1]
        if c == '"':
            return self.literal()
        if c == "[":
            return (self.char_class(),)
        if self.take(r"\."):
            return (cs.ALL,)
        if self.take(r"\("):
            options = self.alternatives(nested=True)
            self.space(lines=True)
            if not self.take(r"\)"):
                raise self.bad("a group is not closed")
            return options[0] if len(options) == 1 else (self.rule(*options),)
        if re.compile(r"[A-Za-z][\w-]*\s*::=").match(self.text, self.at):
            return None  # the next rule
        name = self.take(r"[A-Za-z][\w-]*")
        return (name[0],) if name else None

    def rule(self, *options: Option) -> str:
        self.fresh += 1
        name = f"{self.name}.{self.fresh}"
        self.rules[name] = options
        return name

    def repeated(self, item: Option) -> Option:
        if m := self.take(r"[*+?]"):
            lo, hi = {"*": (0, None), "+": (1, None), "?": (0, 1)}[m[0]]
        elif m := self.take(r"\{(\d+)(,?)(\d*)\}"):
            lo, hi = int(m[1]), (int(m[3]) if m[3] else None) if m[2] else int(m[1])
        else:
            return item
        if max(lo, hi or 0) > MAX_REPEAT:
            raise UnsupportedError(f"a repeat of more than {MAX_REPEAT} in a grammar")
        if hi is not None and lo > hi:
            raise self.bad("numbers out of order in a repeat")
        if hi is None:
            self.fresh += 1
            name = f"{self.name}.{self.fresh}"
            self.rules[name] = ((*item, name), ())
            return (*item * lo, name)
        tail: Option = ()
        for _ in range(hi - lo):
            tail = (self.rule((*item, *tail), ()),)
        return (*item * lo, *tail)

    def literal(self) -> Option:
        self.at += 1
        out: list[Symbol] = []
        while not self.take('"'):
            out.append(cs.of(self.character()))
        return tuple(out)

    def character(self) -> str:
        c = self.text[self.at : self.at + 1]
        if not c or c == "\n":
            raise self.bad("a literal or class is not closed")
        self.at += 1
        if c != "\\":
            return c
        c = self.text[self.at : self.at + 1]
        self.at += 1
        if c in _HEX and (m := self.take(rf"[0-9a-fA-F]{{{_HEX[c]}}}")):
            if int(m[0], 16) > cs.MAX_CODE_POINT:
                raise self.bad("a code point beyond Unicode")
            return chr(int(m[0], 16))
        if not c or (c.isalnum() and c not in _ESCAPES):
            raise self.bad(f"unknown escape \\{c}")
        return _ESCAPES.get(c, c)

    def char_class(self) -> CharSet:
        self.at += 1
        negative = bool(self.take(r"\^"))
        ranges: list[tuple[int, int]] = []
        while not self.take(r"\]"):
            lo = hi = ord(self.character())
            if self.take(r"-(?!\])"):
                hi = ord(self.character())
            if lo > hi:
                raise self.bad("a range out of order")
            ranges.append((lo, hi))
        s = cs.charset(*ranges)
        return cs.complement(s) if negative else s
