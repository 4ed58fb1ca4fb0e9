"""Few states for all numbers: texts after which the same may follow become the same text.

A number with bounds is compared with them digit by digit, from the first that is not 0.  Once a
digit differs from a bound's, that comparison is settled, whatever comes later.  So all that matters
is how far the digits agree with either bound, on which side they left it, how many stand before the
point, and the exponent.  `settle` writes the smallest text of that kind.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise

from refimpl.grammar.number_sets import DIGITS, INTEGERS, PLAIN, NumberSet
from refimpl.grammar.number_texts import NUMBER

_DOTTED = re.compile("[.eE]")
_WHOLE = re.compile(r"(-?)([1-9]\d*)(\.\d*)?")


def settle(s: NumberSet, text: str) -> tuple[NumberSet, str]:
    """A smaller (set, text) with the same future, so that few states stand for all numbers.

    >>> settle(NumberSet(lo=Fraction(0), step=Fraction(1)), "4711")
    (NumberSet(...), '10')
    >>> settle(NumberSet(hi=Fraction(500)), "389.25")[1]
    '100.0'
    """
    if len(s.by_spelling) > 1 and _DOTTED.search(text):
        s = s.by_spelling[1]
    s = _without_bounds(s, text)
    if s.free:
        return s, _skeleton(text)
    if s in (INTEGERS, PLAIN) and re.fullmatch(r"-?\d\d+", text):
        return s, "10"
    if s == PLAIN and (m := re.fullmatch(r"-?\d\d+\.(\d*)", text)):
        return s, "10.0" if m[1] else "10."
    if s == DIGITS and re.fullmatch(r"-?[1-9]\d*", text):
        return s, "1"
    if s == INTEGERS and re.fullmatch(r"-?[1-9]", text):
        return s, "1"
    if s == INTEGERS and (m := re.fullmatch(r"-?\d\d+\.(0*)", text)):
        return s, "10.0" if m[1] else "10."
    return s, smallest_alike((s,), text)


def smallest_alike(sets: Iterable[NumberSet], text: str) -> str:
    """The smallest text that compares with all bounds as this one does, as far as any tail can."""
    sets, m = [part for s in sets for part in s.parts], NUMBER.fullmatch(text)
    if not m or m[2] is None:
        return text
    whole, fraction = m[2], m[4] or ""
    if not all(map(_only_compares, sets)):
        return text
    bounds = [b for s in sets for b in bounds_of(s.mirrored if m[1] else s)]
    if whole == "0":  # what was read compares behind the point; a bound of 1 or more is far away
        digits, marks = fraction, [f for w, f in bounds if not w]
    else:
        digits, marks = whole + fraction, [(w + f).lstrip("0") for w, f in bounds]
    point = len(digits) - len(fraction)
    scales = len(whole) == 1 and whole != "0"  # with an exponent zeros have places, too: 1.001e2
    by_place = any(s.step and (s.step < 1 or scales or fraction.strip("0")) for s in sets)
    solid = point + len(fraction.rstrip("0")) if by_place else 0
    kept = smallest_digits(digits, marks, "0" if whole == "0" else "1", solid)
    integer = whole if whole == "0" else kept[:point].ljust(point, "0")
    if by_place:
        kept = kept.ljust(len(digits), "0")
    dot = "" if m[3] is None else "." + (kept[point:] or "0" if fraction else "")
    return m[1] + integer + dot + (m[5] or "")


def digits_alike(sets: Sequence[NumberSet]) -> dict[str, str]:
    """For some digits a smaller one: numbers that end in them, without exponent, are alike.

    What no bound tells apart: it holds neither the digit nor the one before.  0 is always special.

    >>> digits_alike([NumberSet(lo=Fraction(0), hi=Fraction(25))])
    {'4': '3', '7': '6', '8': '6', '9': '6'}
    """
    out: dict[str, str] = {}
    sets = [part for s in sets for part in s.parts]
    if not all(map(_only_compares, sets)):
        return out
    bounds = [b for s in sets for one in (s, s.mirrored) for b in bounds_of(one)]
    apart = "0".join(whole + fraction for whole, fraction in bounds) + "0"
    for before, digit in pairwise("0123456789"):
        if before not in apart and digit not in apart:
            out[digit] = out.get(before, before)
    return out


@lru_cache(maxsize=4096)
def _only_compares(s: NumberSet) -> bool:
    """Whether nothing asks which digits there are but bounds, and a step how many are not 0."""
    if s.only is not None or s.without or s.not_steps:
        return False
    if not all(map(_is_decimal, (x for x in (s.lo, s.hi) if x is not None))):
        return False
    return s.step is None or (s.step.numerator == 1 and _is_ten(s.step.denominator))


def _is_decimal(x: Fraction) -> bool:
    """Whether finitely many digits write it: its denominator divides some power of ten."""
    return pow(10, x.denominator.bit_length(), x.denominator) == 0


def _is_ten(n: int) -> bool:
    return str(n).strip("0") == "1"


@lru_cache(maxsize=4096)
def bounds_of(s: NumberSet) -> tuple[tuple[str, str], ...]:
    """The bounds that a number without a sign can meet, as digits before and behind the point."""
    lo, hi = s.bounds
    lowest = () if lo is None or lo <= 0 else (lo,)
    highest = () if hi is None or hi < 0 else (hi,)
    return tuple(_decimal(x) for x in (*lowest, *highest))


def _decimal(x: Fraction) -> tuple[str, str]:
    rest = x.denominator  # a product of twos and fives
    twos, fives = (rest & -rest).bit_length() - 1, 0
    rest >>= twos
    while rest > 1:
        rest, fives = rest // 5, fives + 1
    places = max(twos, fives)
    digits = str(int(x * 10**places)).zfill(places)
    split = len(digits) - places
    return digits[:split].lstrip("0"), digits[split:]


def smallest_digits(digits: str, marks: list[str], first: str, solid: int = 0) -> str:
    """The smallest digits that leave the marks where these do, and to the same side.

    Marks go on with zeros for ever.  `first` is the smallest digit there may be in front; the last
    of the first `solid` digits, if it is not 0, stays so.

    >>> smallest_digits("3892", ["5", "38"], "1"), smallest_digits("38002", ["38"], "1")
    ('381', '38001')
    >>> smallest_digits("3892", ["5"], "1", 4)
    '1001'
    """
    out, known = "", 0
    for i, digit in enumerate(digits):
        if not marks and i >= solid:
            break
        here = [mark[i : i + 1] or "0" for mark in marks]
        least = "1" if i + 1 == solid and digit != "0" else first if i == 0 else "0"
        out += _smallest(digit, here, least)
        if any(x != digit for x in here):
            marks, known = [m for m, x in zip(marks, here, strict=True) if x == digit], i + 1
    known = max([known, solid, *map(len, marks)])
    while len(out) > known and out.endswith("0"):
        out = out[:-1]
    return out or (first if first == "1" else "")


def _smallest(digit: str, marks: list[str], least: str) -> str:
    """The smallest digit, of those that are not below `least`, on the same side of every mark."""
    if digit in marks:
        return digit
    below = [x for x in marks if x < digit]
    return max(least, chr(ord(max(below)) + 1)) if below else least


def _without_bounds(s: NumberSet, text: str) -> NumberSet:
    """Drops a bound that no completion can cross any more."""
    m = _WHOLE.fullmatch(text)
    if not m or s.free or s.only is not None or s.without:
        return s
    whole = s.step is not None and s.step.denominator == 1
    if s.spelled != "any" and not (whole and s.spelled == "digits"):
        return s
    if len(m[2]) < 2 and not whole:
        return s
    parts = [part.mirrored if m[1] else part for part in s.parts]
    if parts[0].hi is not None or any(_may_be_crossed(part, int(m[2])) for part in parts):
        return s
    return _unbounded(s)


def _may_be_crossed(s: NumberSet, whole: int) -> bool:
    """Whether a number that begins so may lie below the set."""
    lo = s.bounds[0]
    return lo is not None and (whole < lo or (whole == lo and s.lo_open))


@lru_cache(maxsize=4096)
def _unbounded(s: NumberSet) -> NumberSet:
    out = replace(s, lo=None, hi=None, lo_open=False, hi_open=False)
    return PLAIN if out.free else out  # 10e-1 would slip below a bound that 10 respects


def _skeleton(text: str) -> str:
    """For unrestricted numbers only the grammar matters."""
    text = re.sub(r"^-?[1-9]\d*", "1", re.sub(r"^-?0", "0", text))
    text = re.sub(r"^0(?=[.eE])", "1", text)
    text = re.sub(r"\.\d+", ".0", text)
    return re.sub(r"[eE]([+-]?)(\d*)", lambda m: "e" + ("0" if m[2] else "+" if m[1] else ""), text)
