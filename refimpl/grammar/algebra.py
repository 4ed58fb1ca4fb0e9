"""Union, intersection and complement of unions of shapes.

Complements are where alternatives multiply: not (A and B) is (not A) or (not B).  Alternatives that
say more than another one are dropped, and a combination that stays too large is refused by name.
"""

from collections.abc import Callable, Iterator
from itertools import product
from typing import TypeVar

from refimpl.errors import UnsupportedError
from refimpl.grammar.constants import But
from refimpl.grammar.number_sets import NUMBERS, NumberSet
from refimpl.grammar.regex import MAX_STATES, Node, Regexes
from refimpl.grammar.shapes import (
    ANY_OBJECT,
    LITERALS,
    NO_KEY,
    ArrayShape,
    Contains,
    Expr,
    Exprs,
    KeySet,
    ObjectShape,
    StringSet,
    Union,
    contains_order,
    rule_order,
)

MAX_SHAPES = 400
MAX_PAIRS = 10_000
T = TypeVar("T")


class Algebra:
    """Union, intersection and complement of unions of shapes."""

    def __init__(self, regexes: Regexes, exprs: Exprs):
        self.r, self.e = regexes, exprs
        self.limit: int | None = MAX_STATES  # of a search for words; none once a text is begun
        self.any_string = StringSet(regexes.ALL)
        self.any_array = ArrayShape((), exprs.ALL)
        self.everything = Union(
            LITERALS, (NUMBERS,), (self.any_string,), (self.any_array,), (ANY_OBJECT,)
        )

    # --- union

    def either(self, *unions: Union) -> Union:
        return Union(
            frozenset().union(*(u.literals for u in unions)),
            self._absorb(tuple(dict.fromkeys(x for u in unions for x in u.numbers)), NUMBERS),
            self._strings([x for u in unions for x in u.strings]),
            _limit(
                self._absorb(
                    tuple(dict.fromkeys(x for u in unions for x in u.arrays)), self.any_array
                )
            ),
            _limit(
                _without_narrower(
                    self._absorb(
                        tuple(dict.fromkeys(x for u in unions for x in u.objects)), ANY_OBJECT
                    )
                )
            ),
        )

    @staticmethod
    def _absorb(shapes: tuple[T, ...], top: T) -> tuple[T, ...]:
        """Everything swallows the rest, unless some alternative has looked at more of the value."""
        plain = not any(_looked(s) for s in shapes)
        return (top,) if plain and top in shapes else shapes

    def _strings(self, shapes: list[StringSet]) -> tuple[StringSet, ...]:
        """Languages without counts join into one; the others stay alternatives."""
        plain = [s for s in shapes if s.lo == 0 and s.hi is None]
        node = self.r.alt(*(s.node for s in plain))
        counted = dict.fromkeys(s for s in shapes if s.lo or s.hi is not None)
        if node is self.r.ALL or not self.r.is_live(node, self.limit):
            return (self.any_string,) if node is self.r.ALL else tuple(counted)
        outer = self.r.alt(*(s.outer or s.node for s in plain))
        return (StringSet(node, outer=outer if any(s.outer for s in plain) else None), *counted)

    # --- intersection

    def both(self, u: Union, v: Union) -> Union:
        if u == self.everything or v == self.everything:
            return v if u == self.everything else u
        if max(len(u.objects) * len(v.objects), len(u.arrays) * len(v.arrays)) > MAX_PAIRS:
            raise _too_many(MAX_PAIRS)
        numbers = _product(u.numbers, v.numbers, NUMBERS, NumberSet.both)
        strings = _product(u.strings, v.strings, self.any_string, self._both_strings)
        arrays = _product(u.arrays, v.arrays, self.any_array, self.both_arrays)
        objects = _product(u.objects, v.objects, ANY_OBJECT, self._both_objects)
        out = Union(u.literals & v.literals, numbers, strings, arrays, objects)
        most = max(len(numbers), len(strings), len(arrays), len(objects))
        return self.either(out) if most > 1 else out

    def _both_strings(self, a: StringSet, b: StringSet) -> StringSet | None:
        lo, hi = max(a.lo, b.lo), _least(a.hi, b.hi)
        outer = self.r.both(a.outer or a.node, b.outer or b.node) if a.outer or b.outer else None
        return self.string(self.r.both(a.node, b.node), lo, hi, outer)

    def string(
        self, node: Node, lo: int, hi: int | None, outer: Node | None = None
    ) -> StringSet | None:
        """Counts are kept as counters beside ALL, and become part of any other language."""
        if hi is not None and lo > hi:
            return None
        if node is not self.r.ALL and (lo or hi is not None):
            shortest, longest = lengths(node)
            lo = 0 if shortest >= lo else lo
            hi = None if hi is None or (longest is not None and longest <= hi) else hi
            if lo or hi is not None:
                within = self.r.repeat(self.r.ANY, lo, hi)
                node, lo, hi = self.r.both(node, within), 0, None
                outer = self.r.both(outer, within) if outer else None
        return StringSet(node, lo, hi, outer) if self.r.is_live(node, self.limit) else None

    def both_arrays(self, a: ArrayShape, b: ArrayShape) -> ArrayShape | None:
        n = max(len(a.prefix), len(b.prefix))
        done = None if None in (a.evaluated, b.evaluated) else max(a.evaluated, b.evaluated)  # type: ignore[type-var]
        return possible_array(
            ArrayShape(
                tuple(self.e.both(a.item(i), b.item(i)) for i in range(n)),
                self.e.both(a.rest, b.rest),
                max(a.lo, b.lo),
                _least(a.hi, b.hi),
                a.contains | b.contains,
                a.unique or b.unique,
                a.repeated or b.repeated,
                done,
                a.evaluated_items | b.evaluated_items,
                _joined(a.but, b.but),
            )
        )

    def _both_objects(self, a: ObjectShape, b: ObjectShape) -> ObjectShape | None:
        return self.possible_object(
            ObjectShape(
                a.rules | b.rules,
                a.required | b.required,
                max(a.lo, b.lo),
                _least(a.hi, b.hi),
                a.exists | b.exists,
                a.evaluated.plus(b.evaluated),
                _joined(a.but, b.but),
            )
        )

    def possible_object(self, o: ObjectShape) -> ObjectShape | None:
        """The shape, unless counts or a required key that is forbidden contradict it."""
        if o.hi is not None and max(o.lo, len(o.required)) > o.hi:
            return None
        forbidden = [keys for keys, expr in o.rules if expr is self.e.NONE]
        return None if any(k.has(key, self.r) for k in forbidden for key in o.required) else o

    # --- complement

    def non(self, u: Union) -> Union:
        out = Union(
            LITERALS - u.literals, (NUMBERS,), (self.any_string,), (self.any_array,),
            (ANY_OBJECT,),
        )  # fmt: skip
        for n in u.numbers:
            out = self._without(out, Union(numbers=tuple(n.non())), "numbers")
        for s in u.strings:
            out = self._without(out, Union(strings=tuple(self._non_string(s))), "strings")
        for a in u.arrays:
            out = self._without(out, Union(arrays=tuple(self._non_array(a))), "arrays")
        for o in u.objects:
            out = self._without(out, Union(objects=tuple(self._non_object(o))), "objects")
        return out

    def _without(self, u: Union, complement: Union, kind: str) -> Union:
        part = Union(**{kind: getattr(u, kind)})
        return u._replace(**{kind: getattr(self.both(part, complement), kind)})

    def _non_string(self, s: StringSet) -> Iterator[StringSet]:
        if self.r.is_live(node := self.r.non(s.outer or s.node), self.limit):
            yield StringSet(node)
        if s.lo:
            yield StringSet(self.r.ALL, 0, s.lo - 1)
        if s.hi is not None:
            yield StringSet(self.r.ALL, s.hi + 1)

    def _non_array(self, a: ArrayShape) -> Iterator[ArrayShape]:
        top, e = self.e.ALL, self.e
        for i, item in enumerate(a.prefix):
            if item is not top:
                yield ArrayShape((top,) * i + (e.non(item),), top, lo=i + 1)
        if a.rest is not top:
            some = Contains(len(a.prefix), e.non(a.rest), 1, None)
            yield self.any_array._replace(contains=frozenset({some}))
        for lo, hi in _outside(a.lo, a.hi):
            yield ArrayShape((), top, lo, hi)
        for c in sorted(a.contains, key=contains_order):
            for lo, hi in _outside(c.lo, c.hi):
                other = Contains(c.start, c.expr, lo, hi)
                yield self.any_array._replace(contains=frozenset({other}))
        assert not a.but, "what items must differ from is said of items alone, never negated"
        if a.compares:
            yield self.any_array._replace(unique=a.repeated, repeated=a.unique)

    def _non_object(self, o: ObjectShape) -> Iterator[ObjectShape]:
        assert not o.but, "as for arrays"
        e = self.e
        for keys, value in sorted(o.rules, key=rule_order):
            if value is not e.ALL:
                yield _some_member(keys, e.non(value))
        for key in sorted(o.required):
            yield ObjectShape(rules=frozenset({(KeySet(frozenset({key})), e.NONE)}))
        for lo, hi in _outside(o.lo, o.hi):
            yield ObjectShape(lo=lo, hi=hi)
        for keys, value in sorted(o.exists, key=rule_order):
            yield ObjectShape(rules=frozenset({(keys, e.non(value))}))


