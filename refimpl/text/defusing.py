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
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

OPENING, CLOSING = "\ufdd0", "\ufdd1"


class Defuser:
    """Knows the markers.  `hidden`, in every method, collects what the stand-ins stand for."""

    def __init__(self, markers: Iterable[str]) -> None:
        whole = sorted(filter(None, markers), key=len, reverse=True)
        self.beginnings = {text[:i] for text in whole for i in range(1, len(text))}
        self.endings = {text[i:] for text in whole for i in range(1, len(text))}
        self.longest = max(map(len, whole), default=0)
        self.marker = re.compile("|".join(map(re.escape, [*whole, OPENING, CLOSING])))

    def hide(self, value: Any, hidden: list[str]) -> Any:
        """The same value with stand-ins in every string in it."""
        if isinstance(value, str):
            return self.hide_text(value, hidden)
        if isinstance(value, Mapping):
            return {self.hide(key, hidden): self.hide(part, hidden) for key, part in value.items()}
        if isinstance(value, list | tuple):
            return [self.hide(part, hidden) for part in value]
        return value

    def hide_text(self, text: str, hidden: list[str]) -> str:
        core = text.strip()  # a template may strip its values, so white space at an end is no end
        if not core:
            return text
        before, _, after = text.partition(core)
        start, stop = self.edges(core)
        middle = self.marker.sub(lambda match: stand_in(match[0], hidden), core[start:stop])
        ends = [stand_in(end, hidden) for end in (core[:start], core[stop:])]
        return before + ends[0] + middle + ends[1] + after

    def edges(self, core: str) -> tuple[int, int]:
        """Where a marker's ending at the front stops, and where one's beginning at the back
        starts."""
        lengths = range(min(self.longest - 1, len(core)), 0, -1)
        start = next((n for n in lengths if core[:n] in self.endings), 0)
        length = next((n for n in lengths if core[-n:] in self.beginnings), 0)
        return start, max(start, len(core) - length)


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
