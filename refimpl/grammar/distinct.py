"""How many different values there are: what `uniqueItems` with `minItems` needs to know.

Items from an infinite set can always be chosen apart.  Items from small finite sets must be given
different members, which is a matching in a bipartite graph (Kuhn's augmenting paths).

>>> matching([["1", "2"], ["1"]]), matching([["1"], ["1"]])
(True, False)
"""

import json
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from refimpl.errors import UnsupportedError
from refimpl.grammar.charset import MAX_CODE_POINT
from refimpl.grammar.number_sets import NumberSet
from refimpl.grammar.regex import Node, Regexes
from refimpl.grammar.shapes import Expr, StringSet, Union

if TYPE_CHECKING:
    from refimpl.grammar.fit import Fit

MAX_MEMBERS = 1000  # sets of more are not listed, unless more items are required


def matching(sets: list[list[str]]) -> bool:
    """Whether each set can be given a member of its own."""
    owner: dict[str, int] = {}

    def place(i: int, tried: set[str]) -> bool:
        for value in sets[i]:
            if value not in tried:
                tried.add(value)
                if value not in owner or place(owner[value], tried):
                    owner[value] = i
                    return True
        return False

    return all(place(i, set()) for i in range(len(sets)))


def is_infinite(fit: "Fit", expr: Expr, most: int, depth: int = 0) -> bool:
    """Whether more than `most` values satisfy the expression, usually infinitely many.

    A False may only mean that this search did not look deep enough; the caller then needs a list.
    """
    if depth > 4:
        return False
    u = fit.reader.union(expr)
    if any(words(fit.r, s, most) is None for s in u.strings):
        return True
    if any(_many_numbers(s, most) for s in u.numbers):
        return True
    for o in u.objects:
        plan = fit.plan(o)
        if not plan.is_possible(fit.sat):
            continue
        if any(is_infinite(fit, plan.expr(k), most, depth + 1) for k in o.required):
            return True
        roomy = o.hi is None or o.hi > len(o.required) + len(o.exists)
        if roomy and any(
            fit.sat(plan.expr(x)) and (n is None or is_infinite(fit, plan.expr(x), most, depth + 1))
            for x, n in plan.automaton.supply.items()
        ):
            return True
        if roomy and any(is_infinite(fit, plan.expr(k), most, depth + 1) for k in plan.names):
            return True
    for a in u.arrays:
        if a.contains or not fit.array_fits(a, 0, ()):
            continue
        slots = len(a.prefix) + 1 if a.hi is None else min(a.hi, len(a.prefix) + 1)
        items = [a.item(i) for i in range(slots)]
        if not all(map(fit.sat, items)):
            continue
        many = (is_infinite(fit, e, most, depth + 1) for e in items)
        if bool(items) and all(many) if a.unique else a.hi is None or any(many):
            return True
    return False


def words(r: Regexes, s: StringSet, most: int) -> list[str] | None:
    """All strings of a small language; None if there are more than `most`.

    >>> r = Regexes()
    >>> words(r, StringSet(r.repeat(r.set(((97, 98),)), 0, 1)), 9), words(r, StringSet(r.ALL), 9)
    (['', 'a', 'b'], None)
    """
    node = r.both(s.node, r.repeat(r.ANY, s.lo, s.hi)) if s.lo or s.hi is not None else s.node
    found: list[str] = []
    begun = [("", node)] if r.is_live(node) else []  # of one length; each can become a word
    while begun:
        found += (text for text, n in begun if n.nullable)
        after: list[tuple[str, Node]] = []
        for text, n in begun:
            for c, target in _characters(r, n):
                after.append((text + chr(c), target))
                if max(len(found), len(after)) > most:
                    return None
        begun = after
    return found


def _characters(r: Regexes, node: Node) -> Iterator[tuple[int, Node]]:
    """Every character that leads on, and where."""
    row = [*r.row(node), (MAX_CODE_POINT + 1, node)]
    for (lo, target), (end, _) in pairwise(row):
        if r.is_live(target):
            yield from ((c, target) for c in range(lo, end) if not 0xD800 <= c < 0xE000)


def _many_numbers(s: NumberSet, most: int) -> bool:
    if s.only is not None:
        return False
    lo, hi = s.bounds
    if s.step is None:
        return lo is None or hi is None or lo < hi
    return lo is None or hi is None or (hi - lo) / s.step > most + len(s.without)


def members(r: Regexes, u: Union, most: int) -> list[Any]:
    """All values of a union of at most `most` (numbers as fractions), or a refusal by name."""
    out: list[Any] = [json.loads(word) for word in sorted(u.literals)]
    for s in u.numbers:
        out += _numbers(s)
    for t in u.strings:
        out += words(r, t, most) or ()
    if u.arrays or u.objects:
        raise UnsupportedError("uniqueItems with minItems over few arrays or objects")
    return out


def _numbers(s: NumberSet) -> list[Fraction]:
    if s.only is not None:
        return sorted(x for x in s.only if s.has(x))
    lo, hi = s.bounds
    if s.step is None and lo == hi and lo is not None:
        return [lo] if s.has(lo) else []
    assert s.step is not None and lo is not None and hi is not None, "only of a small set"
    first = -(-lo // s.step)
    multiples = [k * s.step for k in range(int(first), int(hi // s.step) + 1)]
    return [x for x in multiples if s.has(x)]
