"""A regular expression that came with a file is a program by a stranger.

tokenizer.json may carry any expression.  Three things can go wrong with one: it does not compile,
it compiles into gigabytes (a counted repetition is unrolled, and `(a{1000}){1000}` is a million of
them), or it needs exponential time on some text.  The first two are refused here, before compiling;
the third is bounded by a clock, the one place in this package where time decides anything, and then
only between a result and an error.

The expressions are Oniguruma's, which tokenizers uses; `regex` reads them the same way but for
`\\w` and `\\b`, where Oniguruma counts ²³¹¼½¾ as word characters, and `regex` U+200C and U+200D.

>>> stranger(" ?[a-z]+").patience
30.0
>>> stranger("(((a{1000}){1000}){1000})")
Traceback (most recent call last):
...
refimpl.text.errors.TokenizerError: the pre-tokeniser pattern '(((a{1000}){1000}){1000})' unrolls...
"""

import re
from math import prod

from refimpl.text.errors import TokenizerError
from refimpl.text.splitting import Behavior, Split, compiled

LONGEST_PATTERN = 20_000
MOST_COPIES = 10_000
PATIENCE_SECONDS = 30.0

_REPETITION = re.compile(r"\{(\d{1,20})")
_RECURSION = re.compile(r"\(\?(?:R|[+-]?\d|&|P>)")


def stranger(pattern: str, behavior: Behavior = "isolated", inverted: bool = False) -> Split:
    """A `Split` by a pattern that was read from a file, or the reason why there can be none."""
    if fault := _fault(pattern):
        raise TokenizerError(f"the pre-tokeniser pattern {pattern[:60]!r} {fault}")
    return Split(pattern=pattern, behavior=behavior, inverted=inverted, patience=PATIENCE_SECONDS)


def _fault(pattern: str) -> str | None:
    if len(pattern) > LONGEST_PATTERN:
        return f"is {len(pattern)} characters long, the most allowed is {LONGEST_PATTERN}"
    copies = prod(max(1, int(count)) for count in _REPETITION.findall(pattern))
    if copies > MOST_COPIES:
        return f"unrolls into more than {MOST_COPIES} copies"
    if _RECURSION.search(pattern):
        return "calls itself, which no tokenizer needs"
    return _compile_fault(pattern)


def _compile_fault(pattern: str) -> str | None:
    from regex import error

    try:
        compiled(pattern)
    except (error, RecursionError, OverflowError, ValueError) as fault:
        return f"is not a valid expression: {fault}"
    return None
