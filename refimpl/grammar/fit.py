"""What can still be completed: the decisions that keep a generation out of dead ends.

A partly written array or object is alive if some way of finishing it exists.  That depends only on
a few numbers (how many items, which keys, which obligations are still open) and on whether there
are any values at all under certain expressions.  The latter is the least fixed point of "a union
has a value if one of its shapes can be finished", which also settles recursive schemas that can
never end.

A *choice* is one way to use the next item or member: the expression its value must satisfy, and
the obligations left open afterwards.  An item may or may not be counted by `contains`, so there may
be several choices, and a state keeps them all.
"""

from collections.abc import Hashable, Iterable, Iterator
from itertools import combinations_with_replacement, product

from refimpl.errors import UnsupportedError
from refimpl.grammar.apart import array_can_differ, object_can_differ
from refimpl.grammar.distinct import at_least, members
from refimpl.grammar.items import begun
from refimpl.grammar.keys import JointKeys, KeyAutomaton, Patterns
from refimpl.grammar.members import ObjectPlan, Sat, names_and_patterns
from refimpl.grammar.places import Place, Plan, can_all_differ, is_enough
from refimpl.grammar.repeats import two_can_be_equal
from refimpl.grammar.schema import SchemaReader
from refimpl.grammar.shapes import (
    ArrayShape,
    Contains,
    Expr,
    Exprs,
    ObjectShape,
    Union,
    contains_order,
    is_unlike,
)
from refimpl.grammar.unfinished import Counts, OpenObject

MAX_SEARCH = 20_000


