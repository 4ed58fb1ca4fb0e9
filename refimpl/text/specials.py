"""Finding the tokens that a text spells out as markers, such as `<|im_end|>`, before anything else.

Markers are matched on the text itself, leftmost first, and of those that start at the same place
the longest.  Two kinds must be kept apart.  User-defined tokens are ordinary text that is always
one token: they are always found.  Control tokens carry authority (a chat turn ends at
`<|im_end|>`), so text from users is encoded without them, `parse_special=False`, and cannot forge
one.

A token may swallow the white space beside it (`lstrip`, `rstrip`; Phi-3's markers do), or count
only between non-letters (`whole_word`, tokenizer.json's `single_word`).

Source: `AddedVocabulary` of Hugging Face tokenizers; `tokenizer_st_partition` of llama.cpp, which
takes the longest marker of the whole text first: the same unless one marker's end begins another.

>>> v = Vocabulary(alphabet="bytes", merge_by="rank", tokens=("<s>", "<sep>", "a"), types=(3, 4, 1))
>>> Specials(v).split("a<s>b <sep>")
['a', 0, 'b ', 1]
>>> Specials(v).split("a<s>b <sep>", parse_special=False)
['a<s>b ', 1]
"""

import re
from collections.abc import Iterator, Mapping, Set
from functools import cached_property

from refimpl.text.vocabulary import TokenType, Vocabulary

Fragment = str | int
"""Ordinary text, or the id of a marker."""

WHITE_SPACE = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
"""Unicode's White_Space; `str.isspace` also holds for U+001C to U+001F."""


class Specials:
    """The markers of a vocabulary, and both ways to read a text."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.defined = vocabulary.texts_of(TokenType.USER_DEFINED)
        self.control = vocabulary.texts_of(TokenType.CONTROL, TokenType.UNKNOWN)

    def split(self, text: str, *, parse_special: bool = True) -> list[Fragment]:
        """Cut text into stretches of ordinary text and ids of markers."""
        finder = self.any_marker if parse_special else self.defined_marker
        return list(self.fragments(text, finder))

    @cached_property
    def any_marker(self) -> "Finder":
        return Finder({**self.defined, **self.control}, self.vocabulary.whole_word)

    @cached_property
    def defined_marker(self) -> "Finder":
        return Finder(self.defined, self.vocabulary.whole_word)

    def fragments(self, text: str, finder: "Finder") -> Iterator[Fragment]:
        start = 0
        for marker_start, marker_end, id in finder.find_all(text):
            before = text[start:marker_start]
            if id in self.vocabulary.lstrip:
                before = before.rstrip(WHITE_SPACE)
            if before:
                yield before
            yield id
            start = marker_end
            if id in self.vocabulary.rstrip:
                start = end_of_spaces(text, start)
        if start < len(text):
            yield text[start:]


class Finder:
    """Finds markers: stop where one may begin, and look up what is there, the longest first."""

    def __init__(self, markers: Mapping[str, int], whole_word: Set[int] = frozenset()) -> None:
        self.markers = markers
        self.whole_word = whole_word
        self.lengths = sorted({len(text) for text in markers}, reverse=True)
        beginnings = "".join(sorted({text[0] for text in markers}))
        self.beginning = re.compile(f"[{re.escape(beginnings)}]" if markers else "(?!)")

    def find_all(self, text: str) -> Iterator[tuple[int, int, int]]:
        """(start, end, id) of each marker, none overlapping the one before."""
        at = 0
        while candidate := self.beginning.search(text, at):
            start = candidate.start()
            end, id = self.longest_at(text, start)
            if end > start:
                yield start, end, id
            at = max(end, start + 1)

    def longest_at(self, text: str, start: int) -> tuple[int, int]:
        """(end, id) of the longest marker that starts there; the end is the start if none does."""
        for length in self.lengths:
            end = start + length
            id = self.markers.get(text[start:end])
            if id is not None and (id not in self.whole_word or stands_alone(text, start, end)):
                return end, id
        return start, -1


def stands_alone(text: str, start: int, end: int) -> bool:
    """Does no letter, digit or underscore touch this stretch of text?"""
    return re.search(r"\w", text[max(0, start - 1) : start] + text[end : end + 1]) is None


def end_of_spaces(text: str, start: int) -> int:
    """Where the white space that begins at `start` ends."""
    while start < len(text) and text[start] in WHITE_SPACE:
        start += 1
    return start
