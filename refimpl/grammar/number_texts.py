"""Which decimal texts are a number of a set, and which can still become one.

Spelling.  An unrestricted number may be any that JSON allows.  A restricted one is written plainly
(`-12.50`) or in scientific notation with one leading non-zero digit and an exponent of at most
three digits, up to 300 (`1.25e+2`), which is what JSON writers print.  Then every prefix fixes an
interval of values up to a power of ten, and "can this be completed" is decided exactly.

>>> percent = NumberSet(lo=Fraction(0), hi=Fraction(100))
>>> [can_complete(percent, t) for t in ("10", "100", "101", "100.0", "100.1", "1.5e", "1.5e2")]
[True, True, False, True, False, True, False]
"""

import re
from collections.abc import Iterator
from fractions import Fraction

from refimpl.grammar.number_sets import MAX_DIGITS, NumberSet, magnitude, magnitude_of

MAX_EXPONENT = 300
# How a number may begin: sign, whole part, fraction with its point, exponent with its letter.
NUMBER = re.compile(r"(-?)(?:(0|[1-9]\d*)(\.(\d*))?((?<!\.)[eE]([+-]?)(\d*))?)?")
_JSON = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")


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
    if len(s.by_spelling) > 1:
        s = s.by_spelling[dotted]
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
    if s.by_spelling:
        return any(can_complete(part, text) for part in s.by_spelling)
    if s.spelled == "digits" and (m[3] is not None or m[5] is not None):
        return False
    if m[5]:
        return _exponent_fits(s, text, m)
    s = s.mirrored if m[1] else s
    if m[2] is None:
        return s.meets(Fraction(0), Fraction(10**MAX_DIGITS)) or (not text and can_complete(s, "-"))
    fraction = m[4] or ""
    value, width = Fraction(f"{m[2]}.{fraction}0"), Fraction(1, 10 ** len(fraction))
    if is_complete(s, text.lstrip("-")) or _plain_fits(s, m, value, width):
        return True
    one_digit = len(m[2]) == 1 and m[2] != "0" and s.spelled != "digits"
    powers = _powers(s, value, width, -MAX_EXPONENT, MAX_EXPONENT) if one_digit else ()
    return any(s.meets(value * p, (value + width) * p) for p in powers)


def _plain_fits(s: NumberSet, m: "re.Match[str]", value: Fraction, width: Fraction) -> bool:
    if s.spelled != "digits" and s.meets(value, value + width):
        return True
    if m[3] is not None or m[2] == "0":
        return False
    return any(s.meets(value * p, (value + 1) * p) for p in _powers(s, value, width, 1, MAX_DIGITS))


def _powers(
    s: NumberSet, value: Fraction, width: Fraction, first: int, last: int
) -> Iterator[Fraction]:
    """Powers of ten at which scaled intervals can begin or cease to meet the set."""
    exponents = scales(s, int(value / width), width.denominator, first, last)
    yield from (Fraction(10) ** k for k in exponents)


def scales(s: NumberSet, digits: int, unit: int, first: int, last: int) -> range:
    """Their exponents, of a number of so many units.  Far beyond the bounds no member is looked
    for, nor where the last digit is far larger than any step."""
    least, most = s.magnitudes
    scale, places = magnitude(digits, unit) if digits else 0, len(str(unit)) - 1
    low = max(first, least - scale - 3)
    high = min(last, most - min(scale, 0) + places + 3)
    return range(low, high + 1)


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
    size = magnitude_of(mantissa)
    least = max((x for x in (lo, s.step) if x is not None and x > 0), default=None)
    low = -MAX_EXPONENT if least is None else magnitude_of(least) - size - 1
    return low, MAX_EXPONENT if hi is None else magnitude_of(hi) - size + 1


def _exponents(digits: str) -> Iterator[int]:
    """The exponents that begin with these digits and have at most three."""
    for extra in range(0 if digits else 1, 4 - len(digits)):
        for tail in range(10**extra):
            e = int(digits + (str(tail).zfill(extra) if extra else ""))
            if e <= MAX_EXPONENT:
                yield e