class Fit:
    """Answers for one schema; remembers what it found."""

    def __init__(self, reader: SchemaReader):
        self.reader, self.e, self.r = reader, reader.e, reader.r
        self.constants = reader.constants
        self.apart: dict[Hashable, bool] = {}
        self.repeats: dict[tuple[ArrayShape, int, Counts], bool] = {}
        self.plans_of: dict[tuple[ArrayShape, Place], list[Plan]] = {}
        self._sat: dict[Expr, bool] = {}
        self._impossible: set[ArrayShape] = set()
        self._plans: dict[ObjectShape, ObjectPlan] = {}
        self._automata: dict[object, KeyAutomaton] = {}
        self._countable: dict[Patterns, bool] = {}
        self._joint: dict[tuple[tuple[str, ...], tuple[Patterns, ...]], JointKeys] = {}
        self._many: dict[tuple[Expr, int, int], int] = {}
        self._listed: dict[Expr, tuple[str, ...]] = {}
        self._open: set[Expr] = set()  # those that are being listed
        self._arrays: dict[tuple[ArrayShape, int, Counts], bool] = {}

    # --- values

    def sat(self, expr: Expr) -> bool:
        """Whether any value satisfies the expression."""
        if expr not in self._sat:
            if is_unlike(expr):  # no schema refers to it, so the rest is settled without it
                self._sat[expr] = self._has_value(expr, self.sat)
            else:
                self._settle(expr)
        return self._sat[expr]

    def known(self) -> list[Expr]:
        """Every expression asked about so far; after `start`, all that a document can need."""
        return list(self._sat)

    def compared(self) -> list[ArrayShape]:
        """Every array known so far of which it matters which items are equal."""
        unions = map(self.reader.union, self._sat)
        return list(dict.fromkeys(a for u in unions for a in u.arrays if a.compares))

    def _settle(self, expr: Expr) -> None:
        """The least fixed point, until no array in it turns out to need more than there is."""
        n_known, unknown = len(self._sat), self._closure(expr)
        while True:
            found = self._least(unknown)
            self._sat.update((e, e in found) for e in unknown)
            unique = (a for e in unknown for a in self.reader.union(e).arrays if a.unique)
            few = [a for a in dict.fromkeys(unique) if self._has_too_few(a)]
            if not few:
                return
            self._impossible.update(few)
            self._forget(n_known)

    def _least(self, unknown: list[Expr]) -> set[Expr]:
        found: set[Expr] = set()
        sat: Sat = lambda e: e in found or self._sat.get(e, False)
        while True:
            more = [e for e in unknown if e not in found and self._has_value(e, sat)]
            if not more:
                return found
            found.update(more)

    def _has_too_few(self, a: ArrayShape) -> bool:
        """Different items: how many arrays or objects there are is known last (`is_enough`)."""
        return not (a.but or a in self._impossible) and not can_all_differ(self, begun(a))

    def _forget(self, n_known: int) -> None:
        """What was found after so many expressions were known, and with it what was counted."""
        for e in list(self._sat)[n_known:]:
            del self._sat[e]
        for found in (
            self._many,
            self._listed,
            self._arrays,
            self.apart,
            self.repeats,
            self.plans_of,
        ):
            found.clear()

    def _closure(self, expr: Expr) -> list[Expr]:
        seen = {expr: None}
        for e in (todo := [expr]):
            for part in self.parts(self.reader.union(e)):
                if part not in seen and part not in self._sat:
                    seen[part] = None
                    todo.append(part)
            if len(seen) > MAX_SEARCH:
                raise UnsupportedError(f"a schema with more than {MAX_SEARCH} distinct parts")
        return todo[::-1]

    def parts(self, union: Union) -> Iterator[Expr]:
        """Every expression a value inside such a value may have to satisfy."""
        for a in union.arrays:
            bases = dict.fromkeys((*a.prefix, a.rest)) if a.hi != 0 else {}
            items = []
            for base in bases:
                for options in product(*(_options(self.e, c) for c in a.contains)):
                    items.append(self.e.both(base, *options))
                    yield items[-1]
            if a.repeated:
                yield from (self.e.both(*two) for two in combinations_with_replacement(items, 2))
        for o in union.objects:
            yield from self.plan(o).parts()

    def _has_value(self, expr: Expr, sat: Sat) -> bool:
        u = self.reader.union(expr)
        if u.literals or u.strings or not all(s.is_empty() for s in u.numbers):
            return True
        return any(self._has_array(a, sat) for a in u.arrays) or any(
            self._has_object(o, sat) for o in u.objects
        )

    def _has_array(self, a: ArrayShape, sat: Sat) -> bool:
        if a.but:
            return array_can_differ(self, begun(a))
        counts = (0,) * len(a.contains)
        return (
            a not in self._impossible
            and self._array_fits(a, 0, counts, sat)
            and is_enough(self, a, sat)
            and (not a.repeated or two_can_be_equal(self, a, 0, counts, sat))
        )

    def _has_object(self, o: ObjectShape, sat: Sat) -> bool:
        plan = self.plan(o)
        if o.but:
            none = OpenObject(plan.shape, frozenset(), 0, plan.exists, o.but)
            return object_can_differ(self, none)
        return plan.is_possible(sat)

    # --- arrays

    def contains_of(self, a: ArrayShape) -> tuple[Contains, ...]:
        return tuple(sorted(a.contains, key=contains_order))

    def item_choices(
        self, a: ArrayShape, index: int, counts: Counts
    ) -> Iterator[tuple[Expr, Counts]]:
        if a.hi is not None and index >= a.hi:
            return
        moves = [
            list(_moves(self.e, c, n, index))
            for c, n in zip(self.contains_of(a), counts, strict=True)
        ]
        for combination in product(*moves):
            expr = self.e.both(a.item(index), *(m[0] for m in combination))
            yield expr, tuple(m[1] for m in combination)

    def array_fits(self, a: ArrayShape, index: int, counts: Counts, sat: Sat | None = None) -> bool:
        """Whether enough items can follow, whichever of them are equal."""
        if sat:
            return self._array_fits(a, index, counts, sat)
        key = (a, self.cap(a, index), counts)
        if key not in self._arrays:
            self._arrays[key] = self._array_fits(*key, self.sat)
        return self._arrays[key]

    def array_done(self, a: ArrayShape, index: int, counts: Counts) -> bool:
        pairs = zip(self.contains_of(a), counts, strict=True)
        return index >= a.lo and all(n >= c.lo for c, n in pairs)

    def cap(self, a: ArrayShape, index: int) -> int:
        """Indices beyond this behave alike, unless there is a largest one."""
        return self.far(a, index) if a.hi is None else index

    def far(self, a: ArrayShape, index: int) -> int:
        """Indices beyond this differ in nothing but how many may follow."""
        return min(index, max(len(a.prefix), a.lo, *(c.start for c in a.contains), 0))

    def without_far_bound(self, a: ArrayShape, index: int) -> ArrayShape:
        """The array, less a largest length beyond all that it needs, and two items more."""
        counted = sum(max(c.lo, c.hi or 0) for c in a.contains)
        is_far = a.hi is not None and a.hi - index > self.far(a, a.hi) + counted + 2
        return a._replace(hi=None) if is_far else a

    def limit(self, n: int) -> None:
        """Of a search among the counts of an array, while a schema is compiled."""
        if n > MAX_SEARCH and self.reader.algebra.limit is not None:
            raise UnsupportedError("`contains` with counts this large")

    def _array_fits(self, a: ArrayShape, index: int, counts: Counts, sat: Sat) -> bool:
        if not a.contains:
            return all(sat(a.item(i)) for i in range(index, min(a.lo, len(a.prefix)))) and (
                max(index, len(a.prefix)) >= a.lo or sat(a.rest)
            )
        a = self.without_far_bound(a, index)
        start = (self.cap(a, index), counts)
        seen = {start: None}
        todo = [start]
        while todo:
            i, n = todo.pop()
            if self.array_done(a, i, n):
                return True
            for expr, m in self.item_choices(a, i, n):
                state = (self.cap(a, i + 1), m)
                if state not in seen and sat(expr):
                    seen[state] = None
                    todo.append(state)
            self.limit(len(seen))
        return False

    # --- values that are counted

    def listed(self, expr: Expr) -> tuple[str, ...]:
        """All values of an expression that has only a few."""
        if expr in self._open:
            raise UnsupportedError("uniqueItems with minItems over values nested in themselves")
        if expr not in self._listed:
            self._open.add(expr)
            found = map(self.constants.text, members(self, expr))
            self._listed[expr] = tuple(dict.fromkeys(found))
            self._open.discard(expr)
        return self._listed[expr]

    def is_many(self, expr: Expr, most: int) -> bool:
        """Whether more than `most` values are known to satisfy the expression."""
        return self.how_many(expr, most) > most

    def how_many(self, expr: Expr, most: int, depth: int = 0) -> int:
        """So many values that satisfy the expression are known (`at_least`)."""
        key = (expr, most, depth)
        if key not in self._many:
            self._many[key] = at_least(self, *key)
        return self._many[key]

    def constant(self, text: str) -> Expr:
        """The one value with this canonical text."""
        return self.reader.const(self.constants.value[text])

    # --- objects

    def plan(self, o: ObjectShape) -> ObjectPlan:
        """Of the shape, whatever it must differ from."""
        o = o._replace(but=()) if o.but else o
        plan = self._plans.get(o)
        if plan is None:
            keys = self.key_automaton(*names_and_patterns(o))
            plan = self._plans[o] = ObjectPlan(self.e, self.r, o, keys)
        return plan

    def automaton(self, shapes: Iterable[ObjectShape], extra: frozenset[str]) -> KeyAutomaton:
        """The one automaton that labels keys for several shapes at once."""
        plans = [self.plan(o) for o in shapes]
        names = tuple(sorted({n for p in plans for n in p.names} | extra))
        patterns = tuple(sorted({x for p in plans for x in p.patterns}))
        parts = tuple(dict.fromkeys(p.patterns for p in plans))
        if len(parts) > 1 and not self.can_count(patterns):
            return self.joint_keys(names, parts)
        return self.key_automaton(names, patterns)

    def can_count(self, patterns: Patterns) -> bool:
        """Whether the labels that these patterns give together can be listed."""
        if patterns not in self._countable:
            try:
                self._countable[patterns] = bool(self.key_automaton((), patterns).supply)
            except UnsupportedError:
                self._countable[patterns] = False
        return self._countable[patterns]

    def without_names(self, keys: KeyAutomaton) -> KeyAutomaton:
        """For keys that can no longer become one of the names."""
        if isinstance(keys, JointKeys):
            return self.joint_keys((), tuple(p.patterns for p in keys.parts))
        return self.key_automaton((), keys.patterns)

    def joint_keys(self, names: tuple[str, ...], parts: tuple[Patterns, ...]) -> JointKeys:
        if (names, parts) not in self._joint:
            automata = tuple(self.key_automaton(names, p) for p in parts)
            self._joint[names, parts] = JointKeys(self.r, names, automata)
        return self._joint[names, parts]

    def key_automaton(self, names: tuple[str, ...], patterns: Patterns) -> KeyAutomaton:
        key = (names, patterns)
        if key not in self._automata:
            nameless = self.key_automaton((), patterns) if names and patterns else None
            self._automata[key] = KeyAutomaton(self.r, names, patterns, nameless)
        return self._automata[key]


def _options(e: Exprs, c: Contains) -> list[Expr]:
    return [c.expr, e.ALL if c.hi is None else e.non(c.expr), e.ALL]


def _moves(e: Exprs, c: Contains, n: int, index: int) -> Iterator[tuple[Expr, int]]:
    """How one item may be counted: it is (one more), or it is not."""
    if index < c.start or (c.hi is None and n >= c.lo):
        yield e.ALL, n
        return
    if c.hi is None or n < c.hi:
        yield c.expr, n + 1
    yield (e.ALL if c.hi is None else e.non(c.expr)), n
