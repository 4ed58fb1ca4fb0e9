"""The next item of an array that is half written: what it may be, and what the array is then."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from refimpl.grammar.constants import holds
from refimpl.grammar.places import can_all_differ, harmless
from refimpl.grammar.repeats import can_repeat, repeatable
from refimpl.grammar.shapes import ArrayShape, Expr
from refimpl.grammar.unfinished import OpenArray

if TYPE_CHECKING:
    from refimpl.grammar.fit import Fit


def begun(a: ArrayShape) -> OpenArray:
    """Before the first item."""
    return OpenArray(a._replace(but=()), 0, (0,) * len(a.contains), (), a.but)


def items(fit: "Fit", a: OpenArray) -> Iterator[tuple[Expr, OpenArray]]:
    """The choices for one more item, each with the array behind it; which one it is, `behind`
    tells when its value is known.  Whatever the value, the array can be finished."""
    after = fit.cap(a.shape, a.length + 1)
    for expr, counts in fit.item_choices(a.shape, a.length, a.counts):
        if fit.array_fits(a.shape, after, counts):
            array = a._replace(length=after, counts=counts)
            yield from ((e, array) for e in _compared(fit, array, expr) if fit.sat(e))


def _compared(fit: "Fit", a: OpenArray, expr: Expr) -> Iterator[Expr]:
    """What the item before may be, given the others."""
    if a.shape.unique:
        yield harmless(fit, a, expr)
    elif a.shape.repeated:
        yield from repeatable(fit, a, expr)
    else:
        yield expr


def behind(fit: "Fit", a: OpenArray, text: str) -> OpenArray:
    """Once the item before is known: its canonical text."""
    sets, values = fit.constants, a.values
    but = sets.left(a.but, None, text)
    if a.shape.repeated and holds(values, text):
        return a._replace(shape=a.shape._replace(repeated=False), values=(), but=but)
    return a._replace(
        values=sets.plus(values, sets.value[text]) if a.shape.compares else (), but=but
    )


def may_end(fit: "Fit", a: OpenArray) -> bool:
    done = fit.array_done(a.shape, a.length, a.counts)
    return done and not a.shape.repeated and not holds(a.but, "[]")


def can_end(fit: "Fit", a: OpenArray) -> bool:
    """Whether the array can be finished, if there is no other that it must not be."""
    return (
        fit.array_fits(a.shape, a.length, a.counts)
        and (not a.shape.unique or can_all_differ(fit, a))
        and (not a.shape.repeated or can_repeat(fit, a))
    )
