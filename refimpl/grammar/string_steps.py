"""Steps inside string values and object keys: characters move along a row, bytes make characters.

A string value carries one thread for each language it may still belong to; a key carries the state
of the automaton that tells keys apart.  Both are read by the same code, whatever the spelling.
"""

from bisect import bisect_right
from collections.abc import Callable
from typing import Any

from refimpl.grammar import charset as cs
from refimpl.grammar.fit import Fit
from refimpl.grammar.json_states import (
    Key,
    Layout,
    Local,
    Text,
    TextRow,
    TextThread,
)
from refimpl.grammar.keys import KeyState
from refimpl.grammar.literal import Char, Position, read
from refimpl.grammar.machine import Action, Go, Pop, Row
from refimpl.grammar.schema import SchemaReader
from refimpl.grammar.string_rows import (
    LEADS,
    ascii_steps,
    rest_of,
    source_of,
    tail_of,
    target_at,
    targets_of,
)

MUST_ESCAPE = cs.charset((0, 0x1F), (0x22, 0x22), (0x5C, 0x5C))


class StringSteps:
    """The half of the JSON grammar that happens between quotes."""

    def __init__(self, reader: SchemaReader, layout: Layout):
        self.reader, self.fit, self.layout = reader, Fit(reader), layout
        self._text_rows: dict[tuple[TextThread, ...], TextRow] = {}
        self._key_rows: dict[Any, Any] = {}

    def quoted(self, local: Text | Key) -> Action | None:
        """The quote that ends a string."""
        if isinstance(local, Text):
            done = (i for i, n, lo, _ in local.threads if n.nullable and lo == 0)
            return Pop(result) if (result := tuple(dict.fromkeys(done))) else None
        may_end = local.automaton.admits(local.state, local.allowed)
        return Pop(local.automaton.label(local.state)) if may_end else None

    def character_row(self, local: Text | Key) -> Row:
        """Between two characters of a string."""
        make = self.maker(local)
        row = self.text_row(local.threads) if isinstance(local, Text) else self.key_row(local)
        out: Row = [*ascii_steps(row, make)]
        beyond = targets_of(row, ((0x80, 0xD7FF), (0xE000, cs.MAX_CODE_POINT)))
        if len(beyond) > 1:
            steps = ((b, self.read_character(local, b, row, make)) for b in range(0xC2, 0xF5))
            out += ((b, b, a) for b, a in steps if a)
        elif any(beyond):  # all characters of several bytes lead to the same state
            out += ((a, b, Go(make(beyond[0], tail))) for a, b, tail in LEADS)
        quote, backslash = ord('"'), ord("\\")
        for b, action in (
            (quote, self.quoted(local)),
            (backslash, self.read_character(local, backslash, row, make)),
        ):
            out += [(b, b, action)] if action else []
        return out

    def maker(self, local: Text | Key) -> Callable[[Any, Position], Local]:
        return Text if isinstance(local, Text) else self.key_maker(local)

    def text(self, local: Text, byte: int) -> Action | None:
        if byte == ord('"') and not local.position:
            return self.quoted(local)
        return self.read_character(local, byte, self.text_row(local.threads), Text)

    def read_character(self, local: Any, byte: int, row: Any, make: Any) -> Action | None:
        """One byte of a string: a whole character moves along the row, a part must leave one."""
        if local.position and local.position[0] == "tail":
            left, lo, hi = map(int, local.position[1:])
            return Go(make(source_of(local), tail_of(left - 1))) if lo <= byte <= hi else None
        escaped = bool(local.position) and local.position[0] != "utf8"
        match read(local.position, byte):
            case Char(c):
                if escaped and not self.may_escape(((c, c),)):
                    return None
                target = target_at(row, c)
                return Go(make(target, ())) if target else None
            case None:
                return None
            case part:
                ranges = part.ranges if part.position[0] == "utf8" else self.may_escape(part.ranges)
                targets = targets_of(row, ranges)
                if len(targets) == 1 and part.position[0] == "utf8":
                    return Go(make(targets[0], rest_of(part))) if targets[0] else None
                return Go(make(source_of(local), part.position)) if any(targets) else None

    def may_escape(self, ranges: cs.CharSet) -> cs.CharSet:
        """Those characters that may be spelled as an escape."""
        return ranges if self.layout.escapes else cs.intersect(ranges, MUST_ESCAPE)

    def text_row(self, threads: tuple[TextThread, ...]) -> TextRow:
        """What each character makes of the threads of a string; () if none survives."""
        if threads not in self._text_rows:
            rows = [self.reader.r.row(n) for _, n, _, _ in threads]
            points = sorted({p for row in rows for p, _ in row} | {0xD800, 0xE000})
            out = [(p, () if p == 0xD800 else self._after(threads, p)) for p in points]
            self._text_rows[threads] = tuple(out)
        return self._text_rows[threads]

    def _after(self, threads: tuple[TextThread, ...], point: int) -> tuple[TextThread, ...]:
        out: list[TextThread] = []
        for i, node, lo, hi in threads:
            target = self.reader.r.step(node, point)
            if hi != 0 and self.reader.r.is_live(target):
                out.append((i, target, max(lo - 1, 0), None if hi is None else hi - 1))
        return tuple(dict.fromkeys(out))

    def is_open(self, local: Local, reach: int) -> bool:
        if isinstance(local, Text) and not local.position:
            everything = self.reader.r.ALL
            return any(
                n is everything and (hi is None or hi > reach) for _, n, _, hi in local.threads
            )
        if isinstance(local, Key) and not local.position:  # a key without a name of its own
            return not local.automaton.patterns and frozenset() in local.allowed
        return False

    def alike(self, local: Local, reach: int) -> Local:
        """Length bounds further away than any token reaches do not matter yet."""
        if not isinstance(local, Text):
            return local
        threads = tuple(
            (i, n, min(lo, reach + 1), hi if hi is None or hi <= reach else None)
            for i, n, lo, hi in local.threads
        )
        return Text(threads, local.position)

    def key(self, local: Key, byte: int) -> Action | None:
        if byte == ord('"') and not local.position:
            return self.quoted(local)
        return self.read_character(local, byte, self.key_row(local), self.key_maker(local))

    def key_maker(self, local: Key) -> Callable[[KeyState, Position], Key]:
        return lambda state, position: self.narrowed(local, state, position)

    def narrowed(self, local: Key, state: KeyState, position: Position) -> Key:
        """Forgets the names that this key can no longer become, so that few states differ."""
        automaton, allowed, part = local.automaton, local.allowed, state[0]
        if part is None and automaton.names:
            automaton = self.fit.without_names(automaton)
            allowed = frozenset(x for x in allowed if not isinstance(x, str))
        elif part != local.state[0] and part is not None:
            names = frozenset(automaton.names[part[0] : part[1]])
            allowed = frozenset(x for x in allowed if not isinstance(x, str) or x in names)
        return Key(automaton, allowed, state, position)

    def key_row(self, local: Key) -> Any:
        """What each character makes of the key; None where no allowed label is left."""
        cache_key = (local.automaton, local.state, local.allowed)
        if cache_key not in self._key_rows:
            self._key_rows[cache_key] = self._key_row(local)
        return self._key_rows[cache_key]

    def _key_row(self, local: Key) -> list[tuple[int, KeyState | None]]:
        automaton = local.automaton
        row = {
            p: s if automaton.reaches(s, local.allowed) else None
            for p, s in automaton.row(local.state)
        }
        points = sorted(row)
        row.setdefault(0xE000, row[points[bisect_right(points, 0xD7FF) - 1]])
        row[0xD800] = None  # the surrogates are no characters
        return sorted(row.items())
