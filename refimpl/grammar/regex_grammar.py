"""A pattern, or a list of choices, as a grammar for the machine: states without a stack.

Text is read as UTF-8.  A local state is a node of the regex algebra and the part of a character
read so far, which is kept as the range of code points still possible; a prefix lives as long as one
of them leads to a live node.

>>> from refimpl.grammar.machine import Machine
>>> m = Machine(choices(["yes", "no"]))
>>> [m.accepts(s) if (s := m.advance(m.start, w)) else None for w in (b"yes", b"n", b"ye5")]
[True, False, None]
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from refimpl.errors import InputError
from refimpl.grammar import charset as cs
from refimpl.grammar.literal import Char, Position, read
from refimpl.grammar.machine import Go, Row, Ways
from refimpl.grammar.regex import MAX_STATES, Node, Regexes
from refimpl.grammar.regex_dialects import Dialect, python_dialect
from refimpl.grammar.regex_language import full_match


@dataclass(frozen=True)
class Local:
    node: Node
    position: Position = ()


class RegexGrammar:
    """Texts of a regular language, from the first byte to the last."""

    def __init__(self, regexes: Regexes, node: Node):
        if not regexes.is_live(node, MAX_STATES):
            raise InputError("nothing matches this pattern; there is nothing to generate")
        self.r, self.node = regexes, node

    def start(self) -> Local:
        return Local(self.node)

    def row(self, local: Local) -> Row:
        return list(self._steps(local))

    def _steps(self, local: Local) -> Iterator[tuple[int, int, Go]]:
        for byte in range(0x80, 0xC0) if local.position else range(0xF5):
            after = self._after(local, byte)
            if after is not None:
                yield byte, byte, Go(after)

    def _after(self, local: Local, byte: int) -> Local | None:
        if not local.position and byte < 0x80:  # every byte below 0x80 is a character of its own
            return self._at(local.node, byte)
        match read(local.position, byte):
            case Char(c):
                return self._at(local.node, c)
            case None:
                return None
            case part:
                alive = any(self._lives(local.node, lo, hi) for lo, hi in part.ranges)
                return Local(local.node, part.position) if alive else None

    def _at(self, node: Node, code_point: int) -> Local | None:
        after = self.r.step(node, code_point)
        return Local(after) if self.r.is_live(after) else None

    def _lives(self, node: Node, lo: int, hi: int) -> bool:
        row = self.r.row(node)
        ends = [p - 1 for p, _ in row[1:]] + [cs.MAX_CODE_POINT]
        pieces = zip(row, ends, strict=True)
        return any(p <= hi and lo <= end and self.r.is_live(n) for (p, n), end in pieces)

    def resume(self, frame: object, result: object, text: bytes | None) -> None:
        return None

    def result(self, local: Local) -> bool | None:
        return True if local.node.nullable and not local.position else None

    def is_open(self, local: Local, reach: int) -> bool:
        return False

    def alike(self, local: Local, reach: int) -> Local:
        return local

    def ways(self, local: Local, frame: object) -> Ways | None:
        """Of the characters that do the same, the one with the fewest bytes."""
        if local.position:
            return None
        row = [*self.r.row(local.node), (cs.MAX_CODE_POINT + 1, self.r.EMPTY)]
        pieces = ((cs.charset((lo, end - 1)), n) for (lo, n), (end, _) in pairwise(row))
        return [(chr(s[0][0]).encode(), Go(Local(n))) for s, n in pieces if s and self.r.is_live(n)]


def pattern(text: str, dialect: Dialect | None = None) -> RegexGrammar:
    """Texts that match from beginning to end; Python's dialect unless another is given."""
    regexes = Regexes()
    return RegexGrammar(regexes, full_match(regexes, text, dialect or python_dialect()))


def choices(words: Sequence[str]) -> RegexGrammar:
    """One of these texts."""
    regexes = Regexes()
    return RegexGrammar(regexes, regexes.words(words))
