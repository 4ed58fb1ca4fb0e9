"""What a schema allows, as a union of shapes: a boolean algebra of sets of JSON values.

Every JSON Schema, whatever it says with `allOf`, `not`, `oneOf` or `if`, is a union of *shapes*.
A shape is a plain conjunction about values of one type: a number set, a string language, an array
whose items and counts are bounded, an object whose members are.  Shapes of a type are closed under
intersection, and the complement of a shape is a union of shapes, because each assertion has an
opposite: all items are E / some item is not E; key k is required / key k is forbidden.  So the
keywords are not interpreted one by one while text is generated: they are calculated with, once.

Values inside an array or object are described by *expressions*, boolean combinations of schemas
that are turned into shapes only when such a value is about to be written.  Expressions are kept in
normal form and interned, so a recursive schema has finitely many.

Glossary: lo, hi bounds on a count (hi None: unbounded); `exists` a member that must be there;
`evaluated` what this alternative has looked at, for `unevaluatedProperties` and `unevaluatedItems`;
`but` constants that do not belong to the shape (`constants`): only items that must differ have it.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

from refimpl.errors import UnsupportedError
from refimpl.grammar.constants import But
from refimpl.grammar.number_sets import NumberSet
from refimpl.grammar.regex import Node, Regexes


@dataclass(eq=False, slots=True)
class Expr:
    """A boolean combination of schemas; made by `Exprs` only, so equal ones are the same object."""

    kind: str  # leaf, all, none, and, or, not
    args: tuple[Any, ...]  # expressions; of a leaf: what it stands for
    id: int

    def __lt__(self, other: "Expr") -> bool:
        return self.id < other.id


class Exprs:
    """Interns expressions; `leaf(*key)` stands for a schema known by that key."""

    def __init__(self) -> None:
        self._table: dict[tuple[Any, ...], Expr] = {}
        self.ALL, self.NONE = self._make("all"), self._make("none")

    def _make(self, kind: str, *args: Any) -> Expr:
        e = self._table.get((kind, *args))
        if e is None:
            e = self._table[kind, *args] = Expr(kind, args, len(self._table))
        return e

    def leaf(self, *key: Any) -> Expr:
        return self._make("leaf", *key)

    def both(self, *parts: Expr) -> Expr:
        return self._join("and", parts, self.ALL, self.NONE)

    def either(self, *parts: Expr) -> Expr:
        return self._join("or", parts, self.NONE, self.ALL)

    def _join(self, kind: str, parts: tuple[Expr, ...], unit: Expr, zero: Expr) -> Expr:
        if len(parts) == 1:
            return parts[0]
        flat = {e: None for p in parts for e in (p.args if p.kind == kind else (p,))}
        flat.pop(unit, None)
        if zero in flat or any(e.kind == "not" and e.args[0] in flat for e in flat):
            return zero
        args = tuple(sorted(flat))
        return args[0] if len(args) == 1 else self._make(kind, *args) if args else unit

    def unlike(self, e: Expr, but: But) -> Expr:
        """The expression without these constants."""
        return self.both(e, self.leaf("unlike", but)) if but else e

    def non(self, e: Expr) -> Expr:
        if e is self.ALL or e is self.NONE:
            return self.NONE if e is self.ALL else self.ALL
        return e.args[0] if e.kind == "not" else self._make("not", e)


def is_unlike(expr: Expr) -> bool:
    return any(map(_is_unlike_leaf, _parts(expr)))


def excluded(expr: Expr) -> But:
    """The constants that `unlike` has excluded."""
    return tuple(part for e in _parts(expr) if _is_unlike_leaf(e) for part in e.args[1])


def _parts(expr: Expr) -> tuple[Expr, ...]:
    return expr.args if expr.kind == "and" else (expr,)


def _is_unlike_leaf(e: Expr) -> bool:
    return e.kind == "leaf" and e.args[0] == "unlike"


class KeySet(NamedTuple):
    """Keys with one of these names or matching one of these patterns; or all the others."""

    names: frozenset[str] = frozenset()
    patterns: frozenset[Node] = frozenset()
    negative: bool = False

    def has(self, key: str, regexes: Regexes) -> bool:
        found = key in self.names or any(regexes.matches(p, key) for p in self.patterns)
        return found != self.negative

    def others(self) -> "KeySet":
        return self._replace(negative=not self.negative)

    def plus(self, other: "KeySet") -> "KeySet":
        """The union, where at most one side is negative and then it must be everything."""
        if EVERY_KEY in (self, other):
            return EVERY_KEY
        if self.negative or other.negative:
            raise UnsupportedError("unevaluatedProperties beside an exclusion of keys")
        return KeySet(self.names | other.names, self.patterns | other.patterns)


NO_KEY = KeySet()
EVERY_KEY = KeySet(negative=True)


class StringSet(NamedTuple):
    """Strings of a regular language with lo..hi characters.

    `outer` is a larger language where `node` is known only in part: a complement is taken of that.
    """

    node: Node
    lo: int = 0
    hi: int | None = None
    outer: Node | None = None


class Contains(NamedTuple):
    """Among the items from index `start` on, between lo and hi are `expr`."""

    start: int
    expr: Expr
    lo: int
    hi: int | None


class ArrayShape(NamedTuple):
    prefix: tuple[Expr, ...]
    rest: Expr
    lo: int = 0
    hi: int | None = None
    contains: frozenset[Contains] = frozenset()
    unique: bool = False
    repeated: bool = False  # the opposite: some two items are equal
    evaluated: int | None = 0  # how many leading items were looked at; None: all of them
    evaluated_items: frozenset[Expr] = frozenset()  # and any item that is one of these
    but: But = ()

    def item(self, index: int) -> Expr:
        return self.prefix[index] if index < len(self.prefix) else self.rest

    @property
    def compares(self) -> bool:
        """Whether it matters which items are equal."""
        return self.unique or self.repeated


class ObjectShape(NamedTuple):
    rules: frozenset[tuple[KeySet, Expr]] = frozenset()  # a member whose key is in it is that
    required: frozenset[str] = frozenset()
    lo: int = 0
    hi: int | None = None
    exists: frozenset[tuple[KeySet, Expr]] = frozenset()  # some member is like that
    evaluated: KeySet = NO_KEY
    but: But = ()


class Union(NamedTuple):
    """The values that belong to at least one of the shapes."""

    literals: frozenset[str] = frozenset()  # of "null", "true", "false"
    numbers: tuple[NumberSet, ...] = ()
    strings: tuple[StringSet, ...] = ()
    arrays: tuple[ArrayShape, ...] = ()
    objects: tuple[ObjectShape, ...] = ()

    def is_empty(self) -> bool:
        return not (self.literals or self.numbers or self.strings or self.arrays or self.objects)


LITERALS = frozenset({"null", "true", "false"})
ANY_OBJECT = ObjectShape()
NOTHING = Union()


def _keys_order(k: KeySet) -> tuple[bool, list[str], list[int]]:
    return k.negative, sorted(k.names), sorted(p.id for p in k.patterns)


def rule_order(rule: tuple[KeySet, Expr]) -> tuple[tuple[bool, list[str], list[int]], int]:
    return _keys_order(rule[0]), rule[1].id


def contains_order(c: Contains) -> tuple[int, int, int, int]:
    return c.start, c.expr.id, c.lo, -1 if c.hi is None else c.hi
