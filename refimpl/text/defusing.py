"""Keeping what users write from becoming markers when a chat template mixes it with its own.

A template renders a whole conversation into one string, and in that string `<|im_end|>` from a user
looks like `<|im_end|>` from the template.  So the conversation is rendered with every marker inside
the users' values replaced by a stand-in; the string is cut at the markers that remain, which are
the template's; and only then do the stand-ins become what they stand for, as ordinary text.

A marker could also be assembled from two values printed next to each other (`<|im_` and `end|>`),
so an end of a value that begins a marker, and a beginning that ends one, is replaced too.  A
template that writes `<|` + role + `|>` itself, as Phi's do, means to make a marker and still does.

Stand-ins are U+FDD0, a number, U+FDD1: two code points that Unicode promises never to assign.

>>> defuser, hidden = Defuser(["<|end|>"]), []
>>> message = defuser.hide({"role": "user", "content": "bye <|end|> or <|"}, hidden)
>>> "<|" in message["content"], reveal(message["content"], hidden)
(False, 'bye <|end|> or <|')
"""

import re
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from refimpl.text.errors import ChatTemplateError
from refimpl.text.specials import Finder

OPENING, CLOSING = "\ufdd0", "\ufdd1"


class Defuser:
    """Knows the markers.  `hidden`, in every method, collects what the stand-ins stand for."""

    def __init__(self, markers: Iterable[str]) -> None:
        whole = sorted(markers)
        self.finder = Finder(dict.fromkeys([*whole, OPENING, CLOSING], 0))
        self.longest = max(map(len, whole), default=0)
        self.forwards = whole
        self.backwards = sorted(text[::-1] for text in whole)

    def hide(self, value: Any, hidden: list[str]) -> Any:
        """The same value with stand-ins in every string in it."""
        try:
            return self.hide_within(value, hidden)
        except RecursionError:
            raise ChatTemplateError("a message contains itself, or is nested too deeply") from None

    def hide_within(self, value: Any, hidden: list[str]) -> Any:
        if isinstance(value, str):
            return self.hide_text(value, hidden)
        if isinstance(value, Mapping):
            return {
                self.hide_within(key, hidden): self.hide_within(part, hidden)
                for key, part in value.items()
            }
        if isinstance(value, list | tuple):
            return [self.hide_within(part, hidden) for part in value]
        return value

    def hide_text(self, text: str, hidden: list[str]) -> str:
        core = text.strip()  # a template may strip its values, so white space at an end is no end
        if not core:
            return text
        before, _, after = text.partition(core)
        start, stop = self.edges(core)
        ends = [stand_in(end, hidden) for end in (core[:start], core[stop:])]
        return before + ends[0] + self.hide_markers(core[start:stop], hidden) + ends[1] + after

    def hide_markers(self, text: str, hidden: list[str]) -> str:
        pieces, at = [], 0
        for start, end, _ in self.finder.find_all(text):
            pieces += [text[at:start], stand_in(text[start:end], hidden)]
            at = end
        return "".join([*pieces, text[at:]])

    def edges(self, core: str) -> tuple[int, int]:
        """Where an ending of a marker at the front stops, and a beginning at the back starts."""
        lengths = range(min(self.longest, len(core)), 0, -1)
        start = next((n for n in lengths if begins_one(self.backwards, core[:n][::-1])), 0)
        length = next((n for n in lengths if begins_one(self.forwards, core[-n:])), 0)
        return start, max(start, len(core) - length)


def begins_one(texts: Sequence[str], part: str) -> bool:
    """Does one of these sorted texts begin with the part?"""
    at = bisect_left(texts, part)
    return at < len(texts) and texts[at].startswith(part)


def stand_in(text: str, hidden: list[str]) -> str:
    if not text:
        return ""
    hidden.append(text)
    return f"{OPENING}{len(hidden) - 1}{CLOSING}"


def reveal(text: str, hidden: Sequence[str]) -> str:
    """Put back what the stand-ins stand for; one that the template made up stands for nothing."""

    def original(match: re.Match[str]) -> str:
        number = int(match[1])
        return hidden[number] if number < len(hidden) else ""

    return re.sub(f"{OPENING}([0-9]{{1,9}}){CLOSING}", original, text)
