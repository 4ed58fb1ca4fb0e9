"""What a program asks of a model, and who can be asked.

An `Ask` goes with the transcript to an executor: the engine in this process or a server.  Both
understand all of it, or refuse by name what they cannot do.

`draw` tells apart the branches of a fork and the programs of a batch: those that ask the same of
the same text still draw numbers of their own.  It is made of the places on the way to the branch
and of nothing else, so no schedule changes it.

>>> draw_of(()), draw_of((0, 2)) == draw_of((0, 2)), draw_of((0, 2)) == draw_of((2, 0))
(0, True, False)
"""

import hashlib
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from refimpl.errors import InputError
from refimpl.lang.choices import OptionScore
from refimpl.lang.handles import Reply
from refimpl.lang.transcript import Transcript

Listener = Callable[[str], None]
"""Told every piece of text as it comes."""


@dataclass(frozen=True, kw_only=True)
class Ask:
    """Go on with the text: for how long, how freely, and under which constraint."""

    max_tokens: int = 128
    stop: tuple[str, ...] = ()
    temperature: float | int = 0.0
    top_p: float | int = 1.0
    seed: int = 0
    draw: int = 0
    regex: str | None = None
    schema: Mapping[str, Any] | bool | None = None
    choices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        asked = [self.regex is not None, self.schema is not None, bool(self.choices)]
        if sum(asked) > 1:
            raise InputError("ask for one of regex, schema and choices: they contradict each other")


@dataclass(frozen=True, kw_only=True)
class Scored:
    """An option as the model would have said it."""

    reply: Reply
    score: OptionScore


@runtime_checkable
class Executor(Protocol):
    """Who answers.  Cancelling a call leaves nothing of it running."""

    async def generate(
        self, said: Transcript, ask: Ask, listener: Listener | None = None
    ) -> Reply: ...

    async def score(
        self, said: Transcript, options: Sequence[str], *, unconditional: bool = False
    ) -> list[Scored]: ...


def draw_of(path: tuple[int, ...]) -> int:
    """A number of 64 bits for a path of places; 0 for the empty one."""
    packed = struct.pack(f"<{len(path)}q", *path)
    return int.from_bytes(hashlib.sha256(packed).digest()[:8], "little") if path else 0
