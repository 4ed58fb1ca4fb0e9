"""Prompt lookup: what followed the last few tokens when they stood in the text before?

Summaries, edits and answers quote their prompt, and tables and stories repeat themselves.  The last
n tokens are searched for in all that came before, the longest n first, and what followed them where
they stood first is the guess.  The copy may run into itself, as in LZ77: after `a b a b a` it
goes on for ever.

No model and no state; this is the plain version that `suffix` must equal, where its n is unbounded.

Source: Saxena, Prompt Lookup Decoding (2023); vLLM's `ngram` proposer also takes the first place.

>>> guess([1, 2, 3, 9, 8, 1, 2], 3, longest=4)          # 1 2 was followed by 3 9 8
(3, 9, 8)
>>> guess([7, 5, 6, 5, 6], 4, longest=4)
(5, 6, 5, 6)
>>> guess([1, 2, 3], 4, longest=4)
()
"""

from collections.abc import Sequence

from refimpl.engine.speculative.proposer import Ask
from refimpl.errors import InputError
from refimpl.sampling.verify import Draft


class NGram:
    """The last tokens, from `longest` down to `shortest` of them, looked up in the text."""

    def __init__(self, *, longest: int = 4, shortest: int = 2) -> None:
        if not 1 <= shortest <= longest:
            raise InputError(f"an n-gram of {shortest} to {longest} tokens cannot be looked up")
        self.longest = longest
        self.shortest = shortest

    def propose(self, asks: Sequence[Ask]) -> list[Draft | None]:
        return [self.draft(request.tokens, n) for request, n in asks]

    def draft(self, tokens: list[int], n: int) -> Draft | None:
        found = guess(tokens, n, longest=self.longest, shortest=self.shortest)
        return Draft(tokens=found) if found else None

    def forget_the_gone(self) -> None:
        """Nothing is remembered."""


def guess(tokens: list[int], n: int, *, longest: int, shortest: int = 1) -> tuple[int, ...]:
    """n tokens, or none if no ending of the text stands in it before."""
    for length in range(min(longest, len(tokens) - 1), shortest - 1, -1):
        ending = tokens[-length:]
        for start in range(len(tokens) - length):
            if tokens[start : start + length] == ending:
                return copied(tokens, start + length, n)
    return ()


def copied(tokens: list[int], start: int, n: int) -> tuple[int, ...]:
    """n tokens from `start` on, which runs into what it copies."""
    text = list(tokens)
    for i in range(start, start + n):
        text.append(text[i])
    return tuple(text[len(tokens) :])
