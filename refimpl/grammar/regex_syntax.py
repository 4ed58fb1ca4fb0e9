"""Reads regular expressions: the dialect of ECMA-262 (flag `u`), and that of Python's `re`.

Sources: ECMA-262 section 22.2.1 (Patterns) and the documentation of `re`.  The dialects differ in
their classes (`\\d \\w \\b` are ASCII in ECMA-262), in what `.` and `$` mean beside a line end, and
in a few escapes.  Laziness is ignored: it changes which match is found, never whether there is one.
What is not a regular language (backreferences), or depends on backtracking (atomic groups), is
refused by name.  The result is a tree; `regex_language` says what it matches.

>>> from refimpl.grammar.regex_dialects import ECMA
>>> parse("a|[0-9]{2}", ECMA)
Alt(options=(Seq(items=(Chars(set=((97, 97),)),)), Seq(items=(Repeat(...),))))
"""

import re
import sys
from dataclasses import dataclass

from refimpl.errors import InputError, UnsupportedError
from refimpl.grammar import charset as cs
from refimpl.grammar.charset import CharSet
from refimpl.grammar.regex_dialects import Dialect, unicode_property


@dataclass(frozen=True)
class Chars:
    set: CharSet


@dataclass(frozen=True)
class Seq:
    items: "tuple[Tree, ...]"


@dataclass(frozen=True)
class Alt:
    options: "tuple[Tree, ...]"


@dataclass(frozen=True)
class Repeat:
    body: "Tree"
    lo: int
    hi: int | None


@dataclass(frozen=True)
class Look:
    """An assertion that `body` matches ahead of (or ends right behind) this position."""

    body: "Tree"
    ahead: bool
    negative: bool


@dataclass(frozen=True)
class Boundary:
    """`kind` is one of: start, end, line_end (before a last newline too), word, not_word."""

    kind: str


Tree = Chars | Seq | Alt | Repeat | Look | Boundary


def parse(pattern: str, dialect: Dialect) -> Tree:
    """The tree of a pattern, or a named error."""
    if len(pattern) > 100_000:
        raise UnsupportedError("a pattern of more than 100000 characters; split it")
    try:
        return _Parser(pattern, dialect).whole()
    except RecursionError:
        raise UnsupportedError("a pattern nested this deeply; flatten its groups") from None


_CONTROL = {"t": 9, "n": 10, "v": 11, "f": 12, "r": 13}


