"""Steps inside a string, as ranges: what bytes do, given what characters do.

A row is a step function over code points: sorted (first code point, target), a falsy target being
dead.  Most characters of a row do the same, so whole ranges of bytes can be answered together.
"""

from bisect import bisect_right
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from refimpl.grammar import charset as cs
from refimpl.grammar.json_states import Text
from refimpl.grammar.literal import Part, Position
from refimpl.grammar.machine import Action, Go


def piece_of(row: Any, code_point: int) -> int:
    """The index of the piece of a step function that holds a code point."""
    return bisect_right(row, code_point, key=lambda piece: piece[0]) - 1


def target_at(row: Any, code_point: int) -> Any:
    return row[piece_of(row, code_point)][1]


def targets_of(row: Any, ranges: cs.CharSet) -> list[Any]:
    """The distinct targets of the characters in some ranges."""
    pieces = (
        row[k][1] for lo, hi in ranges for k in range(piece_of(row, lo), piece_of(row, hi) + 1)
    )
    return list(dict.fromkeys(pieces))


def ascii_steps(row: Any, make: Any) -> Iterator[tuple[int, int, Action]]:
    """The steps of the characters that are one byte, less the quote and the backslash."""
    for k, (point, target) in enumerate(row):
        last = min(row[k + 1][0] - 1 if k + 1 < len(row) else 0x7F, 0x7F)
        if target is None or target == () or point > 0x7F or last < 0x20:
            continue
        action = Go(make(target, ()))
        cuts = [max(point, 0x20) - 1, *(c for c in (0x22, 0x5C) if point <= c <= last), last + 1]
        yield from ((a + 1, b - 1, action) for a, b in pairwise(cuts) if a + 1 < b)


def source_of(local: Any) -> Any:
    return local.threads if isinstance(local, Text) else local.state


def tail_of(left: int) -> Position:
    """`left` continuation bytes are to come, and do not matter."""
    return ("tail", left, 0x80, 0xBF) if left else ()


def rest_of(part: Part) -> Position:
    """The continuation bytes of a UTF-8 prefix, where all its characters do the same."""
    left = int(part.position[2])
    shift = 6 * (left - 1)
    lo, hi = part.ranges[0][0] >> shift, part.ranges[-1][1] >> shift
    return ("tail", left, 0x80 | lo & 0x3F, 0x80 | hi & 0x3F)


# First bytes of UTF-8, and what must follow them (Unicode 15, table 3-7).
LEADS: tuple[tuple[int, int, Position], ...] = (
    (0xC2, 0xDF, tail_of(1)),
    (0xE0, 0xE0, ("tail", 2, 0xA0, 0xBF)),
    (0xE1, 0xEC, tail_of(2)),
    (0xED, 0xED, ("tail", 2, 0x80, 0x9F)),
    (0xEE, 0xEF, tail_of(2)),
    (0xF0, 0xF0, ("tail", 3, 0x90, 0xBF)),
    (0xF1, 0xF3, tail_of(3)),
    (0xF4, 0xF4, ("tail", 3, 0x80, 0x8F)),
)
