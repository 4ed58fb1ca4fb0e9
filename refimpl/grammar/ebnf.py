r"""Reads grammars in the EBNF of the W3C, in which XML and its relatives are defined.

Source: XML 1.0 (fifth edition), section 6, "Notation".  A rule is `name ::= expression`; an
expression has `"text"` or `'text'`, `#x20` for a character, classes `[a-z#xC0-#xD6]` and `[^...]`,
names, groups, `A B`, `A | B`, `A?`, `A*`, `A+`, and `A - B`: what matches A and does not match B.
There are no escapes.  Comments stand between `/*` and `*/`; the numbers of rules (`[1] name ::=`,
on all of them or none) and `[wfc: ...]`, `[vc: ...]` are passed over.  The text is one of the rule
`root`, or of the first if there is none of that name.

`A - B` is computed where both are regular: the rules named in them are put in place, and a rule
that leads back to itself is refused by name there.  A `-` is never a part of a name.

>>> from refimpl.grammar.machine import Machine
>>> m = Machine(grammar('''Comment ::= '<!--' ((Char - '-') | ('-' (Char - '-')))* '-->'
...                        Char    ::= #x9 | [#x20-#xD7FF]'''))
>>> [m.accepts(s) if (s := m.advance(m.start, t)) else None for t in (b"<!-- a-b -->", b"<!-- --")]
[True, False]
"""

import re
from dataclasses import dataclass

from refimpl.errors import InputError, UnsupportedError
from refimpl.grammar import charset as cs
from refimpl.grammar.cfg import CfgGrammar, Symbol
from refimpl.grammar.charset import CharSet
from refimpl.grammar.fsm import minimise
from refimpl.grammar.regex import Node, Regexes

Option = tuple[Symbol, ...]
_NAME = re.compile(r"[A-Za-z_]\w*")
_NUMBER = re.compile(r"\[\d+\w*\]\s*(?=[A-Za-z_]\w*\s*::=)")
_MARKS = re.compile(
    r'"[^"\n]*"|\[[^\]\n]*\]|#(?!x[0-9a-fA-F])[^\n]*'  # what both notations have, or GBNF alone
    r"|(?P<ebnf>'|/\*|#x|\s-\s)"
)


def is_ebnf(text: str) -> bool:
    """Whether a grammar with `::=` can only be in this notation: by its `'`, `/*`, `#x` or ` - `.

    >>> is_ebnf("root ::= 'a'"), is_ebnf('root ::= "it\\'s" # a comment of GBNF, isn\\'t it')
    (True, False)
    """
    return any(m["ebnf"] for m in _MARKS.finditer(text))


def grammar(text: str) -> CfgGrammar:
    try:
        rules = _Parser(text).document()
        root = "root" if "root" in rules else next(iter(rules))
        return CfgGrammar(_Writer(rules).written(), root)
    except RecursionError:
        raise UnsupportedError("a grammar nested this deeply; name its groups") from None


# --- trees


@dataclass(frozen=True)
class Chars:
    set: CharSet


@dataclass(frozen=True)
class Name:
    name: str


@dataclass(frozen=True)
class Seq:
    items: "tuple[Tree, ...]"


@dataclass(frozen=True)
class Alt:
    options: "tuple[Tree, ...]"


@dataclass(frozen=True)
class Repeat:
    body: "Tree"
    mark: str  # one of ? * +


@dataclass(frozen=True)
class Minus:
    whole: "Tree"
    less: "Tree"


Tree = Chars | Name | Seq | Alt | Repeat | Minus


