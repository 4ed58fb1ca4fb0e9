"""The grammar of JSON documents that a schema accepts.

Every position of a document has a *family*: the expressions that a value there could satisfy, one
for each way the document can still turn out.  The value is read once, for all of them together, and
ends with a result: which of them it satisfied.  The object or array around it then keeps only the
alternatives that wanted one of those.  So `anyOf`, `oneOf` and their nesting need no backtracking.

Only alternatives that can be completed are ever kept (`fit`), hence no dead ends.

Glossary: a thread is one alternative inside an object or array: (i, shape, what it has used up),
where i is the place of its expression in the family.  `ws` counts white space read so far.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

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
    ObjectThread,
    Result,
    Text,
    UnsatisfiableError,
    Value,
    Word,
)
from refimpl.grammar.json_values import canonical
from refimpl.grammar.keys import KeyAutomaton, Label
from refimpl.grammar.machine import Action, Go, Pop, Push, Row
from refimpl.grammar.number_sets import NumberSet, can_complete, is_complete, settle
from refimpl.grammar.schema import SchemaReader
from refimpl.grammar.shapes import ArrayShape, Expr, ObjectShape
from refimpl.grammar.string_rows import (
    source_of,
    tail_of,
)
from refimpl.grammar.string_steps import StringSteps


class JsonGrammar(StringSteps):
    """Steps of the pushdown machine for one schema."""

    def __init__(self, reader: SchemaReader, layout: Layout):
        super().__init__(reader)
        self.layout = layout
        self._begun: dict[tuple[Family, int], Local | None] = {}

    def start(self) -> Local:
        root = self.reader.start()
        if not self.fit.sat(root):
            raise UnsatisfiableError("no value satisfies this schema; there is nothing to generate")
        self.fit.check_distinct()
        return Value((root,), self.layout.white_space)  # and no white space before the document

    def step(self, local: Local, byte: int) -> Action | None:
        if byte in WHITE and isinstance(local, Value | Array | Object | Colon):
            if local.ws < self.layout.white_space:
                return Go(replace(local, ws=local.ws + 1))
            return None
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

    def resume(self, frame: Any, result: Any, text: bytes) -> Local | None:
        match frame:
            case KeyFrame():
                return self.after_key(frame, result, text)
            case MemberFrame():
                threads = _kept(frame.nexts, result)
                return Object(threads, frame.seen, frame.count, False, False, 0)
            case ItemFrame():
                return Array(self.with_value(_kept(frame.nexts, result), text), False, 0)
        return None

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
        alive = tuple((i, s) for i, s in threads if can_complete(s, text))
        if len({s for _, s in alive}) == 1:
            s, text = settle(alive[0][1], text)
            alive = tuple((i, s) for i, _ in alive)
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

    def begin_array(self, shapes: list[tuple[int, ArrayShape]]) -> Array | None:
        threads = tuple(
            ArrayThread(i, a, 0, (0,) * len(a.contains))
            for i, a in shapes
            if self.fit.array_fits(a, 0, (0,) * len(a.contains))
            and (not a.unique or self.fit.distinct(a, 0, frozenset()))
        )
        return Array(threads, True, 0) if threads else None

    def array(self, local: Array, byte: int) -> Action | None:
        if byte == ord("]"):
            done = (t.i for t in local.threads if self.fit.array_done(t.shape, t.index, t.counts))
            result = tuple(dict.fromkeys(done))
            return Pop(result) if result else None
        if not local.first and byte != ord(","):
            return None
        family, nexts = _grouped(self.items(local.threads))
        if not family:
            return None
        frame = ItemFrame(nexts, any(t.shape.unique for ts in nexts for t in ts))
        if not local.first:
            return Push(frame, Value(family, 0), inside=False)
        target = self.begin(family, byte)
        return Push(frame, target, inside=True) if target else None

    def items(self, threads: Iterable[ArrayThread]) -> Iterator[tuple[Expr, ArrayThread]]:
        """The choices of every thread for one more item."""
        for t in threads:
            for expr, counts in self.fit.item_choices(t.shape, t.index, t.counts):
                if t.shape.unique:
                    expr = self.fit.harmless(t.shape, t.index, expr, t.values)
                index = self.fit.cap(t.shape, t.index + 1)
                if self.fit.sat(expr) and self.fit.array_fits(t.shape, index, counts):
                    yield expr, replace(t, index=index, counts=counts)

    def with_value(self, threads: tuple[ArrayThread, ...], text: bytes) -> tuple[ArrayThread, ...]:
        if not any(t.shape.unique for t in threads):
            return threads
        value = json.loads(text)
        key = canonical(value)
        self.reader.const(value)
        seen = (replace(t, values=t.values | {key}) if t.shape.unique else t for t in threads)
        return tuple(seen)

    # --- objects

    def begin_object(self, shapes: list[tuple[int, ObjectShape]]) -> Object | None:
        threads = tuple(
            ObjectThread(i, o, plan.exists)
            for i, o in shapes
            if (plan := self.fit.plan(o)).fits(frozenset(), 0, plan.exists, self.fit.sat)
        )
        return Object(threads, frozenset(), 0, True, False, 0) if threads else None

    def object(self, local: Object, byte: int) -> Action | None:
        if byte == ord("}") and not local.comma:
            result = tuple(dict.fromkeys(t.i for t in local.threads if self.closes(t, local)))
            return Pop(result) if result else None
        if byte == ord('"') and (local.first or local.comma):
            return self.open_key(local)
        if byte == ord(",") and not local.first and not local.comma and self.allowed(local)[1]:
            return Go(replace(local, comma=True, ws=0))
        return None

    def closes(self, t: ObjectThread, local: Object) -> bool:
        return t.shape.required <= local.seen and local.count >= t.shape.lo and not t.pending

    def open_key(self, local: Object) -> Action | None:
        automaton, allowed = self.allowed(local)
        if not automaton.reaches(automaton.start, allowed):
            return None
        record = any(self.must_tell_apart(t.shape, local.count) for t in local.threads)
        frame = KeyFrame(local.threads, local.seen, local.count, record)
        return Push(frame, Key(automaton, allowed, automaton.start, ()), inside=True)

    def must_tell_apart(self, o: ObjectShape, count: int) -> bool:
        """Whether a repeated key could matter although its name is unknown to the schema.

        Whichever of two equal keys a reader keeps, its value satisfied its rule.  Only counting
        members, or relying on one of them, needs all keys to differ.
        """
        supply = self.fit.plan(o).automaton.supply
        return o.lo > count + 1 or bool(o.exists) or (o.lo > 0 and None not in supply.values())

    def allowed(self, local: Object) -> tuple[KeyAutomaton, frozenset[Label]]:
        shapes = dict.fromkeys(t.shape for t in local.threads)
        automaton = self.fit.automaton(shapes, local.seen)
        labels: list[Label] = [n for n in automaton.names if n not in local.seen]
        labels += automaton.supply
        return automaton, frozenset(x for x in labels if self.any_member(local, x))

    def any_member(self, local: Object, label: Label) -> bool:
        seen = local.seen | {label} if isinstance(label, str) else local.seen
        return next(self.members(local.threads, label, seen, local.count), None) is not None

    def members(
        self, threads: Iterable[ObjectThread], label: Label, seen: frozenset[str], count: int
    ) -> Iterator[tuple[Expr, ObjectThread]]:
        """The choices of every thread for a member with that label, `seen` including it."""
        for t in threads:
            plan = self.fit.plan(t.shape)
            simple = t.shape.hi is None and t.shape.lo == 0 and not t.pending
            for expr, pending in plan.choices(label, t.pending):
                if self.fit.sat(expr) and (
                    simple or plan.fits(seen, count + 1, pending, self.fit.sat)
                ):
                    yield expr, replace(t, pending=pending)

    def after_key(self, frame: KeyFrame, label: Label, text: bytes) -> Colon | None:
        seen = frame.seen
        if isinstance(label, str):
            seen |= {label}
        elif frame.record:
            seen |= {json.loads(text)}
        family, nexts = _grouped(self.members(frame.threads, label, seen, frame.count))
        count = frame.count + 1
        bounds = [b for t in frame.threads for b in (t.shape.lo, (t.shape.hi or -1) + 1)]
        count = min(count, max(bounds))
        return Colon(family, MemberFrame(nexts, seen, count), 0) if family else None


def _kept(nexts: tuple[tuple[Any, ...], ...], result: Result) -> tuple[Any, ...]:
    return tuple(dict.fromkeys(t for j in sorted(result) for t in nexts[j]))


def _grouped(choices: Iterable[tuple[Expr, Any]]) -> tuple[Family, tuple[tuple[Any, ...], ...]]:
    """Choices by their expression: the family to read, and what each member of it leads to."""
    groups: dict[Expr, dict[Any, None]] = {}
    for expr, thread in choices:
        groups.setdefault(expr, {})[thread] = None
    return tuple(groups), tuple(tuple(g) for g in groups.values())


def _bytes(local: Local) -> Iterable[int]:
    """The bytes that a local state may do something with; for a number, that do not end it."""
    match local:
        case Value():
            return WHITE + VALUE_STARTS
        case Array():
            return WHITE + b"]" + (VALUE_STARTS if local.first else b",")
        case Object():
            return WHITE + b'",}'
        case Colon():
            return WHITE + b":"
        case Word():
            return local.rest[:1]
        case Number():
            return NUMBER_BYTES
    kind = local.position[0]
    if kind == "utf8":
        return range(0x80, 0xC0)
    return b'"/\\bfnrtu' if kind == "escape" else b"0123456789abcdefABCDEFu\\"
