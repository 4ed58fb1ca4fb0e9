"""What an array that must hold two equal items can still do: the negation of `uniqueItems`.

It is settled when an item is equal to one before.  Until then an item may have any value behind
which it can still be settled: two later items can be equal, or a later one can be what an earlier
one is.  Near the end of an array (`maxItems`, `items: false`, a `contains` with a largest count)
that may leave only the values of earlier items, and those that a later item can have.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from refimpl.errors import UnsupportedError
from refimpl.grammar.algebra import MAX_SHAPES
from refimpl.grammar.members import Sat
from refimpl.grammar.shapes import ArrayShape, Expr, Union
from refimpl.grammar.unfinished import Counts, OpenArray

if TYPE_CHECKING:
    from refimpl.grammar.fit import Fit


def can_repeat(fit: "Fit", a: OpenArray) -> bool:
    """Whether an item to come can be equal to another one."""
    key = (a.shape, fit.cap(a.shape, a.length), a.counts)
    if key not in fit.repeats:
        fit.repeats[key] = two_can_be_equal(fit, *key)
    return fit.repeats[key] or any(True for e in _later(fit, a) for _ in _earlier(fit, a, e))


def repeatable(fit: "Fit", a: OpenArray, expr: Expr) -> Iterator[Expr]:
    """What the item before may be, so that two items are equal or still can be."""
    if can_repeat(fit, a):
        yield expr
    else:
        yield fit.e.either(*_earlier(fit, a, expr))
        yield fit.e.either(*(fit.e.both(expr, other) for other in _later(fit, a)))


def two_can_be_equal(
    fit: "Fit", a: ArrayShape, index: int, counts: Counts, sat: Sat | None = None
) -> bool:
    """Of the items from `index` on; the array can be finished whatever they are."""
    a = _without_far_bounds(fit, a, index)
    return any(
        (sat or fit.sat)(fit.e.both(expr, other))
        for expr, i, n in _items_to_come(fit, a, index, counts, sat)
        for other, _, _ in _items_to_come(fit, a, i, n, sat)
    )


def _earlier(fit: "Fit", a: OpenArray, expr: Expr) -> Iterator[Expr]:
    """The values of earlier items that satisfy the expression."""
    texts = (text for part in a.values for text in part.values)
    return (c for c in map(fit.constant, texts) if fit.sat(fit.e.both(c, expr)))


def _later(fit: "Fit", a: OpenArray) -> dict[Expr, None]:
    """What any later item may be."""
    shape = _without_far_bounds(fit, a.shape, a.length)
    return dict.fromkeys(e for e, _, _ in _items_to_come(fit, shape, a.length, a.counts))


def _items_to_come(
    fit: "Fit", a: ArrayShape, index: int, counts: Counts, sat: Sat | None = None
) -> Iterator[tuple[Expr, int, Counts]]:
    """What the items that may follow can be, of an array that can then be finished, and the index
    and counts behind each.  Shorter arrays come first: they leave the most room."""
    todo = [(index, counts)]
    seen = dict.fromkeys(todo)
    for i, n in todo:
        for expr, m in fit.item_choices(a, i, n):
            if (sat or fit.sat)(expr) and fit.array_fits(a, i + 1, m, sat):
                yield expr, i + 1, m
                state = (fit.far(a, i + 1), m)
                if state not in seen:
                    seen[state] = None
                    todo.append((i + 1, m))
        fit.limit(len(todo))


def _without_far_bounds(fit: "Fit", a: ArrayShape, index: int) -> ArrayShape:
    """The array, less the bounds on its length that two equal items cannot feel.

    It is known that it can be long enough, and only what `contains` counts depends on how long.
    """
    return fit.without_far_bound(a if a.contains else a._replace(lo=0), index)


def check_repeated(fit: "Fit") -> None:
    """Refuses, while compiling, what would need too many alternatives later."""
    for a in (a for a in fit.compared() if a.repeated):
        longest = len(a.prefix) + sum(c.hi or 0 for c in a.contains) if a.hi is None else a.hi
        items = map(fit.reader.union, fit.parts(Union(arrays=(a,))))
        if longest > MAX_SHAPES and any(u.arrays or u.objects for u in items):
            raise UnsupportedError(
                f"the negation of uniqueItems over more than {MAX_SHAPES} arrays or objects"
            )