class _Parser:
    """Recursive descent: alternatives, terms, quantifiers, atoms."""

    def __init__(self, pattern: str, dialect: Dialect):
        self.text, self.at, self.dialect = pattern, 0, dialect
        self.ignore_case = self.dot_all = False

    # --- reading

    def peek(self, n: int = 1) -> str:
        return self.text[self.at : self.at + n]

    def take(self, expected: str) -> bool:
        if self.text.startswith(expected, self.at):
            self.at += len(expected)
            return True
        return False

    def next(self) -> str:
        if self.at >= len(self.text):
            raise self.bad("it ends too early")
        self.at += 1
        return self.text[self.at - 1]

    def match(self, pattern: str) -> "re.Match[str] | None":
        m = re.compile(pattern).match(self.text, self.at)
        if m:
            self.at = m.end()
        return m

    def bad(self, why: str) -> InputError:
        return InputError(f"bad regular expression {self.text[:80]!r} at {self.at}: {why}")

    def refuse(self, what: str) -> UnsupportedError:
        return UnsupportedError(f"{what} in the pattern {self.text[:80]!r}")

    # --- grammar

    def whole(self) -> Tree:
        if self.dialect.python and (m := self.match(r"\(\?([a-zA-Z]+)\)")):
            self.flags(m.group(1))
        tree = self.alternatives()
        if self.at < len(self.text):
            raise self.bad("unbalanced parenthesis")
        return tree

    def flags(self, letters: str) -> None:
        for letter in letters:
            if letter not in "isu":
                raise self.refuse(f"the flag {letter!r}")
        self.ignore_case |= "i" in letters
        self.dot_all |= "s" in letters

    def alternatives(self) -> Tree:
        options = [self.sequence()]
        while self.take("|"):
            options.append(self.sequence())
        return options[0] if len(options) == 1 else Alt(tuple(options))

    def sequence(self) -> Tree:
        items: list[Tree] = []
        while self.at < len(self.text) and self.peek() not in "|)":
            items.append(self.term())
        return Seq(tuple(items))

    def term(self) -> Tree:
        atom = self.atom()
        while (bounds := self.quantifier()) is not None:
            lo, hi = bounds
            if hi is not None and lo > hi:
                raise self.bad("numbers out of order in a quantifier")
            if isinstance(atom, Boundary) or (isinstance(atom, Look) and not self.dialect.python):
                raise self.bad("a quantifier after an assertion")
            atom = Repeat(atom, lo, hi)
            if not self.take("?") and self.dialect.python and self.peek() == "+":
                raise self.refuse("a possessive quantifier")
        return atom

    def quantifier(self) -> tuple[int, int | None] | None:
        simple = {"*": (0, None), "+": (1, None), "?": (0, 1)}
        if (c := self.peek()) and c in simple:
            self.at += 1
            return simple[c]
        if m := self.match(r"\{(\d+)(,?)(\d*)\}"):
            lo, hi = int(m[1]), (int(m[3]) if m[3] else None) if m[2] else int(m[1])
        elif self.dialect.python and (m := self.match(r"\{,(\d+)\}")):
            lo, hi = 0, int(m[1])
        else:
            return None
        if max(lo, hi or 0) > 100_000:
            raise self.refuse("a repeat count over 100000")
        return lo, hi

    def atom(self) -> Tree:
        c = self.next()
        match c:
            case "(":
                return self.group()
            case "[":
                return Chars(self.fold(self.bracket()))
            case ".":
                return Chars(cs.ALL if self.dot_all else cs.complement(self.dialect.line_ends))
            case "^":
                return Boundary("start")
            case "$":
                return Boundary(self.dialect.dollar)
            case "\\":
                return self.escape()
            case "*" | "+" | "?":
                raise self.bad("nothing to repeat")
        return Chars(self.fold(cs.of(c)))

    def fold(self, s: CharSet) -> CharSet:
        if not self.ignore_case:
            return s
        if sum(hi - lo for lo, hi in s) > 5000:
            raise self.refuse("a large class under the flag 'i'")
        letters = [chr(c) for lo, hi in s for c in range(lo, hi + 1)]
        cases = [v for c in letters for v in (c, c.lower(), c.upper()) if len(v) == 1]
        return cs.of("".join(cases))

    def group(self) -> Tree:
        if not self.take("?"):
            return self.close(self.alternatives())
        for mark, ahead, negative in (
            ("=", True, False),
            ("!", True, True),
            ("<=", False, False),
            ("<!", False, True),
        ):
            if self.take(mark):
                return Look(self.close(self.alternatives()), ahead, negative)
        if self.take(":") or self.match(r"P?<[^\W\d]\w*>"):
            return self.close(self.alternatives())
        if self.match(r"P=") or self.peek() == "(":
            raise self.refuse("a backreference")
        if self.peek() == ">":
            raise self.refuse("an atomic group")
        raise self.refuse(f"the group (?{self.peek(4)}")

    def close(self, tree: Tree) -> Tree:
        if not self.take(")"):
            raise self.bad("a group is not closed")
        return tree

    def escape(self) -> Tree:
        c = self.peek()
        if c and c in "bB":
            self.at += 1
            return Boundary("word" if c == "b" else "not_word")
        if self.dialect.python and c and c in "AZ":
            self.at += 1
            return Boundary("start" if c == "A" else "end")
        if (c and c in "123456789") or (c == "k" and not self.dialect.python):
            raise self.refuse("a backreference")
        return Chars(self.fold(self.char_class()))

    def char_class(self) -> CharSet:
        """What follows a backslash, where a set or a character may stand."""
        c = self.next()
        classes = {"d": self.dialect.digit, "w": self.dialect.word, "s": self.dialect.space}
        if c.lower() in classes:
            s = classes[c.lower()]
            return s if c.islower() else cs.complement(s)
        if c in "pP" and not self.dialect.python:
            m = self.match(r"\{([A-Za-z0-9_=]+)\}")
            if not m:
                raise self.bad("\\p needs a name in braces")
            s = unicode_property(m[1])
            return s if c == "p" else cs.complement(s)
        point = self.code_point(c)
        return cs.charset((point, point))

    def code_point(self, c: str) -> int:
        if c in _CONTROL:
            return _CONTROL[c]
        if c == "a" and self.dialect.python:
            return 7
        if c == "0" and not self.peek().isdigit():
            return 0
        if c == "x" and (m := self.match(r"[0-9a-fA-F]{2}")):
            return int(m[0], 16)
        if c == "c" and not self.dialect.python and (m := self.match(r"[A-Za-z]")):
            return ord(m[0]) % 32
        if c in "uU" and (point := self.unicode_escape(c)) is not None:
            return point
        if c.isascii() and c.isalnum():
            raise self.refuse(f"the escape \\{c}")
        return ord(c)

    def unicode_escape(self, c: str) -> int | None:
        pair = r"[dD]([89abAB][0-9a-fA-F]{2})\\u[dD]([c-fC-F][0-9a-fA-F]{2})"
        if c == "u" and (m := self.match(pair)):
            hi, lo = int(m[1], 16) - 0x800, int(m[2], 16) - 0xC00
            return 0x10000 + (hi << 10) + lo
        forms = [r"\{([0-9a-fA-F]+)\}", r"([0-9a-fA-F]{4})"]
        if self.dialect.python:
            forms = [r"([0-9a-fA-F]{4})"] if c == "u" else [r"([0-9a-fA-F]{8})"]
        for form in forms if c == "u" or self.dialect.python else []:
            if (m := self.match(form)) and int(m[1], 16) <= sys.maxunicode:
                return int(m[1], 16)
        return None

    # --- [...]

    def bracket(self) -> CharSet:
        negative = self.take("^")
        parts: list[CharSet] = []
        first = True
        while not self.take("]") or (first and self.dialect.python):
            if first and self.dialect.python and self.text[self.at - 1] == "]":
                self.at -= 1  # Python: a bracket right at the beginning is literal
            first = False
            parts += self.bracket_item()
        s = cs.union(*parts)
        return cs.complement(s) if negative else s

    def bracket_item(self) -> list[CharSet]:
        lo = self.bracket_atom()
        if self.peek() != "-" or self.peek(2) in ("-", "-]"):
            return [lo]
        self.at += 1
        hi = self.bracket_atom()
        if _single(lo) is None or _single(hi) is None:  # a class beside a dash: the dash is literal
            return [lo, cs.of("-"), hi]
        a, b = lo[0][0], hi[0][0]
        if a > b:
            raise self.bad("a range out of order")
        return [cs.charset((a, b))]

    def bracket_atom(self) -> CharSet:
        c = self.next()
        if c != "\\":
            return cs.of(c)
        if self.peek() == "b":
            self.at += 1
            return cs.charset((8, 8))
        return self.char_class()


def _single(s: CharSet) -> int | None:
    return s[0][0] if len(s) == 1 and s[0][0] == s[0][1] else None
