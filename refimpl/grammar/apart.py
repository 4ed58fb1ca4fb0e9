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
from refimpl.grammar.keys import Label
from refimpl.grammar.members import Exists
from refimpl.grammar.shapes import ArrayShape, Expr, ObjectShape

if TYPE_CHECKING:
    from refimpl.grammar.fit import Counts, Fit


def unlike(fit: "Fit", expr: Expr, but: But) -> Expr:
    """The expression without these constants."""
    return fit.e.both(expr, fit.e.leaf("unlike", but)) if but else expr


def is_unlike(expr: Expr) -> bool:
    parts = expr.args if expr.kind == "and" else (expr,)
    return any(e.kind == "leaf" and e.args[0] == "unlike" for e in parts)


def excluded(expr: Expr) -> But:
    """The constants that `unlike` has excluded."""
    parts = expr.args if expr.kind == "and" else (expr,)
    leaves = (e for e in parts if e.kind == "leaf" and e.args[0] == "unlike")
    return tuple(part for e in leaves for part in e.args[1])


# --- objects


def dead_members(
    fit: "Fit",
    o: ObjectShape,
    gone: frozenset[str],
    count: int,
    pending: tuple[Exists, ...],
    but: But,
    key: Label,
) -> But:
    """What the value of `key` must not be; the rest describes the object behind that member."""
    if not but or not isinstance(key, str) or _is_roomy_object(fit, o, gone, count, pending, but):
        return ()
    choices = fit.constants.choices(but, key)
    dead = (
        text
        for text, left in choices.items()
        if not object_can_differ(fit, o, gone, count, pending, left)
    )
    return fit.constants.of(dead)


def object_can_differ(
    fit: "Fit",
    o: ObjectShape,
    gone: frozenset[str],
    count: int,
    pending: tuple[Exists, ...],
    but: But,
) -> bool:
    """Whether an object with these keys so far can be finished, and as none of the constants."""
    if not but:
        return fit.plan(o).fits(gone, count, pending, fit.sat)
    key = (o, gone, count, pending, but)
    if key not in fit.apart:
        fit.apart[key] = _object_can_differ(fit, *key)
    return fit.apart[key]


def _object_can_differ(
    fit: "Fit",
    o: ObjectShape,
    gone: frozenset[str],
    count: int,
    pending: tuple[Exists, ...],
    but: But,
) -> bool:
    if o.required <= gone and count >= o.lo and not pending and not holds(but, "{}"):
        return True
    if _is_roomy_object(fit, o, gone, count, pending, but):
        return True
    for label, expr, after in _members(fit, o, gone, count, pending, but):
        choices = fit.constants.choices(but, label) if isinstance(label, str) else {}
        if fit.sat(unlike(fit, expr, fit.constants.of(choices))):
            return True
        for text, left in choices.items():
            if fit.sat(fit.e.both(expr, fit.constant(text))) and object_can_differ(
                fit, o, gone | {str(label)}, count + 1, after, left
            ):
                return True
    return False


def _members(
    fit: "Fit",
    o: ObjectShape,
    gone: frozenset[str],
    count: int,
    pending: tuple[Exists, ...],
    but: But,
) -> Iterator[tuple[Label, Expr, tuple[Exists, ...]]]:
    """The members that may come next, and the obligations behind them."""
    plan, names = fit.plan(o), gone.union(*(part.names for part in but))
    automaton = fit.automaton((o,), names)
    for label in (*(n for n in automaton.names if n not in gone), *automaton.supply):
        with_it = gone | {label} if isinstance(label, str) else gone
        for expr, after in plan.choices(label, pending):
            if fit.sat(expr) and plan.fits(with_it, count + 1, after, fit.sat):
                yield label, expr, after


def _is_roomy_object(
    fit: "Fit",
    o: ObjectShape,
    gone: frozenset[str],
    count: int,
    pending: tuple[Exists, ...],
    but: But,
) -> bool:
    """Whether one of the members that may follow has more values than there are constants."""
    most = _rounded(size(but))
    key = (o, gone, count, pending, most)
    if key not in fit.apart:
        fit.apart[key] = any(
            fit.is_many(expr, most)
            or (not isinstance(label, str) and fit.plan(o).automaton.supply[label] is None)
            for label, expr, _ in _members(fit, o, gone, count, pending, ())
        )
    return fit.apart[key]


def _rounded(n: int) -> int:
    """Up to a power of two, so that few numbers are asked about."""
    return 1 << (n - 1).bit_length()


# --- arrays


def dead_items(
    fit: "Fit", a: ArrayShape, index: int, counts: "Counts", values: But, but: But
) -> But:
    """What the item before `index` must not be; `values` are those that it must differ from."""
    if not but or _is_roomy_array(fit, a, index, counts, but):
        return ()
    dead = (
        text
        for text, left in fit.constants.choices(but, None).items()
        if not array_can_differ(fit, a, index, counts, _with(fit, a, values, text), left)
    )
    return fit.constants.of(dead)


def array_can_differ(
    fit: "Fit", a: ArrayShape, index: int, counts: "Counts", values: But, but: But
) -> bool:
    """Whether an array with so many items can be finished, and as none of the constants."""
    if not (fit.array_fits(a, index, counts) and fit.can_contain(a, index, counts, values)):
        return False
    if not but:
        return not a.unique or fit.distinct(a, index, values)
    key = (a, index, counts, values, but)
    if key not in fit.apart:
        fit.apart[key] = _array_can_differ(fit, *key)
    return fit.apart[key]


def _array_can_differ(
    fit: "Fit", a: ArrayShape, index: int, counts: "Counts", values: But, but: But
) -> bool:
    if fit.array_done(a, index, counts) and not holds(but, "[]"):
        return True
    if _is_roomy_array(fit, a, index, counts, but):
        return True
    choices = fit.constants.choices(but, None)
    for expr, after, n in fit.items(a, index, counts, values):
        if fit.sat(unlike(fit, expr, fit.constants.of(choices))):
            return True
        for text, left in choices.items():
            if fit.sat(fit.e.both(expr, fit.constant(text))) and array_can_differ(
                fit, a, n, after, _with(fit, a, values, text), left
            ):
                return True
    return False


def _with(fit: "Fit", a: ArrayShape, values: But, text: str) -> But:
    return fit.constants.plus(values, fit.constants.value[text]) if a.unique else values


def _is_roomy_array(fit: "Fit", a: ArrayShape, index: int, counts: "Counts", but: But) -> bool:
    """Whether one of the items that may follow has more values than there are constants."""
    most = _rounded(size(but))
    key = (a, index, counts, most)
    if key not in fit.apart:
        fit.apart[key] = not a.unique and any(
            fit.is_many(expr, most) for expr in _items_to_come(fit, a, index, counts)
        )
    return fit.apart[key]


def _items_to_come(fit: "Fit", a: ArrayShape, index: int, counts: "Counts") -> Iterator[Expr]:
    """The expressions of the items that may follow, of each place one that can be."""
    seen: set[Expr] = set()
    while (found := next(fit.items(a, index, counts, ()), None)) is not None:
        expr, counts, index = found
        if index > len(a.prefix) and expr in seen:
            return
        seen.add(expr)
        yield expr
