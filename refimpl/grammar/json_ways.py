"""The ways on inside a JSON document that a shortest text needs (see `closing`).

White space is left out, and a character is spelled in as few bytes as it can be.  An object that
may still turn out in several ways is looked at once for each.  All members that one of these ways
requires must be written, and their order does not matter to the length; so a key that can become
a required one does.  (Where the order is fixed and members are counted, that is not so.)
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from refimpl.grammar import charset as cs
from refimpl.grammar.json_states import (
    Array,
    Colon,
    Key,
    KeyFrame,
    Local,
    Number,
    Object,
    Text,
    Value,
    Word,
)
from refimpl.grammar.literal import Position, finish, ranges_of
from refimpl.grammar.machine import Go, Pop, Ways
from refimpl.grammar.number_rest import shortest_rest
from refimpl.grammar.number_sets import NumberSet
from refimpl.grammar.string_rows import source_of

if TYPE_CHECKING:
    from refimpl.grammar.json_grammar import JsonGrammar

SHORT = b'"\\/\b\f\n\r\t'  # characters with an escape of one letter


def ways(grammar: "JsonGrammar", local: Local, frame: Any) -> Ways | None:
    """Enough ways on for every shortest text."""
    match local:
        case Word():
            return [(local.rest, Pop(local.result))]
        case Value():
            return [*_steps(grammar, replace(local, ws=0)), *_numbers(grammar, local)]
        case Number():
            return list(_digits(grammar, local.threads, local.text))
        case Colon():
            return _steps(grammar, replace(local, ws=0))
        case Array() | Object():
            return [w for one in _alone(local) for w in _steps(grammar, replace(one, ws=0))]
        case Text():
            rows = ((one, grammar.text_row(one.threads)) for one in _alone(local))
            return [way for one, row in rows for way in _characters(grammar, one, row)]
        case Key():
            local = _hurried(grammar, local, frame)
            return list(_characters(grammar, local, grammar.key_row(local)))


def alternatives(local: object) -> frozenset[Any] | None:
    """What the results of this part can be made of; a text for each of them is enough."""
    match local:
        case Value():
            return frozenset(range(len(local.family)))
        case Word():
            return frozenset(local.result)
        case Number() | Text():
            return frozenset(t[0] for t in local.threads)
        case Array() | Object():
            return frozenset(t.i for t in local.threads)
        case Key():
            return local.allowed
    return None


def _alone(local: Any) -> Iterator[Any]:
    """Each way in which this part may turn out by itself: together they allow the same texts."""
    return (replace(local, threads=(t,)) for t in local.threads)


def _steps(grammar: "JsonGrammar", local: Value | Array | Object | Colon) -> Ways:
    """Single bytes; the first digits of a number are left to `_digits`."""
    steps = [(b, a) for b, _, a in grammar.structure(local) if a]
    numbers = [isinstance(a, Go) and isinstance(a.local, Number) for _, a in steps]
    return [(bytes((b,)), a) for (b, a), n in zip(steps, numbers, strict=True) if not n]


def _numbers(grammar: "JsonGrammar", local: Value) -> Iterator[Any]:
    unions = ((i, grammar.reader.union(e)) for i, e in enumerate(local.family))
    yield from _digits(grammar, tuple((i, s) for i, u in unions for s in u.numbers), "")


def _digits(
    grammar: "JsonGrammar", threads: tuple[tuple[int, NumberSet], ...], text: str
) -> Iterator[Any]:
    """To the end of a number at once."""
    for _, s in threads:
        if rest := shortest_rest(s, text):
            number = grammar.digits(threads, text + rest)
            assert number is not None, "a number of the set can be read"
            yield rest.encode(), Go(number)


def _characters(grammar: "JsonGrammar", local: Text | Key, row: Any) -> Iterator[Any]:
    make, position = grammar.maker(local), local.position
    if position and position[0] == "tail":
        _, left, first, _ = map(int, (0, *position[1:]))
        yield bytes((first, *[0x80] * (left - 1))), Go(make(source_of(local), ()))
        return
    if not position and (action := grammar.quoted(local)):
        yield b'"', action
    able = ranges_of(position) if position else cs.ALL
    if position and position[0] != "utf8":
        able = grammar.may_escape(able)
    for (lo, target), (end, _) in pairwise([*row, (cs.MAX_CODE_POINT + 1, None)]):
        if target and (characters := cs.intersect(cs.charset((lo, end - 1)), able)):
            yield spelled(characters, position), Go(make(target, ()))


def spelled(characters: cs.CharSet, position: Position = ()) -> bytes:
    r"""One of these characters, in as few bytes as possible.

    >>> [spelled(cs.charset(r)) for r in ((0, 32), (0, 12), (0, 3), (0xE9, 0xEA))]
    [b' ', b'\\b', b'\\u0000', b'\xc3\xa9']
    """
    if position:
        letters = [c for c in SHORT if cs.contains(characters, c)]
        return min((finish(position, c) for c in (characters[0][0], *letters)), key=len)
    if (first := _first_raw(characters)) < 0x80:
        return bytes((first,))
    escaped = b"\\" + spelled(characters, ("escape",))
    return min(chr(first).encode(), escaped, key=len) if first <= cs.MAX_CODE_POINT else escaped


def _first_raw(characters: cs.CharSet) -> int:
    """The first character that need not be escaped; beyond Unicode if there is none."""
    for lo, hi in characters:
        first = max(lo, 0x20)
        first += first == ord('"')
        first += first == ord("\\")
        if first <= hi:
            return first
    return cs.MAX_CODE_POINT + 1


def _hurried(grammar: "JsonGrammar", local: Key, frame: Any) -> Key:
    """A key that is needed anyway comes before any other."""
    if local.position or not isinstance(frame, KeyFrame):  # half a character may rule it out
        return local
    shapes = [t.shape for t in frame.threads]
    if grammar.layout.in_order and any(shape.lo for shape in shapes):
        return local
    needed = frozenset.intersection(*(shape.required for shape in shapes)) - frame.seen
    part, names = local.state[0], local.automaton.names
    near = names[part[0] : part[1]] if part else ()
    first = next((n for n in near if n in needed and n in local.allowed), None)
    return local if first is None else replace(local, allowed=frozenset({first}))
