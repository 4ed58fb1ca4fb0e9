"""What a step is, before it becomes arrays: who computes which tokens, and who draws from the end.

Shares, outcomes and outputs are made for every request of every step, so they are plain and small:
nobody changes one, but freezing them would cost more than the rest of a step.

>>> from refimpl.engine.request import Request
>>> from refimpl.sampling import SamplingParams
>>> a = Request(id="a", prompt=(1, 2, 3), params=SamplingParams())
>>> Share(request=a, start=0, n=2, draws=()).end       # a chunk: nothing is drawn from its end
2
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from refimpl.engine.request import Finish, Request
from refimpl.errors import RefimplError
from refimpl.kv.lease import Move
from refimpl.sampling import Sampled
from refimpl.sampling.verify import Draft


@dataclass(slots=True, eq=False)
class Share:
    """One request's share of a step: its tokens start .. start + n - 1.

    `draws` are those who get a token from the logits of the last one: nobody, if tokens are left to
    compute; else the request, with the samples that are forked from it when its prompt is done.
    """

    request: Request
    start: int
    n: int
    draws: tuple[Request, ...]
    scored: range = range(0)  # positions whose logits say how probable the next prompt token was
    pending: bool = False  # its last token is still to be drawn, by the step before
    draft: Draft | None = None  # guesses at what follows, computed beside it

    @property
    def end(self) -> int:
        return self.start + self.n

    @property
    def n_draft(self) -> int:
        return 0 if self.draft is None else len(self.draft)


@dataclass(kw_only=True, eq=False)
class Step:
    """Shares in order, and the moves of blocks to be made before them, with whom each is for."""

    budget: int  # tokens not yet given to anybody
    by_id: dict[str, Share] = field(default_factory=dict)
    moves: list[tuple[Request, Move]] = field(default_factory=list)
    preempted: list[Request] = field(default_factory=list)
    lost: list[tuple[Request, RefimplError]] = field(default_factory=list)  # by a move that failed

    def add(self, share: Share) -> None:
        """From now on its tokens count as computed, and those it draws as tokens."""
        request = share.request
        self.by_id[request.id] = share
        self.budget -= share.n
        request.n_computed = share.start + share.n
        for drawer in share.draws:
            drawer.n_pending += 1

    def withdraw(self, request: Request) -> None:
        """Take back what the request was given, if anything.

        Its moves stay: carried out in order, before anything is computed, they do no harm.
        """
        if share := self.by_id.pop(request.id, None):
            self.budget += share.n
            request.n_computed = share.start
            for drawer in share.draws:
                drawer.n_pending -= 1

    @property
    def shares(self) -> list[Share]:
        return list(self.by_id.values())

    @property
    def draws(self) -> list[Request]:
        """Everyone who gets a token, in the order in which they are drawn."""
        return [request for share in self.by_id.values() for request in share.draws]


@dataclass(slots=True, eq=False)
class Outcome:
    """What became of one share: a token (or an error) for each draw, or an error for the whole.

    With a draft there is one draw, and a token for each node of its `path` and one more.
    """

    sampled: list[Sampled | RefimplError] = field(default_factory=list)
    path: list[int] = field(default_factory=list)  # nodes of the draft that were right
    prompt_scores: Sequence[tuple[int, Sampled]] = ()
    error: RefimplError | None = None


@dataclass(slots=True, eq=False)
class Output:
    """News of one request: a token, its end, or both."""

    request: Request
    sampled: Sampled | None = None
    text: str = ""  # what it added to the visible text
    finish: Finish | None = None
