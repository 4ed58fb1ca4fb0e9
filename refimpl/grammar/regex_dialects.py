"""What one family of regular expressions understands by the same letters, as data.

Sources: ECMA-262 section 22.2.1 (Patterns) and the documentation of `re`.  Python's classes are
Unicode's, of a version that changes with Python: they are read off Python itself.

>>> len(ECMA.digit), len(python_dialect().digit) > 50     # 0 to 9; and those of all other scripts
(1, True)
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from refimpl.errors import UnsupportedError
from refimpl.grammar import charset as cs
from refimpl.grammar.charset import CharSet

WORD = cs.union(cs.charset((48, 57), (65, 90), (97, 122)), cs.of("_"))
DIGIT = cs.charset((48, 57))


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """What one family of regular expressions understands by the same letters."""

    name: str
    digit: CharSet
    word: CharSet
    space: CharSet
    line_ends: CharSet
    dollar: str
    python: bool


ECMA = Dialect(
    name="ECMA-262",
    digit=DIGIT,
    word=WORD,
    space=cs.union(
        cs.charset((9, 13), (0x2000, 0x200A)),
        cs.of(" \u00a0\u1680\u2028\u2029\u202f\u205f\u3000\ufeff"),
    ),
    line_ends=cs.of("\n\r\u2028\u2029"),
    dollar="end",
    python=False,
)


@cache
def python_dialect() -> Dialect:
    """Python's classes are Unicode's, so they are read off Python itself."""
    return Dialect(
        name="Python",
        digit=_matched(r"\d+"),
        word=_matched(r"\w+"),
        space=_matched(r"\s+"),
        line_ends=cs.of("\n"),
        dollar="line_end",
        python=True,
    )


@cache
def _every_character() -> str:
    return "".join(chr(c) for lo, hi in cs.ALL for c in range(lo, hi + 1))


def _matched(pattern: str) -> CharSet:
    return _members(m.group() for m in re.finditer(pattern, _every_character()))


def _members(runs: Iterable[str]) -> CharSet:
    """Runs of neighbours in the list of all characters skip nothing but the surrogates."""
    return cs.charset(*((ord(run[0]), ord(run[-1])) for run in runs))


@cache
def unicode_property(name: str) -> CharSet:
    """The characters with a Unicode property, as the `regex` package knows them."""
    import regex

    try:
        pattern = regex.compile(rf"\p{{{name}}}+")
    except regex.error:
        raise UnsupportedError(f"\\p{{{name}}} is not a Unicode property known here") from None
    return _members(m.group() for m in pattern.finditer(_every_character()))
