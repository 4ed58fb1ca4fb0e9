"""`can_complete` in whole numbers: the same answers, quicker, for common sets.

`number_texts.can_complete` is the definition, in exact fractions.  Most sets are an interval,
perhaps of multiples, or a few single values.  Then the numbers that begin with a text are an
interval too, [m, m + 1) times a power of ten, and to compare the two whole numbers suffice: an
`Interval` counts in units that its bounds and its step are multiples of.

Glossary: m 10^k is the number read so far, m being its digits without the point.

>>> percent = NumberSet(lo=Fraction(0), hi=Fraction(100))
>>> [fits(percent, t) for t in ("10", "100", "101", "100.0", "100.1", "1.5e", "1.5e2")]
[True, True, False, True, False, True, False]
"""

import math
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from refimpl.grammar.number_sets import MAX_DIGITS, NumberSet
from refimpl.grammar.number_texts import MAX_EXPONENT, NUMBER, can_complete, scales

_EXPONENTS = range(-MAX_EXPONENT, MAX_EXPONENT + 1)


@dataclass(frozen=True, kw_only=True)
class Interval:
    """The members of a set that are not negative, lo, hi and step times `unit`; None: no bound."""

    lo: int | None
    hi: int | None
    lo_open: bool
    hi_open: bool
    step: int | None
    unit: int

    def meets(self, m: int, k: int) -> bool:
        """Whether a member is in [m, m + 1) 10^k."""
        up, down = _scales(k)
        start, end = m * up * self.unit, (m + 1) * up * self.unit
        lo = start if self.lo is None else self.lo * down
        hi = end if self.hi is None else self.hi * down
        first, step = max(start, lo), (self.step or 0) * down
        if step:
            first = -(-first // step) * step
            first += step if self.lo_open and self.lo is not None and first == lo else 0
        elif self.lo_open and self.lo is not None and first == lo:
            return lo < min(hi, end)
        return first < end and (first < hi or (first == hi and not self.hi_open))

    def is_below_the_top(self, m: int, k: int) -> bool:
        if self.hi is None:
            return True
        up, down = _scales(k)
        x, hi = m * up * self.unit, self.hi * down
        return x < hi or (x == hi and not self.hi_open)

    def is_above_the_bottom(self, m: int, k: int) -> bool:
        if self.lo is None:
            return True
        up, down = _scales(k)
        x, lo = m * up * self.unit, self.lo * down
        return x > lo or (x == lo and not self.lo_open)

    def is_multiple(self, m: int, k: int) -> bool:
        if self.step is None:
            return True
        up, down = _scales(k)
        return m * up * self.unit % (self.step * down) == 0

    def meets_scaled(self, m: int, k: int, scales: range) -> bool:
        """Whether a member is in [m, m + 1) 10^(k + n) for some n of these; m is positive."""
        n = bisect_left(scales, True, key=lambda n: not self.is_below_the_top(m, k + n)) - 1
        while n >= 0:
            at = k + scales[n]
            if self.meets(m, at):
                return True
            if self.step is None or not self._is_wide(m + 1, at):
                return False
            n -= 1
        return False

    def _is_wide(self, m: int, k: int) -> bool:
        """Whether m 10^k is beyond the bottom and the smallest positive multiple."""
        least = max(self.lo or 0, self.step or 0)
        up, down = _scales(k)
        return m * up * self.unit > least * down

    def exponents(self, m: int, k: int) -> range:
        """The exponents e for which m 10^(k + e) is a member.  Each test stays true once it is."""
        above = bisect_left(_EXPONENTS, True, key=lambda e: self.is_above_the_bottom(m, k + e))
        end = bisect_left(_EXPONENTS, True, key=lambda e: not self.is_below_the_top(m, k + e))
        whole = bisect_left(_EXPONENTS, True, key=lambda e: self.is_multiple(m, k + e))
        return _EXPONENTS[max(above, whole) : max(above, whole, end)]


def _scales(k: int) -> tuple[int, int]:
    """10^k as a fraction."""
    return (int(10**k), 1) if k >= 0 else (1, int(10**-k))


@lru_cache(maxsize=4096)
def interval_of(s: NumberSet) -> Interval | None:
    """The part of a set that is not negative; None if the set is no interval."""
    if s.by_spelling or s.only is not None or s.without or s.not_steps:
        return None
    lo, hi = s.bounds
    if lo is not None and (lo < 0 or (lo == 0 and not s.lo_open)):
        lo = None
    known = [x for x in (lo, hi, s.step) if x is not None]
    unit = math.lcm(*(x.denominator for x in known)) if known else 1
    lo_, hi_, step = (None if x is None else int(x * unit) for x in (lo, hi, s.step))
    return Interval(
        lo=lo_, hi=hi_, lo_open=s.lo_open, hi_open=s.hi_open, step=step, unit=unit
    )  # fmt: skip


@lru_cache(maxsize=4096)
def points_of(s: NumberSet) -> tuple[tuple[str, NumberSet], ...]:
    """A finite set as sets of one number, each with its digits less the zeros around them."""
    members = sorted(x for x in s.points if s.has(x))
    step, spelled = (s.step, s.spelled) if s.spelled == "digits" else (None, "plain")
    return tuple((_digits(x), NumberSet(lo=x, hi=x, step=step, spelled=spelled)) for x in members)


def _digits(x: Fraction) -> str:
    """The denominator of a decimal fraction divides this power of ten."""
    return str(abs(x.numerator) * 10 ** x.denominator.bit_length() // x.denominator).strip("0")


def _fits_some(s: NumberSet, text: str) -> bool:
    """A member begins with the digits read, wherever the point is, or zeros were read after all."""
    m = NUMBER.fullmatch(text)
    read = ((m[2] or "") + (m[4] or "")).lstrip("0") if m else ""
    begun = ((d, p) for d, p in points_of(s) if d.startswith(read) or d == read.rstrip("0"))
    return any(fits(point, text) for _, point in begun)


def fits(s: NumberSet, text: str) -> bool:
    """Whether some number of the set begins with `text`: equal to `can_complete`."""
    if s.by_spelling:
        return any(fits(part, text) for part in s.by_spelling)
    if s.only is not None:
        return _fits_some(s, text)
    m = NUMBER.fullmatch(text)
    if s.free or not m or m[2] is None:
        return can_complete(s, text)
    interval = interval_of(s.mirrored if m[1] else s)
    if interval is None:
        return can_complete(s, text)
    if s.spelled == "digits" and (m[3] is not None or m[5]):
        return False
    whole, fraction = m[2], m[4] or ""
    digits, k = int(whole + fraction), -len(fraction)
    one_digit = len(whole) == 1 and whole != "0"
    if m[5]:
        spelled = one_digit and len(m[7]) <= 3
        return spelled and _some_exponent(interval.exponents(digits, k), m[6], m[7])
    if s.spelled == "digits":
        return _digits_fit(interval, digits)
    if interval.meets(digits, k):
        return True
    longer = m[3] is None and digits > 0
    if not (longer or one_digit):
        return False
    s, unit = s.mirrored if m[1] else s, 10 ** len(fraction)
    if longer and interval.meets_scaled(digits, 0, scales(s, digits, unit, 1, MAX_DIGITS)):
        return True
    powers = scales(s, digits, unit, -MAX_EXPONENT, MAX_EXPONENT)
    return one_digit and interval.meets_scaled(digits, k, powers)


def _digits_fit(interval: Interval, m: int) -> bool:
    """The number as it stands, or with more digits."""
    if interval.is_multiple(m, 0) and interval.is_above_the_bottom(m, 0):
        return interval.is_below_the_top(m, 0)
    return m > 0 and interval.meets_scaled(m, 0, range(1, MAX_DIGITS + 1))


def _some_exponent(allowed: range, sign: str, digits: str) -> bool:
    """Whether one of these exponents is spelled so, or with more digits."""
    if not allowed:
        return False
    signs = (1, -1) if not (sign or digits) else (-1,) if sign == "-" else (1,)
    return any(
        max(allowed[0], min(first * sign, last * sign))
        <= min(allowed[-1], max(first * sign, last * sign))
        for first, last in _begun(digits)
        for sign in signs
    )


def _begun(digits: str) -> Iterator[tuple[int, int]]:
    """The exponents that begin with these digits and have at most three, as intervals."""
    for more in range(0 if digits else 1, 4 - len(digits)):
        first = int(digits or "0") * 10**more
        if first <= MAX_EXPONENT:
            yield first, min(first + 10**more - 1, MAX_EXPONENT)
