"""How many different values there are, and which: what `uniqueItems` needs to know of its items.

Items from a large set can always be chosen apart; the members of a small one are listed (`places`).
"""

import json
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeVar

from refimpl.errors import UnsupportedError
from refimpl.grammar.charset import MAX_CODE_POINT
from refimpl.grammar.constants import holds
from refimpl.grammar.items import begun, behind, items, may_end
from refimpl.grammar.json_values import canonical
from refimpl.grammar.keys import Label
from refimpl.grammar.members import Exists, ObjectPlan
from refimpl.grammar.number_sets import NumberSet
from refimpl.grammar.regex import Node, Regexes
from refimpl.grammar.repeats import can_repeat
from refimpl.grammar.shapes import ArrayShape, Expr, ObjectShape, StringSet
from refimpl.grammar.unfinished import OpenArray

if TYPE_CHECKING:
    from refimpl.grammar.fit import Fit

MAX_LISTED = 20_000  # no set of more is listed
MAX_DEPTH, MAX_LONGER = 4, 16
T = TypeVar("T")


def at_least(fit: "Fit", expr: Expr, most: int, depth: int = 0) -> int:
    """So many values satisfy the expression, or more; of more than `most` one more is said.

    Where values are nested deep this search does not look; the caller then needs a list.
    """
    if depth > MAX_DEPTH:
        return int(fit.sat(expr))
    u = fit.reader.union(expr)
    total = len(u.literals)
    total += max((_how_many_numbers(s, most) for s in u.numbers), default=0)
    total += max((_how_many_words(fit.r, s, most) for s in u.strings), default=0)
    if total <= most:
        total += max((_how_many_objects(fit, o, most, depth) for o in u.objects), default=0)
        total += max((_how_many_arrays(fit, a, most, depth) for a in u.arrays), default=0)
    return min(total, most + 1)


def _how_many_words(r: Regexes, s: StringSet, most: int) -> int:
    found = words(r, s, most)
    return most + 1 if found is None else len(found)


def _how_many_numbers(s: NumberSet, most: int) -> int:
    lo, hi = s.bounds
    if s.only is not None:
        return sum(map(s.has, s.only))
    if s.step is None:
        return most + 1 if lo is None or hi is None or lo < hi else int(s.has(lo))
    if lo is None or hi is None:
        return most + 1
    return 0 if s.not_steps else max(0, int((hi - lo) / s.step) - len(s.without))


def _how_many_objects(fit: "Fit", o: ObjectShape, most: int, depth: int) -> int:
    """The required members may have any of their values, and one more may be there or not."""
    plan = fit.plan(o)
    n_values: Callable[[Label], int] = lambda label: fit.how_many(plan.expr(label), most, depth + 1)
    if o.but or not plan.is_possible(fit.sat):
        return 0
    found = 1
    for k in sorted(o.required):
        found *= max(1, n_values(k)) if found <= most else 1
    if o.hi is not None and o.hi <= len(o.required) + len(o.exists):
        return found
    for label, supply in plan.automaton.supply.items():
        if found <= most and fit.sat(plan.expr(label)):
            found = most + 1 if supply is None else max(found, n_values(label))
    others = (n for n in plan.names if n not in o.required)
    return max([found, *(n_values(n) for n in others if found <= most)])


def _how_many_arrays(fit: "Fit", a: ArrayShape, most: int, depth: int) -> int:
    """Of the lengths there may be, the one with the most; no more than a few are tried."""
    if a.but or a.contains or not fit.array_fits(a, 0, ()):
        return 0
    if a.repeated and not can_repeat(fit, begun(a)):
        return 0
    if a.hi is None and not a.unique and fit.sat(a.rest):
        return most + 1
    if a.repeated:
        return 1
    longest = max(a.lo, len(a.prefix) + MAX_LONGER)
    slots = dict.fromkeys((*a.prefix, a.rest))
    n_values = {e: fit.how_many(e, most, depth + 1) for e in slots if fit.sat(e)}
    found, product = int(a.lo == 0), 1
    for i in range(longest if a.hi is None else min(a.hi, longest)):
        product = min(product * max(0, n_values.get(a.item(i), 0) - i * a.unique), most + 1)
        if i + 1 >= a.lo:
            found = max(found, product)
        if not product or found > most:
            break
    return found


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


def members(fit: "Fit", expr: Expr, depth: int = 0) -> list[Any]:
    """All values of an expression that has a few (numbers as fractions), or a refusal by name."""
    u = fit.reader.union(expr)
    if depth > MAX_DEPTH:
        raise _too_many("values nested deep")
    out: list[Any] = [json.loads(word) for word in sorted(u.literals)]
    for s in u.numbers:
        out += _numbers(s)
    for t in u.strings:
        out += _listed(words(fit.r, t, MAX_LISTED))
    for a in u.arrays:
        out += _arrays(fit, a, depth)
    for o in u.objects:
        out += _objects(fit, o, depth)
    return out


def _arrays(fit: "Fit", a: ArrayShape, depth: int) -> list[Any]:
    found: list[Any] = []
    todo: list[tuple[list[Any], OpenArray]] = [([], begun(a))]
    for values, array in todo:
        if may_end(fit, array):
            found.append(values)
        for expr, after in items(fit, array):
            todo += (
                ([*values, item], behind(fit, after, fit.constants.text(item)))
                for item in members(fit, expr, depth + 1)
            )
        _listed(todo)
    return found


def _objects(fit: "Fit", o: ObjectShape, depth: int) -> list[Any]:
    plan = fit.plan(o)
    begun: list[tuple[dict[str, Any], tuple[Exists, ...]]] = [({}, plan.exists)]
    for key, label in _keys(fit, plan):
        with_it = [
            ({**value, key: v}, after)
            for value, pending in begun
            if o.hi is None or len(value) < o.hi
            for expr, after in plan.choices(label, pending)
            if fit.sat(expr)
            for v in _listed(members(fit, expr, depth + 1))
        ]
        begun = _listed(with_it if key in o.required else begun + with_it)
    done = (value for value, pending in begun if len(value) >= o.lo and not pending)
    return [value for value in done if not holds(o.but, canonical(value))]


def _keys(fit: "Fit", plan: ObjectPlan) -> Iterator[tuple[str, Label]]:
    """All keys that a member can have, and their labels."""
    yield from ((n, n) for n in plan.names)
    for label in plan.automaton.supply:
        if fit.sat(plan.expr(label)) and not isinstance(label, str):
            others = (fit.r.non(p) for p in plan.patterns if p not in label)
            found = words(fit.r, StringSet(fit.r.both(*sorted(label), *others)), MAX_LISTED)
            yield from ((key, label) for key in _listed(found) if key not in plan.names)


def _listed(found: list[T] | None) -> list[T]:
    if found is None or len(found) > MAX_LISTED:
        raise _too_many(f"a set of more than {MAX_LISTED} values that has to be listed")
    return found


def _too_many(what: str) -> UnsupportedError:
    return UnsupportedError(f"uniqueItems with minItems over {what}")


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
