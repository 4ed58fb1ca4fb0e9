"""Steps inside an object: which keys may come, what their values must be, and in what order.

A thread is one alternative for the object: a shape, and the obligations it has not met yet.  A key
is read for all threads together; its label then says which of them go on, and how.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from refimpl.grammar.apart import dead_members, object_can_differ
from refimpl.grammar.constants import But, holds
from refimpl.grammar.json_states import (
    Colon,
    Family,
    Key,
    KeyFrame,
    Layout,
    MemberFrame,
    Object,
    ObjectThread,
)
from refimpl.grammar.json_values import read
from refimpl.grammar.keys import Allowed, JointKeys, KeyAutomaton, Label, Patterns
from refimpl.grammar.machine import Action, Go, Pop, Push
from refimpl.grammar.schema import SchemaReader
from refimpl.grammar.shapes import Expr, ObjectShape, excluded
from refimpl.grammar.string_steps import StringSteps
from refimpl.grammar.unfinished import OpenObject


class ObjectSteps(StringSteps):
    """The part of the JSON grammar that happens between braces."""

    def __init__(self, reader: SchemaReader, layout: Layout):
        super().__init__(reader, layout)
        self.rank = names_in_order(reader.root) if layout.in_order else {}

    def begin_object(self, shapes: list[tuple[int, ObjectShape]]) -> Object | None:
        plans = [(i, self.fit.plan(o), o.but) for i, o in shapes]
        threads = tuple(
            ObjectThread(i, plan.shape, plan.exists, but)
            for i, plan, but in plans
            if object_can_differ(self.fit, OpenObject(plan.shape, frozenset(), 0, plan.exists, but))
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
        o = t.shape
        is_done = o.required <= local.seen and local.count >= o.lo and not t.pending
        return is_done and not holds(t.but, "{}")

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

    def allowed(self, local: Object) -> tuple[KeyAutomaton, Allowed]:
        shapes = dict.fromkeys(t.shape for t in local.threads)
        told = (part.names for t in local.threads for part in t.but)
        automaton = self.fit.automaton(shapes, local.seen.union(self.rank, *told))
        passed = self.passed(local.seen)
        names = (n for n in automaton.names if n not in passed)
        named = frozenset(n for n in names if self.any_member(local, n))
        if isinstance(automaton, JointKeys):
            return automaton, named.union(*(self.of_part(local, p) for p in automaton.parts))
        return automaton, named.union(x for x in automaton.supply if self.any_member(local, x))

    def of_part(self, local: Object, part: KeyAutomaton) -> Iterator[tuple[Patterns, Label]]:
        """The labels of unnamed keys that the shapes with these patterns allow."""
        threads = (t for t in local.threads if self.fit.plan(t.shape).patterns == part.patterns)
        alone = replace(local, threads=tuple(threads))
        return ((part.patterns, x) for x in part.supply if self.any_member(alone, x))

    def any_member(self, local: Object, label: Label) -> bool:
        seen = local.seen | {label} if isinstance(label, str) else local.seen
        return next(self.members(local.threads, label, seen, local.count), None) is not None

    def members(
        self, threads: Iterable[ObjectThread], label: Label, seen: frozenset[str], count: int
    ) -> Iterator[tuple[Expr, ObjectThread]]:
        """The choices of every thread for a member with that label, `seen` including it."""
        out_of_reach = self.passed(seen)
        for t in threads:
            if self.layout.in_order and self.comes_too_early(t, label, seen, out_of_reach):
                continue
            plan = self.fit.plan(t.shape)
            simple = t.shape.hi is None and t.shape.lo == 0 and not t.pending
            for expr, pending in plan.choices(label, t.pending):
                if self.fit.sat(expr) and (
                    simple or plan.fits(out_of_reach, count + 1, pending, self.fit.sat)
                ):
                    after = ObjectThread(t.i, t.shape, pending, self.told_by(t.but, label))
                    expr = self.apart(expr, after, out_of_reach, count + 1, label)
                    if not after.but or self.fit.sat(expr):
                        yield expr, after

    def told_by(self, but: But, label: Label) -> But:
        """Those parts of a set in which some have a member of this name."""
        named = isinstance(label, str)
        return tuple(part for part in but if label in part.names) if named else ()

    def apart(
        self, expr: Expr, t: ObjectThread, gone: frozenset[str], count: int, label: Label
    ) -> Expr:
        """The expression without the values that would leave only what the object must not be."""
        if not t.but:
            return expr
        after = OpenObject(t.shape, gone, count, t.pending, t.but)
        return self.fit.e.unlike(expr, dead_members(self.fit, after, label))

    def passed(self, seen: frozenset[str]) -> frozenset[str]:
        """The names that can no longer be used: those seen, and in order those before them."""
        last = max((self.rank.get(n, -1) for n in seen), default=-1)
        return seen | {n for n, rank in self.rank.items() if rank < last}

    def comes_too_early(
        self, t: ObjectThread, label: Label, seen: frozenset[str], passed: frozenset[str]
    ) -> bool:
        """Whether a required key would be left behind."""
        missing = t.shape.required - seen
        return bool(missing if not isinstance(label, str) else missing & passed)

    def after_key(self, before: KeyFrame, label: Label, text: bytes | None) -> Colon | None:
        seen = before.seen
        if isinstance(label, str):
            seen |= {label}
        elif before.record and text is not None:
            seen |= {json.loads(text)}
        family, nexts = grouped(self.members(before.threads, label, seen, before.count))
        count = before.count + 1
        bounds = [b for t in before.threads for b in (t.shape.lo, (t.shape.hi or -1) + 1)]
        count = min(count, max(bounds))
        record = any(t.but for ts in nexts for t in ts)
        key = label if record and isinstance(label, str) else ""
        frame = MemberFrame(nexts, seen, count, key, record, self.containers(family))
        return Colon(family, frame, 0) if family else None

    def containers(self, family: Family) -> But:
        """The arrays and objects that a value of this family must not be."""
        but = tuple(dict.fromkeys(part for e in family for part in excluded(e)))
        return (
            *self.fit.constants.of_kind(but, "array"),
            *self.fit.constants.of_kind(but, "object"),
        )

    def with_member(
        self, threads: tuple[ObjectThread, ...], frame: MemberFrame, text: bytes | None
    ) -> tuple[ObjectThread, ...]:
        """The threads behind a member; without its text they forget what they must not be."""
        if not frame.record:
            return threads
        key = None if text is None else self.fit.constants.text(read(text))
        left = self.fit.constants.left
        told = (t._replace(but=left(t.but, frame.key, key) if key else ()) for t in threads)
        return tuple(dict.fromkeys(told))


def names_in_order(schema: Any) -> dict[str, int]:
    """Every name that a schema gives to a member, with its place in the order of mention."""
    order: dict[str, int] = {}
    todo = [schema]
    while todo:
        part = todo.pop()
        named = part.get("properties") if isinstance(part, dict) else None
        for name in named if isinstance(named, dict) else ():
            order.setdefault(name, len(order))
        inner = part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
        todo += reversed(list(inner))
    return order


def grouped(choices: Iterable[tuple[Expr, Any]]) -> tuple[Family, tuple[tuple[Any, ...], ...]]:
    """Choices by their expression: the family to read, and what each member of it leads to."""
    groups: dict[Expr, dict[Any, None]] = {}
    for expr, thread in choices:
        groups.setdefault(expr, {})[thread] = None
    return tuple(groups), tuple(tuple(g) for g in groups.values())
