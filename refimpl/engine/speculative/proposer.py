"""Who guesses: anything that, asked about some requests, returns a draft for each, or none.

A proposer that remembers something about a request keeps it until `forget_the_gone`, which is
called after every step.

`Recital` knows the text by heart, which makes it the best proposer there can be, and a way to
measure what verification costs.

>>> from refimpl.sampling import SamplingParams
>>> request = Request(id="a", prompt=(1, 2), params=SamplingParams())
>>> [draft] = Recital({"a": [1, 2, 3, 4, 5, 6]}).propose([Ask(request, 3)])
>>> draft.tokens
(3, 4, 5)
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from refimpl.engine.request import Request, Status
from refimpl.sampling.verify import Draft


class Ask(NamedTuple):
    """How many tokens, at most, are wanted after the last known one of a request."""

    request: Request
    n: int


@runtime_checkable
class Proposer(Protocol):
    def propose(self, asks: Sequence[Ask]) -> list[Draft | None]:
        """A draft of at most n tokens for each."""

    def forget_the_gone(self) -> None:
        """A step is over: let go of what belongs to requests that do not run any more."""


class Recital:
    """The whole text of each request is known, by its id."""

    def __init__(self, texts: Mapping[str, Sequence[int]]) -> None:
        self.texts = texts

    def propose(self, asks: Sequence[Ask]) -> list[Draft | None]:
        drafts: list[Draft | None] = []
        for request, n in asks:
            known = len(request.tokens)
            tokens = tuple(self.texts.get(request.id, ())[known : known + n])
            drafts.append(Draft(tokens=tokens) if tokens else None)
        return drafts

    def forget_the_gone(self) -> None:
        """The texts are the caller's."""


def is_gone(request: Request) -> bool:
    return request.status is not Status.RUNNING