def _product(
    xs: tuple[T, ...], ys: tuple[T, ...], top: T, both: Callable[[T, T], T | None]
) -> tuple[T, ...]:
    """Each with each, less what is empty; what holds everything changes nothing."""
    if not (xs and ys):
        return ()
    if xs == (top,) or ys == (top,):
        return ys if xs == (top,) else xs
    return tuple(z for z in (both(x, y) for x, y in product(xs, ys)) if z)


def possible_array(a: ArrayShape) -> ArrayShape | None:
    """The shape, unless its counts contradict each other, or what is said of equal items."""
    least = max(a.lo, 2) if a.repeated else a.lo
    return None if (a.unique and a.repeated) or (a.hi is not None and least > a.hi) else a


def _some_member(keys: KeySet, value: Expr) -> ObjectShape:
    """Objects with a member like that; of a single name we can say that it is required."""
    if len(keys.names) == 1 and not keys.patterns and not keys.negative:
        return ObjectShape(frozenset({(keys, value)}), keys.names)
    return ObjectShape(exists=frozenset({(keys, value)}))


def lengths(node: Node) -> tuple[int, int | None]:
    """Bounds on the number of characters of a word (not always the tightest)."""
    match node.kind:
        case "set":
            return 1, 1
        case "words":
            return min(map(len, node.args)), max(map(len, node.args))
        case "cat" | "alt" | "both":
            bounds = [lengths(n) for n in node.args]
            los, his = [b[0] for b in bounds], [b[1] for b in bounds if b[1] is not None]
            full = len(his) == len(bounds)
            if node.kind == "cat":
                return sum(los), sum(his) if full else None
            if node.kind == "alt":
                return min(los), max(his) if full else None
            return max(los), min(his, default=None)
        case "repeat":
            (lo, hi), (a, b) = lengths(node.args[0]), node.args[1:]
            return lo * a, None if b is None or hi is None else hi * b
        case "eps" | "empty":
            return 0, 0
    return 0, None


