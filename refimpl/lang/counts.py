"""What an engine did, counted where it is decided: in the steps of its scheduler.

>>> counts = Counts(steps=41, n_prompt=300, n_prefilled=100, n_decoded=72)
>>> round(counts.hit_rate, 3)
0.667
"""

from dataclasses import dataclass, field
from typing import Any

from refimpl.engine.request import Request
from refimpl.engine.scheduler import Scheduler
from refimpl.engine.step import Step


@dataclass(kw_only=True, eq=False)
class CountedRequest(Request):
    """A request that knows how much of its prompt was computed for it, and not for another."""

    n_prefilled: int = field(default=0, init=False)
    is_counted: bool = field(default=False, init=False)

    @property
    def n_spared(self) -> int:
        """Prompt tokens that a cache or a sibling had; none, if preemption cost more."""
        return max(0, self.n_prompt - self.n_prefilled)


@dataclass(kw_only=True)
class Counts:
    """Sums over all steps."""

    steps: int = 0  # in which anything was computed
    draw_steps: int = 0  # in which somebody drew a token
    n_requests: int = 0
    n_prompt: int = 0  # prompt tokens asked for
    n_prefilled: int = 0  # prompt tokens computed
    n_decoded: int = 0  # generated tokens computed
    n_drawn: int = 0

    @property
    def hit_rate(self) -> float:
        """The share of prompt tokens that did not have to be computed."""
        return 1 - self.n_prefilled / self.n_prompt if self.n_prompt else 0.0

    def ask(self, request: Request) -> None:
        """Count a request once, though a sibling that ends adds it again; and only if it works."""
        if isinstance(request, CountedRequest):
            if request.is_counted or request.limit <= request.n_prompt:
                return
            request.is_counted = True
        self.n_requests += 1
        self.n_prompt += request.n_prompt

    def add(self, step: Step) -> None:
        if not step.shares:
            return
        self.steps += 1
        self.draw_steps += any(share.draws for share in step.shares)
        for share in step.shares:
            of_prompt = max(0, min(share.end, share.request.n_prompt) - share.start)
            self.n_prefilled += of_prompt
            if isinstance(share.request, CountedRequest):
                share.request.n_prefilled += of_prompt
            self.n_decoded += share.n - of_prompt
            self.n_drawn += len(share.draws)


class CountingScheduler(Scheduler):
    """A scheduler that counts; everything else about it is the same."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.counts = Counts()

    def add(self, request: Request) -> None:
        family = [request, *request.unborn]
        super().add(request)
        for one in family:
            self.counts.ask(one)

    def schedule(self) -> Step:
        step = super().schedule()
        self.counts.add(step)
        return step
