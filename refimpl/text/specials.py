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
from collections.abc import Iterator
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
    """The markers of a vocabulary, as one expression each for both ways to read a text."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.defined = vocabulary.texts_of(TokenType.USER_DEFINED)
        self.control = vocabulary.texts_of(TokenType.CONTROL, TokenType.UNKNOWN)

    def split(self, text: str, *, parse_special: bool = True) -> list[Fragment]:
        """Cut text into stretches of ordinary text and ids of markers."""
        pattern = self.any_marker if parse_special else self.defined_marker
        return list(self.fragments(text, pattern)) if pattern else [text]

    @cached_property
    def any_marker(self) -> re.Pattern[str] | None:
        return self.pattern_of({**self.defined, **self.control})

    @cached_property
    def defined_marker(self) -> re.Pattern[str] | None:
        return self.pattern_of(self.defined)

    def pattern_of(self, markers: dict[str, int]) -> re.Pattern[str] | None:
        """Alternatives are tried in order, so the longest comes first."""
        longest_first = sorted(markers.items(), key=lambda marker: (-len(marker[0]), marker[1]))
        alternatives = [self.alternative(text, id) for text, id in longest_first]
        return re.compile("|".join(alternatives)) if alternatives else None

    def alternative(self, text: str, id: int) -> str:
        literal = re.escape(text)
        return rf"(?<!\w){literal}(?!\w)" if id in self.vocabulary.whole_word else literal

    def fragments(self, text: str, pattern: re.Pattern[str]) -> Iterator[Fragment]:
        start = 0
        for match in pattern.finditer(text):
            id = self.vocabulary.ids[match[0]]
            before = text[start : match.start()]
            if id in self.vocabulary.lstrip:
                before = before.rstrip(WHITE_SPACE)
            if before:
                yield before
            yield id
            start = match.end()
            if id in self.vocabulary.rstrip:
                start = end_of_spaces(text, start)
        if start < len(text):
            yield text[start:]


def end_of_spaces(text: str, start: int) -> int:
    """Where the white space that begins at `start` ends."""
    while start < len(text) and text[start] in WHITE_SPACE:
        start += 1
    return start