class _Parser:
    """Recursive descent: alternatives, sequences, exceptions, repeats, atoms."""

    def __init__(self, text: str):
        self.text, self.at = text, 0
        self.space()
        self.numbered = _NUMBER.match(text, self.at) is not None

    def bad(self, why: str) -> InputError:
        line = self.text.count("\n", 0, self.at) + 1
        return InputError(f"bad grammar, line {line}: {why}")

    def take(self, pattern: str) -> "re.Match[str] | None":
        m = re.compile(pattern).match(self.text, self.at)
        self.at = m.end() if m else self.at
        return m

    def space(self) -> None:
        self.take(r"(\s|/\*(?s:.*?)\*/|\[\s*(?i:wfc|vc)\s*:[^\]]*\])*")
        if self.take(r"/\*"):
            raise self.bad("a comment is not closed")

    def begins_rule(self) -> "re.Match[str] | None":
        number = _NUMBER.match(self.text, self.at) if self.numbered else None
        return re.compile(r"([A-Za-z_]\w*)\s*::=").match(
            self.text, number.end() if number else self.at
        )

    def document(self) -> dict[str, Tree]:
        rules: dict[str, Tree] = {}
        while self.at < len(self.text):
            m = self.begins_rule()
            if not m:
                raise self.bad("expected `name ::=`")
            if m[1] in rules:
                raise self.bad(f"the rule {m[1]!r} is defined twice")
            self.at = m.end()
            self.space()
            rules[m[1]] = self.alternatives()
        if not rules:
            raise self.bad("there is no rule")
        return rules

    def alternatives(self) -> Tree:
        options = [self.sequence()]
        while self.take(r"\|"):
            self.space()
            options.append(self.sequence())
        return options[0] if len(options) == 1 else Alt(tuple(options))

    def sequence(self) -> Tree:
        items: list[Tree] = []
        while (item := self.repeated()) is not None:
            while self.take(r"-"):
                self.space()
                less = self.repeated()
                if less is None:
                    raise self.bad("nothing after `-`")
                item = Minus(item, less)
            items.append(item)
        return Seq(tuple(items))

    def repeated(self) -> Tree | None:
        item = None if self.begins_rule() else self.atom()
        if item is None:
            return None
        self.space()
        while m := self.take(r"[?*+]"):
            item = Repeat(item, m[0])
            self.space()
        return item

    def atom(self) -> Tree | None:
        if m := self.take(r"\"[^\"\n]*\"|'[^'\n]*'"):
            return Seq(tuple(Chars(cs.of(c)) for c in m[0][1:-1]))
        if m := self.take(r"#x([0-9a-fA-F]+)"):
            return Chars(self.one(m[1]))
        if self.take(r"\["):
            return Chars(self.char_class())
        if self.take(r"\("):
            self.space()
            tree = self.alternatives()
            if not self.take(r"\)"):
                raise self.bad("a group is not closed")
            return tree
        if m := self.take(_NAME.pattern):
            return Name(m[0])
        if self.at < len(self.text) and self.text[self.at] not in "|)-":
            raise self.bad(f"cannot read {self.text[self.at : self.at + 20]!r}")
        return None

    def one(self, digits: str) -> CharSet:
        if int(digits, 16) > cs.MAX_CODE_POINT:
            raise self.bad("a code point beyond Unicode")
        return cs.charset((int(digits, 16),) * 2)

    def char_class(self) -> CharSet:
        negative = bool(self.take(r"\^"))
        ranges: list[tuple[int, int]] = []
        while not self.take(r"\]"):
            lo = hi = self.class_atom()
            if self.take(r"-(?!\])"):
                hi = self.class_atom()
            if lo > hi:
                raise self.bad("a range out of order")
            ranges.append((lo, hi))
        s = cs.charset(*ranges)
        return cs.complement(s) if negative else s

    def class_atom(self) -> int:
        if m := self.take(r"#x([0-9a-fA-F]+)"):
            self.one(m[1])
            return int(m[1], 16)
        c = self.take(r"[^\n]")
        if not c:
            raise self.bad("a class is not closed")
        return ord(c[0])


class _Writer:
    """Trees as rules of single options; groups and repeats become rules of their own."""

    def __init__(self, trees: dict[str, Tree]):
        self.trees, self.regexes = trees, Regexes()
        self.rules: dict[str, tuple[Option, ...]] = {}
        self.name, self.fresh = "", 0

    def written(self) -> dict[str, tuple[Option, ...]]:
        for name, tree in self.trees.items():
            self.name = name
            self.rules[name] = self.options(tree)
        return self.rules

    def options(self, tree: Tree) -> tuple[Option, ...]:
        return tuple(map(self.option, tree.options if isinstance(tree, Alt) else (tree,)))

    def option(self, tree: Tree) -> Option:
        match tree:
            case Chars():
                return (tree.set,)
            case Name():
                return (tree.name,)
            case Seq():
                return tuple(symbol for item in tree.items for symbol in self.option(item))
            case Alt():
                return (self.rule(*self.options(tree)),)
            case Minus():
                return (self.automaton(self.regular(tree, ())),)
        body = self.option(tree.body)
        if tree.mark == "?":
            return (self.rule(body, ()),)
        name = self.rule()
        self.rules[name] = ((*body, name), ())
        return (*body, name) if tree.mark == "+" else (name,)

    def rule(self, *options: Option) -> str:
        self.fresh += 1
        name = f"{self.name}.{self.fresh}"
        self.rules[name] = options
        return name

    def regular(self, tree: Tree, inside: tuple[str, ...]) -> Node:
        """The language of a tree in which no rule leads back to itself."""
        r = self.regexes
        match tree:
            case Chars():
                return r.set(tree.set)
            case Name():
                if tree.name in inside:
                    raise UnsupportedError(f"`-` over the rule {tree.name!r}, which is recursive")
                if tree.name not in self.trees:
                    raise InputError(f"the grammar has no rule {tree.name!r}")
                return self.regular(self.trees[tree.name], (*inside, tree.name))
            case Seq():
                return r.sequence([self.regular(item, inside) for item in tree.items])
            case Alt():
                return r.alt(*(self.regular(option, inside) for option in tree.options))
            case Minus():
                whole, less = (self.regular(t, inside) for t in (tree.whole, tree.less))
                return r.both(whole, r.non(less))
        lo, hi = {"?": (0, 1), "*": (0, None), "+": (1, None)}[tree.mark]
        return r.repeat(self.regular(tree.body, inside), lo, hi)

    def automaton(self, node: Node) -> str:
        """A regular language as rules, one for each state of its smallest machine."""
        fsm = minimise(self.regexes, node)
        names = [self.rule() for _ in fsm.moves]
        for state, moves in enumerate(fsm.moves):
            targets: dict[int, list[tuple[int, int]]] = {}
            for lo, hi, target in moves:
                targets.setdefault(target, []).append((lo, hi))
            options: list[Option] = [
                (cs.charset(*ranges), names[target]) for target, ranges in targets.items()
            ]
            self.rules[names[state]] = (*options, *([()] if state in fsm.accepting else []))
        return names[fsm.start]
