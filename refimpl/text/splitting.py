"""Cutting text into words before any merging, by regular expressions that a file or a table names.

A tokenizer that merged over the whole text would learn tokens such as `dog.` and `dog!`.  So text
is first cut into words, and merges stay inside a word (Radford et al. 2019, section 2.2).  A rule
is a list of `Split`s; each one cuts every piece that the one before left.  The five behaviours, and
their names, are those of Hugging Face `tokenizers`; the named rules of llama.cpp need only
"isolated".

Invariant: unless a behaviour is "removed", the words joined are the text.

>>> cut("3 dogs!", (Split(pattern=r" ?\\p{L}+"),))
['3', ' dogs', '!']
>>> cut("3 dogs!", (Split(pattern=r" ", behavior="merged_with_next"),))
['3', ' dogs!']
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import chain
from typing import TYPE_CHECKING, Literal, TypeVar

from refimpl.text.errors import TokenizerError
from refimpl.text.memory import Memory

if TYPE_CHECKING:
    from regex import Pattern

Behavior = Literal["isolated", "removed", "merged_with_previous", "merged_with_next", "contiguous"]
Span = tuple[int, int, bool]
"""(start, end, whether the pattern matched it).  Empty spans cut, and are then dropped."""
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Split:
    """What a pattern matches, and what becomes of it: `isolated` makes it a piece of its own.

    `patience` is set on a pattern that came with a file (`refimpl.text.strangers`): the seconds
    that one search may take before it is an error.  It is no part of what the split means.
    """

    pattern: str
    behavior: Behavior = "isolated"
    inverted: bool = False
    patience: float | None = field(default=None, compare=False)

    def __call__(self, text: str) -> list[str]:
        if self.behavior == "isolated":
            return self.isolate(text)
        arranged = ARRANGEMENTS[self.behavior](list(self.spans(text)))
        return [text[start:end] for start, end, _ in arranged if end > start]

    def isolate(self, text: str) -> list[str]:
        """The common case: matches and gaps alike are pieces.  Most patterns leave no gap, and then
        one call of the regex engine is all it takes."""
        pattern = compiled(self.pattern)
        if pattern.groups == 0:
            words: list[str] = self.patiently(pattern.findall, text)
            if sum(map(len, words)) == len(text):
                return list(filter(None, words))
        return [text[start:end] for start, end, _ in self.spans(text) if end > start]

    def spans(self, text: str) -> Iterator[Span]:
        """Matches and the gaps between them, in order."""
        end = 0
        for match_start, match_end in self.patiently(self.matches, text):
            if match_start > end:
                yield end, match_start, self.inverted
            yield match_start, match_end, not self.inverted
            end = match_end
        if end < len(text):
            yield end, len(text), self.inverted

    def matches(self, text: str, timeout: float | None = None) -> list[tuple[int, int]]:
        return [match.span() for match in compiled(self.pattern).finditer(text, timeout=timeout)]

    def patiently(self, search: Callable[..., list[T]], text: str) -> list[T]:
        """Search with the clock running only if a stranger wrote the pattern: it costs a factor
        3."""
        if self.patience is None:
            return search(text)
        try:
            return search(text, timeout=self.patience)
        except (TimeoutError, MemoryError):
            raise TokenizerError(
                f"the pre-tokeniser pattern {self.pattern[:80]!r} did not finish within "
                f"{self.patience:g} s on a text of {len(text)} characters: it backtracks"
            ) from None


def cut(text: str, splits: Sequence[Split]) -> list[str]:
    """Apply each split to every piece that the one before left."""
    pieces = [text] if text else []
    for split in splits:
        pieces = list(chain.from_iterable(map(split, pieces)))
    return pieces


class Cutter:
    """`cut` for many texts: all splits but the first see words, and remember them."""

    def __init__(self, splits: Sequence[Split]) -> None:
        self.first = splits[:1]
        self.later: list[Memory[str]] = [Memory(split) for split in splits[1:]]

    def __call__(self, text: str) -> list[str]:
        pieces: Iterable[str] = cut(text, self.first)
        for memory in self.later:
            pieces = chain.from_iterable(map(memory.__getitem__, pieces))
        return list(pieces)


@cache
def compiled(pattern: str) -> "Pattern[str]":
    """`regex` rather than `re`, for the Unicode classes: \\p{L} letters, \\p{N} numbers, \\p{P}
    ..."""
    import regex

    return regex.compile(pattern)


def contiguous(spans: list[Span]) -> list[Span]:
    """Neighbours of the same kind become one piece."""
    joined: list[Span] = []
    for start, end, matched in spans:
        if joined and joined[-1][2] == matched:
            joined[-1] = (joined[-1][0], end, matched)
        else:
            joined.append((start, end, matched))
    return joined


def merged_with_previous(spans: list[Span]) -> list[Span]:
    """A match ends the piece before it; of several matches in a row only the first does."""
    joined: list[Span] = []
    after_match = False
    for start, end, matched in spans:
        if matched and not after_match and joined:
            joined[-1] = (joined[-1][0], end, False)
        else:
            joined.append((start, end, False))
        after_match = matched
    return joined


def merged_with_next(spans: list[Span]) -> list[Span]:
    """A match begins the piece after it: `merged_with_previous` in a mirror."""
    return mirrored(merged_with_previous(mirrored(spans)))


def mirrored(spans: list[Span]) -> list[Span]:
    return [(-end, -start, matched) for start, end, matched in reversed(spans)]


def removed(spans: list[Span]) -> list[Span]:
    """Only the gaps remain."""
    return [span for span in spans if not span[2]]


ARRANGEMENTS: dict[str, Callable[[list[Span]], list[Span]]] = {
    "isolated": list,
    "removed": removed,
    "merged_with_previous": merged_with_previous,
    "merged_with_next": merged_with_next,
    "contiguous": contiguous,
}
