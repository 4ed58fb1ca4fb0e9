"""How many different values there are: what `uniqueItems` with `minItems` needs to know.

Items from an infinite set can always be chosen apart.  Items from small finite sets must be given
different members, which is a matching in a bipartite graph (Kuhn's augmenting paths).

>>> matching([["1", "2"], ["1"]]), matching([["1"], ["1"]])
(True, False)
"""

import json
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from refimpl.errors import UnsupportedError
from refimpl.grammar.number_sets import NumberSet
from refimpl.grammar.shapes import Expr, StringSet, Union

if TYPE_CHECKING:
    from refimpl.grammar.fit import Fit

MAX_MEMBERS = 1000


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


def is_infinite(fit: "Fit", expr: Expr, depth: int) -> bool:
    """Whether infinitely many values (or more than anyone would list) satisfy the expression.

    A False may only mean that this search did not look deep enough; the caller then needs a list.
    """
    if depth > 4:
        return False
    u = fit.reader.union(expr)
    if any(_many_strings(s) for s in u.strings) or any(map(_many_numbers, u.numbers)):
        return True
    for o in u.objects:
        plan = fit.plan(o)
        if not plan.fits(frozenset(), 0, plan.exists, fit.sat):
            continue
        if any(is_infinite(fit, plan.expr(k), depth + 1) for k in o.required):
            return True
        roomy = o.hi is None or o.hi > len(o.required) + len(o.exists)
        if roomy and any(
            fit.sat(plan.expr(x)) and (n is None or is_infinite(fit, plan.expr(x), depth + 1))
            for x, n in plan.automaton.supply.items()
        ):
            return True
        if roomy and any(is_infinite(fit, plan.expr(k), depth + 1) for k in plan.names):
            return True
    for a in u.arrays:
        if a.unique or a.contains or not fit.array_fits(a, 0, ()):
            continue
        if a.hi is None and fit.sat(a.rest) and all(fit.sat(e) for e in a.prefix):
            return True
        slots = len(a.prefix) + 1 if a.hi is None else min(a.hi, len(a.prefix) + 1)
        if all(fit.sat(a.item(i)) for i in range(slots)) and any(
            is_infinite(fit, a.item(i), depth + 1) for i in range(slots)
        ):
            return True
    return False


def _many_strings(s: StringSet) -> bool:
    if s.node.kind == "repeat" and s.node.args[2] is None:
        return s.hi is None or s.hi > 1
    return False


def _many_numbers(s: NumberSet) -> bool:
    if s.only is not None:
        return False
    lo, hi = s.bounds
    if s.step is None:
        return lo is None or hi is None or lo < hi
    return lo is None or hi is None


def members(u: Union) -> list[Any]:
    """All values of a small union (numbers as fractions), or a refusal by name."""
    out: list[Any] = [json.loads(word) for word in sorted(u.literals)]
    for s in u.numbers:
        out += _numbers(s)
    for t in u.strings:
        if t.node.kind != "words" or t.lo or t.hi is not None:
            raise UnsupportedError("uniqueItems with minItems over strings of a pattern")
        out += t.node.args
    if u.arrays or u.objects:
        raise UnsupportedError("uniqueItems with minItems over few arrays or objects")
    return out


def _numbers(s: NumberSet) -> list[Fraction]:
    if s.only is not None:
        return sorted(x for x in s.only if s.has(x))
    lo, hi = s.bounds
    if s.step is None and lo == hi and lo is not None:
        return [lo] if s.has(lo) else []
    if s.step is None or lo is None or hi is None or (hi - lo) / s.step > MAX_MEMBERS:
        raise UnsupportedError("uniqueItems with minItems over numbers like these")
    first = -(-lo // s.step)
    multiples = [k * s.step for k in range(int(first), int(hi // s.step) + 1)]
    return [x for x in multiples if s.has(x)]
