"""The grammar of JSON documents that a schema accepts.

Every position of a document has a *family*: the expressions that a value there could satisfy, one
for each way the document can still turn out.  The value is read once, for all of them together, and
ends with a result: which of them it satisfied.  The object or array around it then keeps only the
alternatives that wanted one of those.  So `anyOf`, `oneOf` and their nesting need no backtracking.

Only alternatives that can be completed are ever kept (`fit`), hence no dead ends.

Glossary: a thread is one alternative inside an object or array: (i, shape, what it has used up),
where i is the place of its expression in the family.  `ws` counts white space read so far.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from refimpl.grammar import json_ways
from refimpl.grammar.apart import array_can_differ, dead_items
from refimpl.grammar.items import begun, behind, items, may_end
from refimpl.grammar.json_states import (
    NUMBER_BYTES,
    VALUE_STARTS,
    WHITE,
    Array,
    ArrayThread,
    Colon,
    Family,
    ItemFrame,
    Key,
    KeyFrame,
    Layout,
    Local,
    MemberFrame,
    Number,
    Object,
    Result,
    Text,
    UnsatisfiableError,
    Value,
    Word,
)
from refimpl.grammar.json_values import read
from refimpl.grammar.machine import Action, Go, Pop, Push, Row, Ways
from refimpl.grammar.number_intervals import fits
from refimpl.grammar.number_sets import NumberSet
from refimpl.grammar.number_settle import settle, smallest_alike
from refimpl.grammar.number_texts import is_complete
from refimpl.grammar.object_steps import ObjectSteps, grouped
from refimpl.grammar.places import check_distinct
from refimpl.grammar.repeats import can_repeat, check_repeated
from refimpl.grammar.schema import SchemaReader
from refimpl.grammar.shapes import ArrayShape, Expr
from refimpl.grammar.string_rows import (
    source_of,
    tail_of,
)


class JsonGrammar(ObjectSteps):
    """Steps of the pushdown machine for one schema."""

    def __init__(self, reader: SchemaReader, layout: Layout):
        super().__init__(reader, layout)
        self._start: Local | None = None
        self._begun: dict[tuple[Family, int], Local | None] = {}
        self._structure: dict[Local, Row] = {}
        self._next_items: dict[tuple[ArrayThread, ...], tuple[Family, ItemFrame]] = {}

    def start(self) -> Local:
        if self._start is None:
            self._start = self._first()
        return self._start

    def _first(self) -> Local:
        root = self.reader.start()
        if not self.fit.sat(root):
            raise UnsatisfiableError("no value satisfies this schema; there is nothing to generate")
        if self.fit.compared():
            check_distinct(self.fit)
            check_repeated(self.fit)
        self.reader.algebra.limit = None  # no text is given up halfway
        return Value((root,), self.layout.white_space)  # and no white space before the document

    def step(self, local: Local, byte: int) -> Action | None:
        match local:
            case Value(family):
                target = self.begin(family, byte)
                return Go(target) if target else None
            case Word(rest, result):
                if byte != rest[0]:
                    return None
                return Go(Word(rest[1:], result)) if rest[1:] else Pop(result)
            case Number():
                return self.number(local, byte)
            case Text():
                return self.text(local, byte)
            case Key():
                return self.key(local, byte)
            case Array():
                return self.array(local, byte)
            case Object():
                return self.object(local, byte)
            case Colon(family, frame):
                return Push(frame, Value(family, 0), inside=False) if byte == ord(":") else None

    def result(self, local: Local) -> Result | None:
        if isinstance(local, Number):
            done = tuple(i for i, s in local.threads if is_complete(s, local.text))
            return tuple(dict.fromkeys(done)) or None
        return None

    def resume(self, frame: Any, result: Any, text: bytes | None) -> Local | None:
        match frame:
            case KeyFrame():
                return self.after_key(frame, result, text)
            case MemberFrame():
                members = self.with_member(_kept(frame.nexts, result), frame, text)
                return Object(members, frame.seen, frame.count, False, False, 0)
            case ItemFrame():
                items = self.with_item(_kept(frame.nexts, result), frame, text)
                return Array(items, False, 0)
        return None

    def ways(self, local: Local, frame: Any) -> Ways | None:
        return json_ways.ways(self, local, frame)

    # --- values

    def begin(self, family: Family, byte: int) -> Local | None:
        """The local state after the first byte of a value."""
        key = (family, byte)
        if key not in self._begun:
            self._begun[key] = self._begin(family, byte)
        return self._begun[key]

    def _begin(self, family: Family, byte: int) -> Local | None:
        unions = [(i, self.reader.union(e)) for i, e in enumerate(family)]
        match chr(byte):
            case '"':
                strings = ((i, s) for i, u in unions for s in u.strings)
                threads = tuple((i, s.node, s.lo, s.hi) for i, s in strings)
                return Text(threads, ()) if threads else None
            case "[":
                return self.begin_array([(i, a) for i, u in unions for a in u.arrays])
            case "{":
                return self.begin_object([(i, o) for i, u in unions for o in u.objects])
            case "n" | "t" | "f" as c:
                word = {"n": "null", "t": "true", "f": "false"}[c]
                result = tuple(i for i, u in unions if word in u.literals)
                return Word(word[1:].encode(), result) if result else None
            case c if c in "-0123456789":
                numbers = tuple((i, s) for i, u in unions for s in u.numbers)
                return self.digits(numbers, c)
        return None

    def digits(self, threads: tuple[tuple[int, NumberSet], ...], text: str) -> Number | None:
        alive = tuple((i, s) for i, s in threads if fits(s, text))
        if len({s for _, s in alive}) == 1:
            s, text = settle(alive[0][1], text)
            alive = tuple((i, s) for i, _ in alive)
        elif alive:
            text = smallest_alike([s for _, s in alive], text)
        return Number(alive, text) if alive else None

    def number(self, local: Number, byte: int) -> Action | None:
        if byte in NUMBER_BYTES:
            target = self.digits(local.threads, local.text + chr(byte))
            return Go(target) if target else None
        result = self.result(local)
        return Pop(result, again=True) if result else None

    # --- strings

    def row(self, local: Local) -> Row:
        """All steps of a local state: the bytes that can do anything, most of them in ranges."""
        if isinstance(local, Value | Array | Object | Colon):
            return [*self.blanks(local), *self.structure(replace(local, ws=0))]
        if isinstance(local, Text | Key) and not local.position:
            return self.character_row(local)
        if isinstance(local, Text | Key) and local.position[0] == "tail":
            left, lo, hi = map(int, local.position[1:])
            make = self.maker(local)
            return [(lo, hi, Go(make(source_of(local), tail_of(left - 1))))]
        others: Row = []
        if isinstance(local, Number) and (result := self.result(local)):
            others = [(0, 255, Pop(result, again=True))]
        steps = ((b, self.step(local, b)) for b in _bytes(local))
        return [*others, *((b, b, a) for b, a in steps if a or others)]

    def blanks(self, local: Value | Array | Object | Colon) -> Row:
        """White space, as long as there may be more."""
        if local.ws >= self.layout.white_space:
            return []
        more = Go(replace(local, ws=local.ws + 1))
        return [(b, b, more) for b in WHITE]

    def structure(self, local: Value | Array | Object | Colon) -> Row:
        """All other steps between values; white space read before does not matter to them."""
        if local not in self._structure:
            steps = ((b, self.step(local, b)) for b in _bytes(local))
            self._structure[local] = [(b, b, a) for b, a in steps if a]
        return self._structure[local]

    def begin_array(self, shapes: list[tuple[int, ArrayShape]]) -> Array | None:
        arrays = ((i, begun(a)) for i, a in shapes)
        threads = tuple(ArrayThread(i, a) for i, a in arrays if array_can_differ(self.fit, a))
        return Array(threads, True, 0) if threads else None

    def array(self, local: Array, byte: int) -> Action | None:
        if byte == ord("]"):
            ended = (t.i for t in local.threads if may_end(self.fit, t.array))
            result = tuple(dict.fromkeys(ended))
            return Pop(result) if result else None
        if not local.first and byte != ord(","):
            return None
        family, frame = self.next_item(local.threads)
        if not family:
            return None
        if not local.first:
            return Push(frame, Value(family, 0), inside=False)
        target = self.begin(family, byte)
        return Push(frame, target, inside=True) if target else None

    def next_item(self, threads: tuple[ArrayThread, ...]) -> tuple[Family, ItemFrame]:
        """What the next item may be, and the frame that waits for it."""
        if threads not in self._next_items:
            family, nexts = grouped(self.items(threads))
            record = any(t.array.shape.compares or t.array.but for ts in nexts for t in ts)
            self._next_items[threads] = family, ItemFrame(nexts, record, self.containers(family))
        return self._next_items[threads]

    def items(self, threads: Iterable[ArrayThread]) -> Iterator[tuple[Expr, ArrayThread]]:
        """The choices of every thread for one more item."""
        for t in threads:
            for expr, after in items(self.fit, t.array):
                item = self.fit.e.unlike(expr, dead_items(self.fit, after))
                if self.fit.sat(item):
                    yield item, ArrayThread(t.i, after)

    def with_item(
        self, threads: tuple[ArrayThread, ...], frame: ItemFrame, text: bytes | None
    ) -> tuple[ArrayThread, ...]:
        """The threads behind an item.

        Without its text they forget what arrays they must not be, and none waits for its equal.
        """
        if not frame.record:
            return threads
        fit = self.fit
        if text is None:
            arrays = [(t.i, t.array._replace(but=())) for t in threads]
            arrays = [(i, a) for i, a in arrays if not a.shape.repeated or can_repeat(fit, a)]
        else:
            key = fit.constants.text(read(text))
            arrays = [(t.i, behind(fit, t.array, key)) for t in threads]
        return tuple(dict.fromkeys(ArrayThread(i, a) for i, a in arrays))


def _kept(nexts: tuple[tuple[Any, ...], ...], result: Result) -> tuple[Any, ...]:
    return tuple(dict.fromkeys(t for j in sorted(result) for t in nexts[j]))


def _bytes(local: Local) -> Iterable[int]:
    """The bytes that a local state may do something with; for a number, that do not end it."""
    match local:
        case Value():
            return VALUE_STARTS
        case Array():
            return b"]" + (VALUE_STARTS if local.first else b",")
        case Object():
            return b'",}'
        case Colon():
            return b":"
        case Word():
            return local.rest[:1]
        case Number():
            return NUMBER_BYTES
    kind = local.position[0]
    if kind == "utf8":
        return range(0x80, 0xC0)
    return b'"/\\bfnrtu' if kind == "escape" else b"0123456789abcdefABCDEFu\\"
