r"""Reads a subset of Lark's grammars: rules, terminals, strings, patterns, groups and repeats.

Source: Lark's "Grammar Reference".  `rule: a "b" | c*`, `TERMINAL: /[0-9]+/`, `[x]` for optional,
`x~2..3` for counts, `"if"i` for either case, `-> alias` and the marks `?`, `!`, `_` (which shape
Lark's trees and mean nothing here), `%ignore`, and from `%import common.` the terminals listed in
COMMON.  Templates, priorities and other directives are refused by name.

There is no lexer: a text matches if it can be cut into terminals in some way, as with Lark's
dynamic Earley lexer; a lexer that always takes the longest terminal accepts fewer texts.  What is
ignored may stand before every terminal, and at the end.

>>> from refimpl.grammar.machine import Machine
>>> m = Machine(grammar('start: "(" start ")" | NUM\nNUM: /[0-9]+/\n%ignore " "'))
>>> [m.accepts(s) if (s := m.advance(m.start, t)) else None for t in (b"( (42) )", b"(4", b"x")]
[True, False, None]
"""

import re

from refimpl.errors import InputError, UnsupportedError
from refimpl.grammar import charset as cs
from refimpl.grammar.cfg import CfgGrammar, Symbol
from refimpl.grammar.fsm import minimal
from refimpl.grammar.regex import Regexes
from refimpl.grammar.regex_dialects import python_dialect

Option = tuple[Symbol, ...]
MAX_REPEAT = 2000
IGNORED = "%ignored"
COMMON = {
    "DIGIT": "[0-9]", "HEXDIGIT": "[0-9a-fA-F]", "INT": "[0-9]+", "SIGNED_INT": "[+-]?[0-9]+",
    "DECIMAL": r"[0-9]+\.[0-9]*|\.[0-9]+", "LETTER": "[a-zA-Z]", "WORD": "[a-zA-Z]+",
    "CNAME": "[_a-zA-Z][_a-zA-Z0-9]*", "WS": r"[ \t\f\r\n]+", "WS_INLINE": r"[ \t]+",
    "NEWLINE": r"(\r?\n)+", "ESCAPED_STRING": r'"([^"\\\n]|\\.)*"',
    "NUMBER": r"([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?",
    "SIGNED_NUMBER": r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?",
}  # fmt: skip
_TOKEN = re.compile(
    r"(?P<space>[ \t]+|//[^\n]*)|(?P<line>\r?\n)|(?P<word>[?!]?_?[A-Za-z][A-Za-z0-9_]*)"
    r'|(?P<string>"(?:[^"\\\n]|\\.)*"i?)|(?P<regex>/(?!/)(?:[^/\\\n]|\\.)+/[imslux]*)'
    r"|(?P<number>\d+)|(?P<sign>->|\.\.|[:|()\[\]*+?~%,.{}!])"
)


def grammar(text: str) -> CfgGrammar:
    """The grammar of a Lark document, beginning at its rule `start`."""
    reader = _Reader(text)
    try:
        reader.document()
    except RecursionError:
        raise UnsupportedError("a grammar nested this deeply; name its groups") from None
    reader.rules["%whole"] = (("start", IGNORED),)
    return CfgGrammar(reader.rules, "%whole")


def tokens_of(text: str) -> list[tuple[str, str, int]]:
    """(kind, text, line) of everything but blanks; a line that goes on with `|` is joined."""
    out: list[tuple[str, str, int]] = []
    at, line = 0, 1
    while at < len(text):
        m = _TOKEN.match(text, at)
        if m is None:
            raise InputError(f"bad grammar, line {line}: cannot read {text[at : at + 20]!r}")
        at, kind = m.end(), str(m.lastgroup)
        if m[0] == "|" and kind == "sign":
            while out and out[-1][0] == "line":
                out.pop()
        if kind != "space":
            out.append((kind, m[0], line))
        line += kind == "line"
    return [*out, ("line", "\n", line)]


