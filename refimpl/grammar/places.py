"""What an array whose items must differ still needs: places, and enough values to fill them.

An array that is half written needs some more items, each at a place that says what it may be: the
schema of the item, and which `contains` it is to be counted by.  Where more values are allowed than
there are items, one is always left.  The others, of which only a few values are allowed, must be
given different ones: a matching in a bipartite graph (Kuhn's augmenting paths).

With `contains` there are several ways to go on, and each needs other places: a *plan*, in which
order does not matter.  The array can be finished if for some plan there is a matching.

>>> matching([["1", "2"], ["1"]]), matching([["1"], ["1"]])
(True, False)
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from refimpl.grammar.constants import But, holds
from refimpl.grammar.members import Sat
from refimpl.grammar.shapes import ArrayShape, Expr, Union
from refimpl.grammar.unfinished import Counts, OpenArray

if TYPE_CHECKING:
    from refimpl.grammar.fit import Fit

MAX_MEMBERS = 1000  # sets of more are not listed, unless more items are required
Place = tuple[int, Counts]  # how many items there are, and how many each `contains` has counted
Plan = tuple[Expr, ...]  # of the items that are required, those of which there are only a few


def matching(sets: Sequence[Sequence[str]]) -> bool:
    """Whether each set can be given a member of its own."""
    return all(len(values) >= len(sets) for values in sets) or _owners(sets) is not None


def _owners(sets: Sequence[Sequence[str]]) -> dict[str, int] | None:
    """The set that each value was given to."""
    owner: dict[str, int] = {}

    def place(i: int, tried: set[str]) -> bool:
        for value in sets[i]:
            if value not in tried:
                tried.add(value)
                if value not in owner or place(owner[value], tried):
                    owner[value] = i
                    return True
        return False

    return owner if all(place(i, set()) for i in range(len(sets))) else None


def can_all_differ(fit: "Fit", a: OpenArray) -> bool:
    """Whether enough different values are left for the items still required."""
    return any(matching(_left(fit, plan, a.values)) for plan in plans(fit, a))


def harmless(fit: "Fit", a: OpenArray, expr: Expr) -> Expr:
    """What the item before may be, so that it is none of the `values` and leaves enough of them.

    Some plan must go on without it; so what it must not be is what no plan can do without.
    """
    needed: dict[str, None] | None = None
    for plan in plans(fit, a):
        able = _irreplaceable(_left(fit, plan, a.values))
        if able is not None:
            needed = able if needed is None else {v: None for v in needed if v in able}
            if not needed:
                break
    if needed is None:
        return fit.e.NONE
    return fit.e.unlike(fit.e.unlike(expr, a.values), fit.constants.of(needed))


def _irreplaceable(sets: list[list[str]]) -> dict[str, None] | None:
    """The values without which there is no matching; None if there is none anyway.

    A value can be spared if its owner has another one that can, beginning with those left over.
    """
    if all(len(m) > len(sets) for m in sets):
        return {}
    owner = _owners(sets)
    if owner is None:
        return None
    spared = {v: None for m in sets for v in m if v not in owner}
    while more := [v for v, i in owner.items() if v not in spared and _has_any(sets[i], spared)]:
        spared.update(dict.fromkeys(more))
    return {v: None for v in owner if v not in spared}


def _has_any(values: list[str], some: dict[str, None]) -> bool:
    return any(v in some for v in values)


def _left(fit: "Fit", plan: Plan, values: But) -> list[list[str]]:
    left = {e: [v for v in fit.listed(e) if not holds(values, v)] for e in dict.fromkeys(plan)}
    return [left[e] for e in plan]


# --- plans


def plans(fit: "Fit", a: OpenArray) -> list[Plan]:
    shape = fit.without_far_bound(a.shape, a.length)
    state = fit.cap(shape, a.length), a.counts
    if (shape, state) not in fit.plans_of:
        most = _most(shape)
        found = _plans(fit, shape, state, fit.sat, lambda e: not fit.is_many(e, most))
        fit.plans_of.update(((shape, s), p) for s, p in found.items())
    return fit.plans_of[shape, state]


def _most(a: ArrayShape) -> int:
    """Of a set of more than this some value is left for every item that is required.

    Only items that were needed can have used it up: fewer than those that are required in all, and
    those before a `contains` begins to count.  (One that was not counted where it could have been
    closes no way: whoever counted it goes on.)
    """
    return max(MAX_MEMBERS, a.lo + sum(c.lo + c.start for c in a.contains))


def _plans(
    fit: "Fit", a: ArrayShape, start: Place, sat: Sat, is_few: Callable[[Expr], bool]
) -> dict[Place, list[Plan]]:
    """Of this place, and of all that can come behind it, every plan that needs no more than others.

    An item leads to a later place, or to one with higher counts; so the last ones are first known.
    """
    if not a.contains:
        return {start: [_required(a, start[0], is_few)]}
    steps = _steps(fit, a, start, sat)
    found: dict[Place, list[Plan]] = {}
    total = 0
    for place in sorted(steps, key=lambda p: p[0] + sum(p[1]), reverse=True):
        ways = (((e,) if is_few(e) else (), after) for e, after in steps[place])
        more = (tuple(sorted((*one, *plan))) for one, after in ways for plan in found[after])
        found[place] = [()] if fit.array_done(a, *place) else _least(more)
        total += len(found[place])
        fit.limit(total)
    return found


def _required(a: ArrayShape, index: int, is_few: Callable[[Expr], bool]) -> Plan:
    if a.lo < 2:
        return ()
    places = Counter(a.item(i) for i in range(index, min(a.lo, len(a.prefix))))
    places[a.rest] += max(0, a.lo - max(index, len(a.prefix)))
    return tuple(e for e, n in places.items() if n and is_few(e) for _ in range(n))


def _steps(
    fit: "Fit", a: ArrayShape, start: Place, sat: Sat
) -> dict[Place, list[tuple[Expr, Place]]]:
    """Every way on from each place that can come, as long as an item is missing."""
    steps: dict[Place, list[tuple[Expr, Place]]] = {}
    todo = [start]
    while todo:
        place = todo.pop()
        if place not in steps:
            done = fit.array_done(a, *place)
            items = () if done else fit.item_choices(a, *place)
            after = ((e, (fit.cap(a, place[0] + 1), n)) for e, n in items)
            steps[place] = [(e, p) for e, p in after if p != place and sat(e)]
            todo += (p for _, p in steps[place])
        fit.limit(len(steps))
    return steps


def _least(found: Iterable[Plan]) -> list[Plan]:
    """Without the plans that need all that another one needs."""
    kept: list[Plan] = []
    bags: list[Counter[Expr]] = []
    for plan in sorted(dict.fromkeys(found), key=len):
        bag = Counter(plan)
        if not any(other <= bag for other in bags):
            kept.append(plan)
            bags.append(bag)
    return kept


# --- while a schema is compiled


def is_enough(fit: "Fit", a: ArrayShape, sat: Sat) -> bool:
    """`can_all_differ` at the beginning, of items that are neither arrays nor objects.

    How many of these there are is not known before it is known which can be finished.
    """
    if not a.unique:
        return True
    most = _most(a)
    is_few: Callable[[Expr], bool] = lambda e: _is_plain(fit, e) and not fit.is_many(e, most)
    start = 0, (0,) * len(a.contains)
    found = _plans(fit, fit.without_far_bound(a, 0), start, sat, is_few)[start]
    return any(matching(_left(fit, plan, ())) for plan in found)


def _is_plain(fit: "Fit", expr: Expr) -> bool:
    u = fit.reader.union(expr)
    return not (u.arrays or u.objects)


def check_distinct(fit: "Fit") -> None:
    """Refuses, while compiling, what would have to be refused later: a set too large to list."""
    unique = [a for a in fit.compared() if a.unique]
    for a in unique:
        _list_all(fit, a)
    for a in _inside(fit, unique):  # which may have to be longer than one before it
        if a.unique:
            _list_all(fit, a._replace(lo=max(a.lo, 2)))


def _list_all(fit: "Fit", a: ArrayShape) -> None:
    for plan in plans(fit, OpenArray(a, 0, (0,) * len(a.contains))):
        _left(fit, plan, ())


def _inside(fit: "Fit", arrays: Iterable[ArrayShape]) -> list[ArrayShape]:
    """The arrays that their items may be or hold."""
    start = (fit.parts(Union(arrays=(a,))) for a in arrays)
    seen = dict.fromkeys(e for parts in start for e in parts)
    for e in (todo := list(seen)):
        new = [x for x in fit.parts(fit.reader.union(e)) if x not in seen]
        seen.update(dict.fromkeys(new))
        todo += new
    return list(dict.fromkeys(a for e in seen for a in fit.reader.union(e).arrays))
