"""Drafts into a step: for whom, how long, and at nobody's cost.

A request that will draw its next token may have a draft beside it.  Drafts get what is left when
everybody has been served: the rest of the step's budget, and slots that are free, so that no guess
delays a prompt, preempts a request or evicts a cached block.  A draft that does not fit is cut.

Mirostat's requests are not guessed for: their draws depend on more than their tokens.
"""

from refimpl.engine.speculative.length import Fixed, Length
from refimpl.engine.speculative.proposer import Ask, Proposer
from refimpl.engine.speculative.statistics import Statistics
from refimpl.engine.step import Outcome, Share, Step
from refimpl.sampling.verify import Draft


class Speculator:
    """A proposer, how far it may guess, and what came of it."""

    def __init__(self, proposer: Proposer, length: Length | None = None) -> None:
        self.trees = True  # False: the backend attends to chains only, so a tree is cut to one
        self.proposer = proposer
        self.length = length or Fixed(4)
        self.statistics = Statistics()

    def guess(self, step: Step) -> None:
        """Give drafts to the shares of a step that has just been scheduled."""
        wanted = [(share, self.n_wanted(share)) for share in step.shares if may_guess(share)]
        asked = [(share, n) for share, n in wanted if n > 0]
        if not asked or not step.budget:
            return
        drafts = self.proposer.propose([Ask(share.request, n) for share, n in asked])
        for (share, _), draft in zip(asked, drafts, strict=True):
            if draft is not None:
                self.give(step, share, draft if self.trees else draft.trunk)

    def give(self, step: Step, share: Share, draft: Draft) -> None:
        """As much of the draft as there is room for."""
        n = min(len(draft), step.budget, share.request.lease.n_spare)
        if n > 0:
            moves = share.request.lease.grow(n)
            assert not moves, "the share itself has made the last block its own"
            share.draft = draft.first(n)
            step.budget -= n

    def n_wanted(self, share: Share) -> int:
        """A step adds a token of the model's own: no guess is worth computing beyond the limit."""
        request = share.request
        return min(self.length.of(request), request.limit - len(request.tokens) - 1)

    def learn(self, step: Step, outcomes: list[Outcome]) -> None:
        """The step is over."""
        for share, outcome in zip(step.shares, outcomes, strict=True):
            if share.draws and outcome.error is None:
                self.count(share, outcome)
        self.length.forget_the_gone()
        self.proposer.forget_the_gone()

    def count(self, share: Share, outcome: Outcome) -> None:
        depth, n_right = share.draft.depth if share.draft else 0, len(outcome.path)
        self.statistics.count(share.n_draft, n_right, depth=depth)
        self.length.learn(share.request, depth, n_right)


def may_guess(share: Share) -> bool:
    """Will this request draw one token, which depends on nothing but its tokens?"""
    request = share.request
    draws_alone = share.draws == (request,) and not share.scored and not share.pending
    return draws_alone and not request.params.mirostat