def _without_narrower(shapes: tuple[ObjectShape, ...]) -> tuple[ObjectShape, ...]:
    """Drops alternatives that say all that another one says, and more."""
    if len(shapes) < 3:
        return shapes
    return tuple(s for s in shapes if not any(t is not s and _says_less(t, s) for t in shapes))


def _says_less(t: ObjectShape, s: ObjectShape) -> bool:
    return (
        t.rules <= s.rules
        and t.required <= s.required
        and t.exists <= s.exists
        and t.lo <= s.lo
        and (t.hi is None or (s.hi is not None and s.hi <= t.hi))
        and t.evaluated == s.evaluated
        and (not t.but or t.but == s.but)
    )


def _joined(a: But, b: But) -> But:
    return tuple(dict.fromkeys((*a, *b))) if a and b else a or b


def _looked(shape: object) -> bool:
    if isinstance(shape, ArrayShape):
        return shape.evaluated != 0 or bool(shape.evaluated_items)
    return isinstance(shape, ObjectShape) and shape.evaluated != NO_KEY


def _outside(lo: int, hi: int | None) -> Iterator[tuple[int, int | None]]:
    if lo > 0:
        yield 0, lo - 1
    if hi is not None:
        yield hi + 1, None


def _least(a: int | None, b: int | None) -> int | None:
    return b if a is None else a if b is None else min(a, b)


def _limit(shapes: tuple[T, ...]) -> tuple[T, ...]:
    if len(shapes) > MAX_SHAPES:
        raise _too_many(MAX_SHAPES)
    return shapes


def _too_many(n: int) -> UnsupportedError:
    return UnsupportedError(
        f"a combination of schemas that needs more than {n} alternatives; "
        "give oneOf or not branches that differ in a type or a constant"
    )
