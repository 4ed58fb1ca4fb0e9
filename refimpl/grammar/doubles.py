"""Where the doubles are, for numbers that are read as the nearest of them.

`json.loads`, and most readers with it, reads digits alone exactly and a number with a point or an
exponent as the nearest double.  So a condition holds for both, the number that was written and the
one that is read, only on its side of a middle between two doubles.  Below 2^53 whole numbers are
doubles, and only strict bounds and exceptions have to keep away.  From there on doubles lie 2, 4, 8
apart, and a whole number in the schema may be none itself.

What is read as infinite lies from the middle between the largest double and 2^1024 on.

>>> at_least(Fraction(2**53 + 1)) - 2**53, beyond(Fraction(2**53), +1) - 2**53
(Fraction(2, 1), Fraction(1, 1))
>>> float(beyond(Fraction(1), -1) - 1)
-5.551115123125783e-17
"""

import math
import sys
from fractions import Fraction
from functools import lru_cache

EXACT = 2**53  # up to it every whole number is a double
_LARGEST, _TOP = Fraction(sys.float_info.max), Fraction(2**1024)
INFINITE = (_LARGEST + _TOP) / 2

Hole = tuple[Fraction, Fraction]


def is_large(x: Fraction) -> bool:
    return abs(x.numerator) >= EXACT * x.denominator


def is_double(x: Fraction) -> bool:
    return abs(x) <= _LARGEST and Fraction(float(x)) == x


def at_least(x: Fraction) -> Fraction:
    """The smallest double that is not below x."""
    if abs(x) > _LARGEST:
        return max(x, _TOP) if x > 0 else -_LARGEST
    near = float(x)
    return Fraction(near if Fraction(near) >= x else math.nextafter(near, math.inf))


def inside(x: Fraction, sign: int) -> Fraction:
    """The double nearest to x on that side, x itself if it is one."""
    return sign * at_least(sign * x)


def beyond(x: Fraction, sign: int) -> Fraction:
    """What is further on that side is read as something that is."""
    if is_large(x):
        return sign * _above(sign * x)
    near = float(x)
    return (Fraction(near) + Fraction(math.nextafter(near, sign * math.inf))) / 2


def _above(x: Fraction) -> Fraction:
    low, high = -at_least(-x), at_least(x)
    if low == high and abs(x) <= _LARGEST:
        high = _TOP if x == _LARGEST else Fraction(math.nextafter(float(x), math.inf))
    return max(x, (max(low, -_TOP) + min(high, _TOP)) / 2)


@lru_cache(maxsize=1 << 16)
def hole(x: Fraction) -> Hole:
    """What is x or is read as x, both ends included."""
    return (beyond(x, -1), beyond(x, +1)) if not is_large(x) or is_double(x) else (x, x)


def written(x: Fraction) -> frozenset[Fraction]:
    """The decimals that stand for x where they have a point: a large one must be a double, and may
    be as short as it is printed.

    >>> sorted(map(int, written(Fraction(1e23))))
    [99999999999999991611392, 100000000000000000000000]
    """
    if not is_large(x):
        return frozenset({x})
    return frozenset({x, Fraction(repr(float(x)))}) if is_double(x) else frozenset()
