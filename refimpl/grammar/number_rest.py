"""The shortest way to end a number that was begun.

A prefix fixes an interval of values.  With k more digits before the point and f behind it, what can
be written are the multiples of 10**-f in that interval, up to a power of ten; the first of them
that the set has is found by arithmetic, so there is no need to try digits.  An exponent scales
both.  Forms are tried in the order of their length.

>>> shortest_rest(NumberSet(lo=Fraction(4_000_000_000)), "")
'4e9'
>>> shortest_rest(NumberSet(step=Fraction(1, 8), lo=Fraction(12)), "12.1")
'25'
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain

from refimpl.grammar.number_sets import MAX_DIGITS, NumberSet, lcm
from refimpl.grammar.number_texts import MAX_EXPONENT, can_complete, is_complete

_BEGUN = re.compile(r"(-?)(\d*)(\.?)(\d*)(?:([eE])([+-]?)(\d*))?")


def shortest_rest(s: NumberSet, text: str) -> str | None:
    """What completes `text` to a number of the set in as few characters as possible."""
    if is_complete(s, text):
        return ""
    if s.free:
        return "0"
    parts = [part for part in s.parts if can_complete(part, text)]
    for length in range(1, MAX_DIGITS):
        for candidate in chain.from_iterable(_of_length(p, text, length) for p in parts):
            if is_complete(s, text + candidate):
                return candidate
    return None


def _of_length(s: NumberSet, text: str, n: int) -> Iterator[str]:
    """Of each form with n more characters, one that the set has, if there is one."""
    m = _BEGUN.fullmatch(text)
    assert m is not None, "the beginning of a number"
    if m[5]:
        yield from _exponents(m, n)
        return
    if not text and n > 1:
        yield from ("-" + rest for rest in _of_length(s, "-", n - 1))
    positive = s.mirrored if m[1] else s
    for form in _mantissas(m[2], m[3], m[4], n):
        if (x := _first(positive, form.lo, form.hi, form.unit)) is not None:
            yield form.written(x)
    for written in range(2, min(n, 5) + 1):  # the letter, perhaps a sign, one to three digits
        for form in _mantissas(m[2], m[3], m[4], n - written):
            if form.is_scientific:
                yield from _scaled(positive, form, written)


def _exponents(m: "re.Match[str]", n: int) -> Iterator[str]:
    signs = ("",) if m[6] or m[7] else ("", "-")
    for sign in signs:
        digits = n - len(sign)
        if 0 < digits <= 3 - len(m[7]):
            yield from (f"{sign}{e:0{digits}}" for e in range(10**digits))


@dataclass(frozen=True)
class _Form:
    """Multiples of `unit` in [lo, hi), of which the first `known` characters are there."""

    lo: Fraction
    hi: Fraction
    places: int
    known: int

    @property
    def unit(self) -> Fraction:
        return Fraction(1, 10**self.places)

    @property
    def is_scientific(self) -> bool:
        return 1 <= self.hi <= 10 and self.lo < 10

    def written(self, x: Fraction) -> str:
        digits = str(int(x * 10**self.places)).zfill(self.places + 1)
        at = len(digits) - self.places
        text = digits[:at] + ("." + digits[at:] if self.places else "")
        return text[self.known :]


def _mantissas(whole: str, dot: str, fraction: str, n: int) -> Iterator[_Form]:
    """What the digits and the point can become with n more characters."""
    known = len(whole + dot + fraction)
    if dot:
        places = len(fraction) + n
        lo = Fraction(f"{whole}.{fraction}0")
        if places:
            yield _Form(lo, lo + Fraction(1, 10 ** len(fraction)), places, known)
        return
    for places in range(n):
        more = n - places - 1 if places else n
        if whole == "0" and more:
            continue
        if whole:
            lo, hi = Fraction(int(whole)), Fraction(int(whole) + 1)
            yield _Form(lo * 10**more, hi * 10**more, places, known)
        elif more:
            yield _Form(Fraction(10 ** (more - 1) if more > 1 else 0), Fraction(10**more),
                        places, 0)  # fmt: skip
    if whole and n == 0:
        yield _Form(Fraction(int(whole)), Fraction(int(whole) + 1), 0, known)


def _scaled(s: NumberSet, form: _Form, written: int) -> Iterator[str]:
    """The form with an exponent of so many characters."""
    lo, hi = max(form.lo, Fraction(1)), form.hi
    for sign in ("", "-"):
        digits = written - 1 - len(sign)
        if not 0 < digits <= 3:
            continue
        for e in range(10 ** (digits - 1) if digits > 1 else 0, 10**digits):
            power = Fraction(10) ** (-e if sign else e)
            if e <= MAX_EXPONENT and _near(s, lo * power, hi * power):
                x = _first(s, lo * power, hi * power, form.unit * power)
                if x is not None:
                    yield f"{form.written(x / power)}e{sign}{e}"
                    return


def _near(s: NumberSet, a: Fraction, b: Fraction) -> bool:
    lo, hi = s.bounds
    return (hi is None or a <= hi) and (lo is None or lo < b)


def _first(s: NumberSet, a: Fraction, b: Fraction, unit: Fraction) -> Fraction | None:
    """The smallest multiple of `unit` in [a, b) that the set has."""
    if s.only is not None:
        fits = (x for x in s.points if a <= x < b and not x % unit and s.has(x))
        return min(fits, default=None)
    step = lcm(s.step, unit)
    assert step is not None
    lo, hi = s.bounds
    x = s.first_multiple(step, a if lo is None else max(a, lo), b if hi is None else min(b, hi))
    return x if x is not None and x < b else None
