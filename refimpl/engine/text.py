"""A request's text as it grows: half characters and half stop strings are held back.

A stop string may lie across tokens, so text that could be its beginning waits for the next token.
The pieces, joined, are the whole text; a stop string and what follows it are never part of it.

>>> class Letters:                              # a tokenizer for the example: token 0 is "a"
...     def push(self, token): return chr(ord("a") + token)
...     def flush(self): return ""
>>> stream = TextStream(Letters(), stops=("cd",))
>>> [stream.push(token) for token in (1, 2, 0, 2, 3)], stream.stopped
(['b', '', 'ca', '', ''], True)
"""

from typing import Protocol, runtime_checkable

from refimpl.model.stream import StopWatch


@runtime_checkable
class Decoder(Protocol):
    """`refimpl.text.IncrementalDecoder`, or anything like it."""

    def push(self, token: int, /) -> str: ...

    def flush(self) -> str: ...


class TextStream:
    """From tokens to pieces of text that no later token can take back."""

    def __init__(self, decoder: Decoder, *, stops: tuple[str, ...] = ()) -> None:
        self.decoder = decoder
        self.watch = StopWatch(stops)

    @property
    def stopped(self) -> bool:
        """Has a stop string been completed?"""
        return self.watch.stopped

    def push(self, token: int, *, hidden: bool = False, last: bool = False) -> str:
        """What this token makes visible.  A hidden one (end of generation) has no text."""
        text = "" if hidden else self.watch.push(self.decoder.push(token))
        if last and not self.stopped:
            text += self.watch.push(self.decoder.flush())
        return text + self.watch.flush() if last and not self.stopped else text
