"""Values that must be none of some constants: what may still come, so that it ends as none of them.

While an object (array) is equal to some of the constants as far as it is written, a next member may
have any value but those behind which nothing else than one of the constants could be written
(`dead_members`).  Once a value differs, nothing is left to differ from.

Whether an object can still become none of the constants is settled by their number where it can be
(`_is_roomy_object`: more objects are left than constants), else by trying: some member differs from
all, or is that of some, which then are fewer and shorter.

The members that may follow are told from `gone`, the keys that can no longer come.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from refimpl.grammar.constants import But, holds, size
from refimpl.grammar.items import behind, can_end, items, may_end
from refimpl.grammar.keys import Label
from refimpl.grammar.members import Exists
from refimpl.grammar.shapes import Expr
from refimpl.grammar.unfinished import OpenArray, OpenObject

if TYPE_CHECKING:
    from refimpl.grammar.fit import Fit


# --- objects


def dead_members(fit: "Fit", o: OpenObject, key: Label) -> But:
    """What the value of `key` must not be, so that the object behind that member has a way on."""
    if not o.but or not isinstance(key, str) or _is_roomy_object(fit, o):
        return ()
    choices = fit.constants.choices(o.but, key)
    dead = (t for t, left in choices.items() if not object_can_differ(fit, o._replace(but=left)))
    return fit.constants.of(dead)


def object_can_differ(fit: "Fit", o: OpenObject) -> bool:
    """Whether an object can be finished, and as none of the constants."""
    if not o.but:
        return fit.plan(o.shape).fits(o.gone, o.n_members, o.pending, fit.sat)
    if o not in fit.apart:
        fit.apart[o] = _object_can_differ(fit, o)
    return fit.apart[o]


def _object_can_differ(fit: "Fit", o: OpenObject) -> bool:
    shape = o.shape
    is_done = shape.required <= o.gone and o.n_members >= shape.lo and not o.pending
    if (is_done and not holds(o.but, "{}")) or _is_roomy_object(fit, o):
        return True
    for label, expr, after in _members(fit, o):
        choices = fit.constants.choices(o.but, label) if isinstance(label, str) else {}
        if fit.sat(fit.e.unlike(expr, fit.constants.of(choices))):
            return True
        gone = o.gone | {str(label)}
        for text, left in choices.items():
            if fit.sat(fit.e.both(expr, fit.constant(text))) and object_can_differ(
                fit, OpenObject(shape, gone, o.n_members + 1, after, left)
            ):
                return True
    return False


def _members(fit: "Fit", o: OpenObject) -> Iterator[tuple[Label, Expr, tuple[Exists, ...]]]:
    """The members that may come next, and the obligations behind them."""
    plan, names = fit.plan(o.shape), o.gone.union(*(part.names for part in o.but))
    automaton = fit.automaton((o.shape,), names)
    for label in (*(n for n in automaton.names if n not in o.gone), *automaton.supply):
        with_it = o.gone | {label} if isinstance(label, str) else o.gone
        for expr, after in plan.choices(label, o.pending):
            if fit.sat(expr) and plan.fits(with_it, o.n_members + 1, after, fit.sat):
                yield label, expr, after


def _is_roomy_object(fit: "Fit", o: OpenObject) -> bool:
    """Whether one of the members that may follow has more values than there are constants."""
    most, o = _rounded(size(o.but)), o._replace(but=())
    if (o, most) not in fit.apart:
        supply = fit.plan(o.shape).automaton.supply
        fit.apart[o, most] = any(
            fit.is_many(expr, most) or (not isinstance(label, str) and supply[label] is None)
            for label, expr, _ in _members(fit, o)
        )
    return fit.apart[o, most]


def _rounded(n: int) -> int:
    """Up to a power of two, so that few numbers are asked about."""
    return 1 << (n - 1).bit_length()


# --- arrays


def dead_items(fit: "Fit", a: OpenArray) -> But:
    """What the item before must not be, so that the array behind it has a way on."""
    if not a.but or _is_roomy_array(fit, a):
        return ()
    choices = fit.constants.choices(a.but, None)
    return fit.constants.of(t for t in choices if not array_can_differ(fit, behind(fit, a, t)))


def array_can_differ(fit: "Fit", a: OpenArray) -> bool:
    """Whether an array can be finished, and as none of the constants."""
    if not a.but or not can_end(fit, a):
        return can_end(fit, a)
    if a not in fit.apart:
        fit.apart[a] = _array_can_differ(fit, a)
    return fit.apart[a]


def _array_can_differ(fit: "Fit", a: OpenArray) -> bool:
    if may_end(fit, a) or _is_roomy_array(fit, a):
        return True
    choices = fit.constants.choices(a.but, None)
    for expr, array in items(fit, a):
        if fit.sat(fit.e.unlike(expr, fit.constants.of(choices))):
            return True
        for text in choices:
            if fit.sat(fit.e.both(expr, fit.constant(text))) and array_can_differ(
                fit, behind(fit, array, text)
            ):
                return True
    return False


def _is_roomy_array(fit: "Fit", a: OpenArray) -> bool:
    """Whether an item that may follow has more values than there are constants, or the array has
    no longest length."""
    most, a = _rounded(size(a.but)), a._replace(values=(), but=())
    if (a, most) not in fit.apart:
        fit.apart[a, most] = not a.shape.compares and _has_more_than(fit, a, most)
    return fit.apart[a, most]


def _has_more_than(fit: "Fit", a: OpenArray, most: int) -> bool:
    """Follows one choice at each place; one that is like a place before it can return for ever."""
    passed = set()
    while (found := next(items(fit, a), None)) is not None:
        expr, a = found
        place = fit.far(a.shape, a.length), a.counts
        if fit.is_many(expr, most) or place in passed:
            return a.shape.hi is None or fit.is_many(expr, most)
        passed.add(place)
    return False