class _Reader:
    def __init__(self, text: str):
        self.tokens, self.at = tokens_of(text), 0
        self.rules: dict[str, tuple[Option, ...]] = {}
        self.ignored: list[Option] = []
        self.fresh, self.name = 0, ""
        self.regexes = Regexes()

    def bad(self, why: str) -> InputError:
        return InputError(
            f"bad grammar, line {self.tokens[min(self.at, len(self.tokens) - 1)][2]}: {why}"
        )

    def peek(self) -> tuple[str, str]:
        return self.tokens[self.at][:2] if self.at < len(self.tokens) else ("end", "")

    def take(self, *texts: str) -> bool:
        if self.peek()[1] in texts and self.peek()[0] == "sign":
            self.at += 1
            return True
        return False

    def next(self, kind: str, what: str) -> str:
        found, text = self.peek()
        if found != kind:
            raise self.bad(f"expected {what}, not {text!r}")
        self.at += 1
        return text

    def document(self) -> None:
        while self.at < len(self.tokens):
            kind, _ = self.peek()
            if kind == "line":
                self.at += 1
            elif self.take("%"):
                self.directive()
            else:
                self.definition()
        self.rules[IGNORED] = (*((*o, IGNORED) for o in self.ignored), ())

    def directive(self) -> None:
        name = self.next("word", "a directive")
        if name == "ignore":
            self.name = IGNORED
            self.ignored += self.alternatives(lexical=True)
        elif name == "import":
            if self.next("word", "`common`") != "common" or not self.take("."):
                raise UnsupportedError("%import from anything but `common`")
            terminal = self.next("word", "a terminal")
            alias = self.next("word", "a name") if self.take("->") else terminal
            if terminal not in COMMON:
                raise UnsupportedError(f"%import common.{terminal}; write it as a pattern")
            self.define(alias, ((self.pattern(COMMON[terminal]),),))
        else:
            raise UnsupportedError(f"the directive %{name}")

    def definition(self) -> None:
        name = self.next("word", "a rule").lstrip("?!")
        if self.take("{", "."):
            raise UnsupportedError("templates and priorities of rules")
        if not self.take(":"):
            raise self.bad("expected `:` after the name of a rule")
        self.name = name
        self.define(name, self.alternatives(lexical=name.lstrip("_")[:1].isupper()))

    def define(self, name: str, options: tuple[Option, ...]) -> None:
        if name in self.rules:
            raise self.bad(f"the rule {name!r} is defined twice")
        self.rules[name] = options

    def alternatives(self, lexical: bool) -> tuple[Option, ...]:
        options = [self.sequence(lexical)]
        while self.take("|"):
            options.append(self.sequence(lexical))
        return tuple(options)

    def sequence(self, lexical: bool) -> Option:
        out: list[Symbol] = []
        while True:
            if self.take("->"):
                self.next("word", "an alias")
                continue
            item = self.item(lexical)
            if item is None:
                return tuple(out)
            out += self.repeated(item)

    def item(self, lexical: bool) -> Option | None:
        kind, text = self.peek()
        if kind == "word":
            self.at += 1
            name = text.lstrip("?!")
            terminal = name.lstrip("_")[:1].isupper()
            return self.terminal((name,), lexical) if terminal else (name,)
        if kind in ("string", "regex"):
            self.at += 1
            symbols = self.string(text) if kind == "string" else (self.pattern_of(text),)
            return self.terminal(symbols, lexical)
        for opening, closing in (("(", ")"), ("[", "]")):
            if self.take(opening):
                options = self.alternatives(lexical)
                if not self.take(closing):
                    raise self.bad("a group is not closed")
                return (self.rule(*options, *([()] if closing == "]" else [])),)
        return None

    def terminal(self, symbols: Option, lexical: bool) -> Option:
        """Inside a rule, what is ignored may stand before it; inside a terminal nothing may."""
        return symbols if lexical else (IGNORED, *symbols)

    def rule(self, *options: Option) -> str:
        self.fresh += 1
        name = f"{self.name}.{self.fresh}"
        self.rules[name] = options
        return name

    def repeated(self, item: Option) -> Option:
        if self.take("*"):
            return (self.loop(item),)
        if self.take("+"):
            return (*item, self.loop(item))
        if self.take("?"):
            return (self.rule(item, ()),)
        if not self.take("~"):
            return item
        lo = int(self.next("number", "a count"))
        hi = int(self.next("number", "a count")) if self.take("..") else lo
        if hi > MAX_REPEAT:
            raise UnsupportedError(f"a repeat of more than {MAX_REPEAT} in a grammar")
        if lo > hi:
            raise self.bad("numbers out of order in a repeat")
        tail: Option = ()
        for _ in range(hi - lo):
            tail = (self.rule((*item, *tail), ()),)
        return (*item * lo, *tail)

    def loop(self, item: Option) -> str:
        name = self.rule()
        self.rules[name] = ((*item, name), ())
        return name

    def string(self, text: str) -> Option:
        folded = text.endswith("i")
        body = re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[1]), text[1 : -1 - folded])
        return tuple(cs.of(c.lower() + c.upper() if folded else c) for c in body)

    def pattern_of(self, text: str) -> str:
        body, _, flags = text[1:].rpartition("/")
        if set(flags) - set("is"):
            raise UnsupportedError(f"the flags {flags!r} of a pattern; only i and s are known")
        body = body.replace("\\/", "/")
        return self.pattern(f"(?{flags}:{body})" if flags else body)

    def pattern(self, pattern: str) -> str:
        """A regular expression as rules, one for each state of its smallest machine."""
        fsm = minimal(self.regexes, pattern, python_dialect())
        self.fresh += 1
        prefix = f"{self.name}/{self.fresh}/"
        for state, moves in enumerate(fsm.moves):
            targets: dict[int, list[tuple[int, int]]] = {}
            for lo, hi, target in moves:
                targets.setdefault(target, []).append((lo, hi))
            options: list[Option] = [
                (cs.charset(*ranges), f"{prefix}{target}") for target, ranges in targets.items()
            ]
            self.rules[f"{prefix}{state}"] = (*options, *([()] if state in fsm.accepting else []))
        return f"{prefix}{fsm.start}"


_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "f": "\f"}
