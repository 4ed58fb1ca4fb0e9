"""Sets of characters, as sorted ranges of code points.

A text is a sequence of Unicode scalar values (Unicode 15, section 3.9, D76): code points without
the surrogates U+D800..U+DFFF, which UTF-8 cannot spell.  Every set here is normalised: ranges are
inclusive, sorted, disjoint, not adjacent and free of surrogates, so equal sets are equal tuples.

>>> digits = charset((48, 57))
>>> union(digits, charset((58, 60)))
((48, 60),)
>>> intersect(complement(digits), charset((40, 60)))
((40, 47), (58, 60))
"""

from bisect import bisect_right

CharSet = tuple[tuple[int, int], ...]
MAX_CODE_POINT = 0x10FFFF
_SURROGATES = (0xD800, 0xDFFF)


def charset(*ranges: tuple[int, int]) -> CharSet:
    """The normalised set of these inclusive ranges."""
    out: list[tuple[int, int]] = []
    for lo, hi in sorted(_without_surrogates(ranges)):
        if out and lo <= out[-1][1] + 1:
            out[-1] = (out[-1][0], max(hi, out[-1][1]))
        else:
            out.append((lo, hi))
    return tuple(out)


def _without_surrogates(ranges: tuple[tuple[int, int], ...]) -> list[tuple[int, int]]:
    first, last = _SURROGATES
    pieces: list[tuple[int, int]] = []
    for lo, hi in ranges:
        if hi < first or lo > last:
            pieces.append((lo, hi))
        else:
            pieces += [(lo, first - 1), (last + 1, hi)]
    return [(lo, hi) for lo, hi in pieces if lo <= hi]


ALL: CharSet = ((0, 0xD7FF), (0xE000, MAX_CODE_POINT))


def of(characters: str) -> CharSet:
    """The set of the characters of a string."""
    return charset(*((ord(c), ord(c)) for c in characters))


def union(*sets: CharSet) -> CharSet:
    return charset(*(r for s in sets for r in s))


def complement(s: CharSet) -> CharSet:
    bounds = [-1, *(x for lo, hi in s for x in (lo, hi)), MAX_CODE_POINT + 1]
    gaps = zip(bounds[::2], bounds[1::2], strict=True)
    return charset(*((hi + 1, lo - 1) for hi, lo in gaps if hi + 1 <= lo - 1))


def intersect(a: CharSet, b: CharSet) -> CharSet:
    return charset(*((max(x, u), min(y, v)) for x, y in a for u, v in b if max(x, u) <= min(y, v)))


def contains(s: CharSet, code_point: int) -> bool:
    i = bisect_right(s, (code_point, MAX_CODE_POINT)) - 1
    return i >= 0 and s[i][0] <= code_point <= s[i][1]
