"""Sets of numbers, and which decimal texts can still become a member.

JSON Schema compares values, not spellings: 1.0 and 1e2 are integers, and `const: 1` admits 1.00.
A set is an interval, perhaps restricted to multiples, with holes; sets are closed under
intersection, and a complement is a union of sets.  Arithmetic is exact (`Fraction`).

Spelling.  An unrestricted number may be any that JSON allows.  A restricted one is written plainly
(`-12.50`) or in scientific notation with one leading non-zero digit and an exponent of at most
three digits, up to 300 (`1.25e+2`), which is what JSON writers print.  Then every prefix fixes an
interval of values up to a power of ten, and "can this be completed" is decided exactly.

Rounding.  Most readers turn a number with a fraction into a double.  So that a value strictly below
a bound stays so after rounding, strict bounds keep a distance of half a unit in the last place.

>>> percent = NumberSet(lo=Fraction(0), hi=Fraction(100))
>>> [can_complete(percent, t) for t in ("10", "100", "101", "100.0", "100.1", "1.5e", "1.5e2")]
[True, True, False, True, False, True, False]
>>> INTEGERS.has(Fraction(3)), INTEGERS.has(Fraction(1, 2))
(True, False)
"""

import math
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from functools import cached_property, lru_cache

MAX_EXPONENT = 300
# How a number may begin: sign, whole part, fraction with its point, exponent with its letter.
NUMBER = re.compile(r"(-?)(?:(0|[1-9]\d*)(\.(\d*))?((?<!\.)[eE]([+-]?)(\d*))?)?")
_JSON = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")


