"""What the members of an object can be: one object shape, prepared for being written.

A *label* tells all that matters about a key; `choices` says how a member with that label can be
used, and `fits` whether an object can still be finished.
"""

from collections.abc import Callable, Iterator
from itertools import product

from refimpl.errors import UnsupportedError
from refimpl.grammar.keys import KeyAutomaton, Label
from refimpl.grammar.regex import Node, Regexes
from refimpl.grammar.shapes import Expr, Exprs, KeySet, ObjectShape, rule_order

Exists = tuple[KeySet, Expr]
Sat = Callable[[Expr], bool]


class ObjectPlan:
    """One object shape, prepared: which labels there are and what their values must satisfy."""

    def __init__(self, e: Exprs, r: Regexes, shape: ObjectShape, automaton: KeyAutomaton):
        self.e, self.r, self.shape, self.automaton = e, r, shape, automaton
        self.names, self.patterns = automaton.names, automaton.patterns
        self.exists: tuple[Exists, ...] = tuple(sorted(shape.exists, key=rule_order))
        self._exprs: dict[Label, Expr] = self._by_name()

    def _by_name(self) -> dict[Label, Expr]:
        """The expression of every name; each rule touches only the names it is about.

        In which order the rules come does not matter, since `both` sorts.
        """
        parts: dict[str, list[Expr]] = {n: [] for n in self.names}
        for keys, expr in self.shape.rules:
            if keys.patterns or keys.negative:
                chosen = [n for n in self.names if keys.has(n, self.r)]
            else:
                chosen = list(keys.names)
            for n in chosen:
                parts[n].append(expr)
        return {n: self.e.both(*exprs) for n, exprs in parts.items()}

    def parts(self) -> Iterator[Expr]:
        """Every expression a member may have to satisfy."""
        for label in (*self.names, *self.automaton.supply):
            if self.exists:
                yield from (expr for expr, _ in self.choices(label, self.exists))
            else:
                yield self.expr(label)

    def _has(self, keys: KeySet, label: Label) -> bool:
        if isinstance(label, str):
            return keys.has(label, self.r)
        return any(p in label for p in keys.patterns) != keys.negative

    def expr(self, label: Label) -> Expr:
        """What the value under a key with this label must satisfy."""
        if label not in self._exprs:
            parts = (x for keys, x in self.shape.rules if self._has(keys, label))
            self._exprs[label] = self.e.both(*parts)
        return self._exprs[label]

    def choices(
        self, label: Label, pending: tuple[Exists, ...]
    ) -> Iterator[tuple[Expr, tuple[Exists, ...]]]:
        """The ways a member can be used: it may meet any of the open obligations."""
        base = self.expr(label)
        able = [x for x in pending if self._has(x[0], label)]
        if not able:
            yield base, pending
            return
        if len(able) > 8:
            raise UnsupportedError("more than eight negated member rules about one key")
        for bits in product((True, False), repeat=len(able)):
            met = [x for x, b in zip(able, bits, strict=True) if b]
            rest = tuple(x for x in pending if x not in met)
            yield self.e.both(base, *(x[1] for x in met)), rest

    def is_possible(self, sat: Sat) -> bool:
        """Whether there is any such object."""
        return self.fits(frozenset(), 0, self.exists, sat)

    def fits(self, seen: frozenset[str], count: int, pending: tuple[Exists, ...], sat: Sat) -> bool:
        """Whether an object with these keys so far can be finished."""
        o = self.shape
        missing = sorted(o.required - seen)
        need = count + len(missing)
        if (o.hi is not None and need > o.hi) or not all(sat(self.expr(k)) for k in missing):
            return False
        if pending:
            return self._assign(seen, count, pending, {k: self.expr(k) for k in missing}, sat)
        return need >= o.lo or need + self._spare(seen, set(missing), sat, o.lo - need) >= o.lo

    def _spare(self, seen: frozenset[str], used: set[object], sat: Sat, enough: int) -> int:
        """How many further keys there are, counted up to `enough`."""
        free = [n for n in self.names if n not in seen and n not in used]
        total = sum(1 for n in free if sat(self.expr(n)))
        unnamed = [k for k in seen if k not in self.names]
        for label, supply in self.automaton.supply.items():
            if total >= enough or not sat(self.expr(label)):
                continue
            if supply is None:
                return enough
            gone = sum(1 for k in unnamed if self.automaton.label(self.automaton.walk(k)) == label)
            gone += sum(1 for slot in used if isinstance(slot, tuple) and slot[0] == label)
            total += supply - gone
        return total

    def _assign(
        self,
        seen: frozenset[str],
        count: int,
        pending: tuple[Exists, ...],
        slots: dict[object, Expr],
        sat: Sat,
    ) -> bool:
        """Tries to give every open obligation a key of its own or a shared one."""
        o = self.shape
        if o.hi is not None and count + len(slots) > o.hi:
            return False
        if not pending:
            need = count + len(slots)
            return need >= o.lo or (need + self._spare(seen, set(slots), sat, o.lo - need) >= o.lo)
        keys, expr = pending[0]
        for slot, label in self._slots(seen, slots):
            if self._has(keys, label):
                base = slots.get(slot, self.expr(label))
                both = self.e.both(base, expr)
                if self._known(both, sat) and self._assign(
                    seen, count, pending[1:], {**slots, slot: both}, sat
                ):
                    return True
        return False

    def _known(self, expr: Expr, sat: Sat) -> bool:
        return sat(expr)

    def _slots(
        self, seen: frozenset[str], slots: dict[object, Expr]
    ) -> Iterator[tuple[object, Label]]:
        for n in self.names:
            if n not in seen:
                yield n, n
        for label, supply in self.automaton.supply.items():
            taken = [s for s in slots if isinstance(s, tuple) and s[0] == label]
            for i in range(len(taken) + 1):
                if supply is None or i < supply:
                    yield (label, i), label


def names_and_patterns(o: ObjectShape) -> tuple[tuple[str, ...], tuple[Node, ...]]:
    """All that a shape knows keys by, sorted."""
    keysets = [k for k, _ in (*o.rules, *o.exists)]
    names = o.required.union(*(k.names for k in keysets))
    patterns: frozenset[Node] = frozenset().union(*(k.patterns for k in keysets))
    return tuple(sorted(names)), tuple(sorted(patterns))
