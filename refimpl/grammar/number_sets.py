"""Sets of numbers: what a schema says about one.

JSON Schema compares values, not spellings: 1.0 and 1e2 are integers, and `const: 1` admits 1.00.
A set is an interval, perhaps restricted to multiples, with holes; sets are closed under
intersection, and a complement is a union of sets.  Arithmetic is exact (`Fraction`).

Rounding.  Most readers turn a number with a point or an exponent into a double (`doubles`).  What a
set says holds for the number that is written and for the double that is read: strict bounds and
holes keep half a unit in the last place away.  From 2^53 on doubles are further apart than whole
numbers, so that 9007199254740993.0 is read as another number than 9007199254740993.  There a set is
two, one for numbers of digits alone and one for the others (`by_spelling`).

>>> INTEGERS.has(Fraction(3)), INTEGERS.has(Fraction(1, 2))
(True, False)
>>> above = NumberSet(lo=Fraction(2**53), lo_open=True)
>>> [s.has(Fraction(2**53 + 1)) for s in above.by_spelling]
[True, False]
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from functools import cached_property

from refimpl.grammar.doubles import EXACT, Hole, beyond, hole, inside, is_double, is_large, written

MAX_DIGITS = 340  # before the point; no double has more
_FINE = 2**50  # up to so many steps from 0 some doubles between two multiples are neither


@dataclass(frozen=True, kw_only=True, eq=False)
class NumberSet:
    """lo <= x <= hi (strict where `open`), a multiple of `step`, of no `not_steps`, in no hole.

    `spelled` is "digits" where a number has neither point nor exponent, as an integer of draft 4,
    "dotted" where it has one, "plain" where only `number_texts` says what is allowed, "exact" where
    nobody rounds, and "any" otherwise.
    """

    lo: Fraction | None = None
    hi: Fraction | None = None
    lo_open: bool = False
    hi_open: bool = False
    step: Fraction | None = None
    not_steps: frozenset[Fraction] = frozenset()
    only: frozenset[Fraction] | None = None
    without: frozenset[Fraction] = frozenset()
    spelled: str = "any"

    def __hash__(self) -> int:  # of exact fractions, so it is worth keeping
        return self._hash

    def __eq__(self, other: object) -> bool:
        if self is other or not isinstance(other, NumberSet):
            return self is other
        return self._hash == other._hash and self._values == other._values

    @cached_property
    def _hash(self) -> int:
        return hash(self._values)

    @cached_property
    def _values(self) -> tuple[object, ...]:
        return tuple(getattr(self, f.name) for f in fields(self))

    @cached_property
    def free(self) -> bool:
        return self == NUMBERS

    @cached_property
    def by_spelling(self) -> "tuple[NumberSet, ...]":
        """The numbers of digits alone, and the others; nothing if one set says it for both."""
        if self.spelled == "digits":
            return () if self.step and self.step.denominator == 1 else (self._digits,)
        if self.spelled != "any" or self._is_read_alike():
            return ()
        return self._digits, replace(self, spelled="dotted")

    @property
    def parts(self) -> "tuple[NumberSet, ...]":
        """Sets, one for each spelling if that matters, that are this one together."""
        return self.by_spelling or (self,)

    @property
    def _digits(self) -> "NumberSet":
        return replace(self, spelled="digits", step=lcm(self.step, Fraction(1)))

    def _is_read_alike(self) -> bool:
        """Whether doubles tell apart all that matters, or nothing large does."""
        if any(is_large(x) and (open_ or not is_double(x)) for x, open_ in self._ends()):
            return False
        if any(is_large(x) and written(x) != {x} for x in self.only or ()):
            return False
        if self.holes and (self.holes[0][0] <= -EXACT or self.holes[-1][1] >= EXACT):
            return False
        if self.only is not None or (reach := self.reach) is None:
            return True
        lo, hi = self.bounds
        return lo is not None and hi is not None and -reach <= lo and hi <= reach

    def _ends(self) -> Iterator[tuple[Fraction, bool]]:
        if self.lo is not None:
            yield self.lo, self.lo_open
        if self.hi is not None:
            yield self.hi, self.hi_open

    @cached_property
    def reach(self) -> Fraction | None:
        """How far a number and its double are both multiples, or both none, as `has` knows it.

        A large double is whole and even, hence a multiple of 2, of 1, of 1/100.
        """
        limits = [_FINE * s for s in self.not_steps]
        if limits or (self.step is not None and self.step.numerator > 2):
            limits.append(Fraction(EXACT))
        return min(limits, default=None)

    @cached_property
    def bounds(self) -> tuple[Fraction | None, Fraction | None]:
        """How far members go; strict bounds as far as they are read as being beyond them."""
        lo = None if self.lo is None else self._bound(self.lo, self.lo_open, +1)
        hi = None if self.hi is None else self._bound(self.hi, self.hi_open, -1)
        if self.spelled not in ("dotted", "plain") or (reach := self.reach) is None:
            return lo, hi
        return (
            -reach if lo is None else max(lo, -reach),
            reach if hi is None else min(hi, reach),
        )

    def _bound(self, x: Fraction, is_open: bool, sign: int) -> Fraction:
        if self.spelled == "exact" or (self.spelled != "dotted" and is_large(x)):
            return x
        return beyond(x, sign) if is_open else inside(x, sign) if is_large(x) else x

    @cached_property
    def points(self) -> frozenset[Fraction]:
        """The values of texts that stand for one of `only`."""
        if self.spelled != "dotted" or self.only is None:
            return self.only or frozenset()
        return frozenset().union(*map(written, self.only))

    def _hole(self, x: Fraction) -> Hole:
        if self.spelled == "exact" or (self.spelled != "dotted" and is_large(x)):
            return x, x
        return hole(x)

    @cached_property
    def holes(self) -> tuple[Hole, ...]:
        """What is read as one of `without`, both ends included, in order; none inside another."""
        out: list[Hole] = []
        for a, b in sorted(map(self._hole, self.without)):
            if not out or b > out[-1][1]:
                out.append((a, b))
        return tuple(out)

    def _hole_from(self, x: Fraction) -> int:
        """The first hole that does not end below x."""
        return bisect_left(self.holes, x, key=_end)

    @cached_property
    def magnitudes(self) -> tuple[int, int]:
        """Of the smallest and the largest number that describes the set, signs aside."""
        known = (*self.bounds, self.step, *self.not_steps, *(self.points or self.without))
        sizes = [magnitude_of(abs(x)) for x in known if x]
        return min(sizes, default=1), max(sizes, default=1)

    @cached_property
    def mirrored(self) -> "NumberSet":
        """The members with their signs changed."""
        return replace(
            self,
            lo=None if self.hi is None else -self.hi,
            hi=None if self.lo is None else -self.lo,
            lo_open=self.hi_open,
            hi_open=self.lo_open,
            only=None if self.only is None else frozenset(-x for x in self.only),
            without=frozenset(-x for x in self.without),
        )

    def has(self, x: Fraction) -> bool:
        lo, hi = self.bounds
        return (
            (lo is None or x > lo or (x == lo and not self.lo_open))
            and (hi is None or x < hi or (x == hi and not self.hi_open))
            and (self.step is None or (x / self.step).denominator == 1)
            and (self.only is None or x in self.points)
            and self._hole_at(x) is None
        )

    def _hole_at(self, x: Fraction) -> Hole | None:
        """What x is excluded with, if it is."""
        i = self._hole_from(x)
        if i < len(self.holes) and self.holes[i][0] <= x:
            return self.holes[i]
        return next((h for h in self._multiples_at(x) if h[0] <= x <= h[1]), None)

    def _multiples_at(self, x: Fraction) -> Iterator[Hole]:
        """The holes that the multiples of `not_steps` around x make."""
        for s in self.not_steps:
            k = math.floor(x / s)
            yield from (self._hole(k * s), self._hole((k + 1) * s))

    def meets(self, a: Fraction, b: Fraction | None) -> bool:
        """Whether some member lies in [a, b), or in [a, infinity)."""
        if self.by_spelling:
            return any(s.meets(a, b) for s in self.by_spelling)
        if self.only is not None:
            return any(a <= x and (b is None or x < b) and self.has(x) for x in self.points)
        lo, hi = self.bounds
        start = a if lo is None else max(a, lo)
        ends = hi is not None and (b is None or hi < b)
        closed, end = ends and not self.hi_open, hi if ends else b
        if end is not None and (start > end or (start == end and not closed)):
            return False
        if self._is_contradiction:
            return False
        if self.step is None:
            return self._real_in(start, end)
        if self.step >= 1 and not self.not_steps and not self._has_wide_holes():
            return self._many_in(start, end, closed) or self._first_in(start, end, closed)
        return self._first_in(start, end, closed)

    def _has_wide_holes(self) -> bool:
        """Whether one may take several whole numbers."""
        wide = self.spelled == "dotted" and bool(self.holes)
        return wide and (self.holes[0][0] <= -EXACT or self.holes[-1][1] >= EXACT)

    @cached_property
    def _is_contradiction(self) -> bool:
        """Whether what must be multiples must be none."""
        step = self.step
        return step is not None and any((step / s).denominator == 1 for s in self.not_steps)

    def _many_in(self, start: Fraction, end: Fraction | None, closed: bool) -> bool:
        """Whether there are more multiples than holes, which take one at most."""
        assert self.step is not None
        if end is None:
            return True
        last = math.floor(end / self.step)
        last -= not closed and last * self.step == end
        first = math.ceil(start / self.step)
        first += not self.has(first * self.step)  # an open end, if it is in no hole
        return last - first + 1 > bisect_right(self.holes, end, key=_begin) - self._hole_from(start)

    def _first_in(self, start: Fraction, end: Fraction | None, closed: bool) -> bool:
        assert self.step is not None
        x = self.first_multiple(self.step, start, end)
        return x is not None and (closed or x != end)

    def first_multiple(
        self, step: Fraction, start: Fraction, end: Fraction | None
    ) -> Fraction | None:
        """The smallest multiple of `step` that is a member, from `start` up to `end`."""
        k = math.ceil(start / step)
        for _ in range(66 + 4 * len(self.without)):
            x = k * step
            if end is not None and x > end:
                return None
            if self.has(x):
                return x
            passed = self._hole_at(x)
            k = max(k, math.floor(passed[1] / step) if passed else k) + 1
        return None

    def _real_in(self, start: Fraction, end: Fraction | None) -> bool:
        at = start
        while (end is None or at < end) and (past := self._past(at)) is not None:
            at = past
        return end is None or at < end or (at == start == end and self.has(at))

    def _past(self, x: Fraction) -> Fraction | None:
        """Where the hole ends that what lies next to x is in, if it is in one."""
        i = bisect_right(self.holes, x, key=_end)
        if i < len(self.holes) and self.holes[i][0] <= x:
            return self.holes[i][1]
        return next((b for a, b in self._multiples_at(x) if a <= x < b), None)

    def both(self, other: "NumberSet") -> "NumberSet | None":
        """The members of both, or None if there are none.

        A set in which numbers are, but none that is read as one, is kept: its complement differs
        from that of nothing.
        """
        out = self._meet(other)
        if out is None or (out.is_empty() and replace(out, spelled="exact").is_empty()):
            return None
        return out

    def _meet(self, other: "NumberSet") -> "NumberSet | None":
        """What both say, be it possible or not; None if they are spelled apart."""
        lo, lo_open = _tighter(self.lo, self.lo_open, other.lo, other.lo_open, +1)
        hi, hi_open = _tighter(self.hi, self.hi_open, other.hi, other.hi_open, -1)
        spelled = {self.spelled, other.spelled} - {"any"}
        if len(spelled) == 2:
            return None
        out = NumberSet(
            lo=lo, hi=hi, lo_open=lo_open, hi_open=hi_open,
            step=lcm(self.step, other.step),
            not_steps=self.not_steps | other.not_steps,
            only=_only(self.only, other.only),
            without=_union(self.without, other.without),
            spelled=spelled.pop() if spelled else "any",
        )  # fmt: skip
        if out.only is None:
            return out
        return NumberSet(only=frozenset(x for x in out.only if out.has(x)), spelled=out.spelled)

    def is_empty(self) -> bool:
        return self._is_empty

    @cached_property
    def _is_empty(self) -> bool:
        """Whether no text is in it; asked of every expression that allows the set."""
        zero, end = Fraction(0), Fraction(10**MAX_DIGITS)
        return not (self.free or self.meets(zero, end) or self.mirrored.meets(zero, end))

    def non(self) -> "Iterator[NumberSet]":
        if self.lo is not None:
            yield NumberSet(hi=self.lo, hi_open=not self.lo_open)
        if self.hi is not None:
            yield NumberSet(lo=self.hi, lo_open=not self.hi_open)
        if self.step is not None:
            yield NumberSet(not_steps=frozenset({self.step}))
        for s in sorted(self.not_steps):
            yield NumberSet(step=s)
        if self.only is not None:
            yield NumberSet(without=self.only)
        if self.without:
            yield NumberSet(only=self.without)
        if self.spelled != "any":
            yield NumberSet(spelled="dotted" if self.spelled == "digits" else "digits")


NUMBERS, INTEGERS = NumberSet(), NumberSet(step=Fraction(1))
PLAIN = NumberSet(spelled="plain")
DIGITS = NumberSet(step=Fraction(1), spelled="digits")


def _begin(hole: Hole) -> Fraction:
    return hole[0]


def _end(hole: Hole) -> Fraction:
    return hole[1]


def _tighter(
    a: Fraction | None, a_open: bool, b: Fraction | None, b_open: bool, sign: int
) -> tuple[Fraction | None, bool]:
    if a is None or b is None:
        return (b, b_open) if a is None else (a, a_open)
    if a == b:
        return a, a_open or b_open
    return (a, a_open) if (a - b) * sign > 0 else (b, b_open)


def lcm(a: Fraction | None, b: Fraction | None) -> Fraction | None:
    if a is None or b is None:
        return a or b
    return Fraction(math.lcm(a.numerator * b.denominator, b.numerator * a.denominator),
                    a.denominator * b.denominator)  # fmt: skip


def _union(a: frozenset[Fraction], b: frozenset[Fraction]) -> frozenset[Fraction]:
    """Without a copy if one is empty: a thousand numbers may be excluded."""
    return a | b if a and b else a or b


def _only(
    a: frozenset[Fraction] | None, b: frozenset[Fraction] | None
) -> frozenset[Fraction] | None:
    return b if a is None else a if b is None else a & b


def magnitude(numerator: int, denominator: int) -> int:
    """How many digits stand before the point; of 0.05, which is 1/20, minus one."""
    if whole := numerator // denominator:
        return len(str(whole))
    return 1 - len(str(denominator // numerator))


def magnitude_of(x: Fraction) -> int:
    return magnitude(x.numerator, x.denominator)
