"""XML by a schema of elements and attributes: tool calls and tagged answers.

A schema says for each element what attributes it has and what stands inside it; the grammar is
written from it, so tags always match and are always closed.

    {"root": "call",
     "elements": {
       "call": {"attributes": {"name": {"enum": ["get", "put"]}}, "children": ["arg*"]},
       "arg": {"attributes": {"key": {}, "unit?": {"pattern": "[a-z]+"}}, "text": {}}}}

`children` is a sequence of element names, each perhaps followed by `?`, `*` or `+`; with
`"mixed": true` the listed elements stand in any number and order between text.  `text` and every
attribute are {} for any text, or have an `enum` or a `pattern` (Python's dialect, from beginning to
end).  Attributes come in the order given; one whose name ends in `?` may be left out.  Text is
written as XML 1.0 demands: `<` and `&` as entities, in attributes the quote as well; values from
`enum` or `pattern` are escaped in the same way.  White space stands only where a text allows it.

>>> from refimpl.grammar.machine import Machine
>>> schema = {"root": "a", "elements": {"a": {"children": ["b*"]}, "b": {"text": {"enum": ["1"]}}}}
>>> m = Machine(grammar(schema))
>>> [m.accepts(s) if (s := m.advance(m.start, t)) else None
...  for t in (b"<a><b>1</b><b>1</b></a>", b"<a></a>", b"<a><b>2", b"<a></b>")]
[True, True, None, None]
"""

import re
from typing import Any

from refimpl.errors import InputError
from refimpl.grammar import charset as cs
from refimpl.grammar.cfg import CfgGrammar, Symbol
from refimpl.grammar.fsm import minimal
from refimpl.grammar.json_values import list_of, object_of, text_of
from refimpl.grammar.regex import Regexes
from refimpl.grammar.regex_dialects import python_dialect

Option = tuple[Symbol, ...]
NAME = re.compile(r"[A-Za-z_][\w.-]*")
ENTITIES = {"<": "&lt;", "&": "&amp;", ">": "&gt;", '"': "&quot;"}
# Char of XML 1.0, section 2.2.
CHARACTERS = cs.charset((9, 10), (13, 13), (0x20, 0xD7FF), (0xE000, 0xFFFD), (0x10000, 0x10FFFF))
_MUST = cs.of("<&>")


def grammar(schema: dict[str, Any]) -> CfgGrammar:
    """The grammar of the documents that a schema of elements describes."""
    if not isinstance(schema, dict):
        raise InputError("a schema of elements is an object with `root` and `elements`")
    writer = _Writer(object_of(schema, "elements"))
    for name in writer.elements:
        writer.element(name)
    if "root" not in schema:
        raise InputError("a schema of elements names its `root`")
    return CfgGrammar(writer.rules, writer.known(text_of(schema, "root")))


class _Writer:
    def __init__(self, elements: dict[str, Any]):
        self.elements, self.regexes = elements, Regexes()
        self.rules: dict[str, tuple[Option, ...]] = {}
        self.fresh = 0

    def known(self, name: str) -> str:
        if name not in self.elements:
            raise InputError(f"the element {name!r} is used and not described")
        return name

    def rule(self, *options: Option) -> str:
        self.fresh += 1
        self.rules[f"#{self.fresh}"] = options
        return f"#{self.fresh}"

    def element(self, name: str) -> None:
        """<name attributes>content</name>"""
        self.check_name(name)
        spec = object_of(self.elements, name)
        attributes: list[Symbol] = []
        for key in object_of(spec, "attributes"):
            attributes += self.attribute(key, object_of(spec["attributes"], key))
        self.rules[name] = (
            (
                *_word(f"<{name}"),
                *attributes,
                *_word(">"),
                *self.content(spec),
                *_word(f"</{name}>"),
            ),
        )

    def check_name(self, name: str) -> None:
        if not NAME.fullmatch(name):
            raise InputError(f"{name!r} is no name of an element or attribute")

    def attribute(self, key: str, spec: dict[str, Any]) -> Option:
        name = key.removesuffix("?")
        self.check_name(name)
        symbols = (*_word(f' {name}="'), *self.text(spec, quoted=True), *_word('"'))
        return (self.rule(symbols, ()),) if key.endswith("?") else symbols

    def content(self, spec: dict[str, Any]) -> Option:
        children = [str(child) for child in list_of(spec, "children")]
        if spec.get("mixed") is True:
            inner = [(self.known(c.rstrip("?*+")),) for c in children]
            text = (self.rule(*self.characters(quoted=False)),)
            return (self.loop(*inner, text),)
        if children and "text" in spec:
            raise InputError("an element has `children` or `text`; for both say `mixed`")
        if children:
            return tuple(symbol for child in children for symbol in self.child(child))
        return self.text(object_of(spec, "text"), quoted=False) if "text" in spec else ()

    def child(self, child: str) -> Option:
        name = self.known(child.rstrip("?*+"))
        match child[len(name) :]:
            case "":
                return (name,)
            case "?":
                return (self.rule((name,), ()),)
            case "*":
                return (self.loop((name,)),)
            case "+":
                return (name, self.loop((name,)))
        raise InputError(f"{child!r}: one of `?`, `*` and `+` may follow a name")

    def loop(self, *items: Option) -> str:
        name = self.rule()
        self.rules[name] = (*((*item, name) for item in items), ())
        return name

    # --- text

    def text(self, spec: dict[str, Any], quoted: bool) -> Option:
        if "enum" in spec:
            words = [str(w) for w in list_of(spec, "enum")]
            return (self.rule(*(self.escaped(word, quoted) for word in words)),)
        if "pattern" in spec:
            return (self.pattern(text_of(spec, "pattern"), quoted),)
        return (self.loop(*self.characters(quoted)),)

    def escaped(self, word: str, quoted: bool) -> Option:
        return tuple(s for c in word for s in self.character(cs.of(c), quoted)[0])

    def characters(self, quoted: bool) -> list[Option]:
        return self.character(CHARACTERS, quoted)

    def character(self, allowed: cs.CharSet, quoted: bool) -> list[Option]:
        """The spellings of one character of a set: itself, or an entity where it must be one."""
        allowed = cs.intersect(allowed, CHARACTERS)
        must = cs.union(_MUST, cs.of('"')) if quoted else _MUST
        plain = cs.intersect(allowed, cs.complement(must))
        out: list[Option] = [(plain,)] if plain else []
        return out + [
            _word(ENTITIES[c]) for c in '<&>"' if cs.contains(cs.intersect(allowed, must), ord(c))
        ] or [((),)]

    def pattern(self, pattern: str, quoted: bool) -> str:
        """A regular expression as rules, one for each state of its smallest machine."""
        fsm = minimal(self.regexes, pattern, python_dialect())
        names = [self.rule() for _ in fsm.moves]
        for state, moves in enumerate(fsm.moves):
            targets: dict[int, list[tuple[int, int]]] = {}
            for lo, hi, target in moves:
                targets.setdefault(target, []).append((lo, hi))
            options = [
                (*spelling, names[target])
                for target, ranges in targets.items()
                for spelling in self.character(cs.charset(*ranges), quoted)
            ]
            self.rules[names[state]] = (*options, *([()] if state in fsm.accepting else []))
        return names[fsm.start]


def _word(text: str) -> Option:
    return tuple(cs.of(c) for c in text)