@dataclass(frozen=True, kw_only=True, eq=False)
class NumberSet:
    """lo <= x <= hi (strict where `open`), a multiple of `step`, of no `not_steps`, in no hole.

    `spelled` is "digits" for draft 4, where an integer has neither fraction nor exponent, "dotted"
    for its complement, "plain" where only this module's spellings are allowed, and "any" otherwise.
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
    def bounds(self) -> tuple[Fraction | None, Fraction | None]:
        lo = self.lo if self.lo is None or not self.lo_open else _beyond(self.lo, +1)
        hi = self.hi if self.hi is None or not self.hi_open else _beyond(self.hi, -1)
        return lo, hi

    @cached_property
    def holes(self) -> tuple[tuple[Fraction, Fraction], ...]:
        """What is read as one of `without`, both ends included, in order."""
        return tuple(sorted(map(_hole, self.without)))

    def _hole_from(self, x: Fraction) -> int:
        """The first hole that does not end below x."""
        return bisect_left(self.holes, x, key=_end)

    @cached_property
    def magnitudes(self) -> tuple[int, int]:
        """Of the smallest and the largest number that describes the set, signs aside."""
        known = (*self.bounds, self.step, *self.not_steps, *(self.only or self.without))
        sizes = [_magnitude(abs(x)) for x in known if x]
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
            and all((x / s).denominator != 1 for s in self.not_steps)
            and (self.only is None or x in self.only)
            and not self._is_in_hole(x)
        )

    def _is_in_hole(self, x: Fraction) -> bool:
        i = self._hole_from(x)
        return i < len(self.holes) and self.holes[i][0] <= x

    def meets(self, a: Fraction, b: Fraction | None) -> bool:
        """Whether some member lies in [a, b), or in [a, infinity)."""
        if self.only is not None:
            return any(a <= x and (b is None or x < b) and self.has(x) for x in self.only)
        lo, hi = self.bounds
        start = a if lo is None else max(a, lo)
        closed = hi is not None and (b is None or hi < b)
        end = hi if closed else b
        if end is not None and (start > end or (start == end and not closed)):
            return False
        if self.step is None:
            return self._real_in(start, end)
        return self._multiple_in(start, end, closed)

    def _multiple_in(self, start: Fraction, end: Fraction | None, closed: bool) -> bool:
        assert self.step is not None
        k = math.ceil(start / self.step)
        if self.step >= 1 and not self.not_steps:  # a hole is narrower, and takes one at most
            if end is None:
                return True
            last = math.floor(end / self.step)
            last -= not closed and last * self.step == end
            holes = bisect_right(self.holes, end, key=_begin) - self._hole_from(start)
            if last - k + 1 > holes:
                return True
        for i in range(k, k + 66 + 4 * len(self.without)):
            x = i * self.step
            if end is not None and (x > end or (x == end and not closed)):
                return False
            if self.has(x):
                return True
        return False

    def _real_in(self, start: Fraction, end: Fraction | None) -> bool:
        at = start
        for i in range(self._hole_from(start), len(self.holes)):
            a, b = self.holes[i]
            if a > at:
                break
            at = b
        return end is None or at < end or (at == start == end and self.has(at))

    def both(self, other: "NumberSet") -> "NumberSet | None":
        """The members of both, or None if there are none."""
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
        if out.only is not None:
            members = frozenset(x for x in out.only if out.has(x))
            out = NumberSet(only=members, spelled=out.spelled)
        return None if out.is_empty() else out

    def is_empty(self) -> bool:
        return not can_complete(self, "")

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


@lru_cache(maxsize=1 << 16)
def _hole(x: Fraction) -> tuple[Fraction, Fraction]:
    return _beyond(x, -1), _beyond(x, +1)


def _begin(hole: tuple[Fraction, Fraction]) -> Fraction:
    return hole[0]


def _end(hole: tuple[Fraction, Fraction]) -> Fraction:
    return hole[1]


def _beyond(x: Fraction, sign: int) -> Fraction:
    """Halfway to the next double on that side: nearer values may round to `x`."""
    if abs(x) >= 2**53:
        return x
    near = float(x)
    return (Fraction(near) + Fraction(math.nextafter(near, sign * math.inf))) / 2


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


def is_complete(s: NumberSet, text: str) -> bool:
    """Whether `text` is a number of the set, as it stands."""
    m = _JSON.fullmatch(text)
    if not m:
        return False
    if s.free:
        return True
    dotted = bool(m[2] or m[3])
    if s.spelled in ("digits", "dotted") and dotted != (s.spelled == "dotted"):
        return False
    value = Fraction(text) if dotted else Fraction(int(text))  # which is the quicker
    return (not m[3] or _scientific(text)) and s.has(value)


def _scientific(text: str) -> bool:
    mantissa, exponent = re.split("[eE]", text)
    digits = exponent.lstrip("+-")
    return bool(re.fullmatch(r"-?[1-9](\.\d+)?", mantissa)) and (
        len(digits) <= 3 and int(digits or 0) <= MAX_EXPONENT
    )


def can_complete(s: NumberSet, text: str) -> bool:
    """Whether some number of the set, spelled as this module allows, begins with `text`."""
    m = NUMBER.fullmatch(text)
    if not m:
        return False
    if s.free:
        return True
    if s.spelled == "digits" and (m[3] is not None or m[5] is not None):
        return False
    if m[5]:
        return _exponent_fits(s, text, m)
    s = s.mirrored if m[1] else s
    if m[2] is None:
        return s.meets(Fraction(0), None) or (not text and can_complete(s, "-"))
    fraction = m[4] or ""
    value, width = Fraction(f"{m[2]}.{fraction}0"), Fraction(1, 10 ** len(fraction))
    if is_complete(s, text.lstrip("-")) or _plain_fits(s, m, value, width):
        return True
    one_digit = len(m[2]) == 1 and m[2] != "0" and s.spelled != "digits"
    return one_digit and any(s.meets(value * p, (value + width) * p) for p in _powers(s, value))


def _plain_fits(s: NumberSet, m: "re.Match[str]", value: Fraction, width: Fraction) -> bool:
    if s.spelled == "digits":
        if m[2] == "0":
            return False
        s = s.both(INTEGERS) or s
    if s.spelled != "digits" and s.meets(value, value + width):
        return True
    if m[3] is not None or m[2] == "0":
        return False
    return any(s.meets(value * p, (value + 1) * p) for p in _powers(s, value) if p > 1)


def _powers(s: NumberSet, value: Fraction) -> Iterator[Fraction]:
    """Powers of ten at which scaled intervals can begin or cease to meet the set."""
    yield from (Fraction(10) ** k for k in scales(s, value.numerator, value.denominator))


def scales(s: NumberSet, numerator: int, denominator: int) -> range:
    """Their exponents.  Far beyond the bounds and steps no member is looked for."""
    least, most = s.magnitudes
    scale = magnitude(numerator, denominator) if numerator else 0
    low = max(-MAX_EXPONENT, least - scale - 3)
    high = min(MAX_EXPONENT, most - min(scale, 0) + 3)
    return range(low, high + 1)


def magnitude(numerator: int, denominator: int) -> int:
    """How many digits stand before the point; of 0.05, which is 1/20, minus one."""
    if whole := numerator // denominator:
        return len(str(whole))
    return 1 - len(str(denominator // numerator))


def _magnitude(x: Fraction) -> int:
    return magnitude(x.numerator, x.denominator)


def _exponent_fits(s: NumberSet, text: str, m: "re.Match[str]") -> bool:
    digits = m[7]
    if len(digits) > 3 or not re.fullmatch(r"-?[1-9](\.\d+)?", re.split("[eE]", text)[0]):
        return False
    mantissa, s = abs(Fraction(re.split("[eE]", text)[0])), s.mirrored if m[1] else s
    low, high = _exponent_range(s, mantissa)
    signs = [m[6]] if m[6] or digits else ["+", "-"]
    for sign in signs:
        for size in _exponents(digits):
            e = -size if sign == "-" else size
            if low <= e <= high and s.has(mantissa * Fraction(10) ** e):
                return True
    return False


def _exponent_range(s: NumberSet, mantissa: Fraction) -> tuple[int, int]:
    """Exponents outside it lead past the bounds, or below the smallest positive multiple.

    One more on each side is let in: a magnitude is right to one.
    """
    lo, hi = s.bounds
    if hi is not None and hi <= 0:
        return 0, -1
    size = _magnitude(mantissa)
    least = max((x for x in (lo, s.step) if x is not None and x > 0), default=None)
    low = -MAX_EXPONENT if least is None else _magnitude(least) - size - 1
    return low, MAX_EXPONENT if hi is None else _magnitude(hi) - size + 1


def _exponents(digits: str) -> Iterator[int]:
    """The exponents that begin with these digits and have at most three."""
    for extra in range(0 if digits else 1, 4 - len(digits)):
        for tail in range(10**extra):
            e = int(digits + (str(tail).zfill(extra) if extra else ""))
            if e <= MAX_EXPONENT:
                yield e
