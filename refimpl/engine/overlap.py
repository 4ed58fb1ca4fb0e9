"""The loop that does not wait: step i + 1 is scheduled while step i is being computed.

    host      | schedule 1 | schedule 2 | commit 1 | schedule 3 | commit 2 | schedule 4 | ...
    device                 | step 1 ............. | step 2 .............. | step 3 .........

Scheduling needs to know *that* a token will come, not which.  So a step in flight counts as done:
its tokens are pending, the next plan refers to them by number (-1-j: draw j of the step before),
and the device, where they are, puts them in.

What cannot be known in advance is that a token ends its request.  Such a request is scheduled once
more; that share is wasted, its result dropped, and its blocks are free again from the moment the
end is known: the device carries out what it is told in order, so nobody can write into them before
the wasted share is through.  An end by length is known, and wastes nothing.

The tokens are those of the sequential loop (law 6).

`stream` is where steps are computed, one at a time and in order: `Inline` computes each at once, on
the spot; a `ThreadPoolExecutor(max_workers=1)` computes beside the scheduler.
"""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from refimpl.backend import Backend
from refimpl.engine.batch import build_plan
from refimpl.engine.core import Engine
from refimpl.engine.draw import draw
from refimpl.engine.request import Request
from refimpl.engine.scheduler import Scheduler
from refimpl.engine.step import Outcome, Output, Step
from refimpl.kv.plan import Plan
from refimpl.model.forward import Model
from refimpl.sampling import Sampled


@runtime_checkable
class Stream(Protocol):
    """Tasks are computed in the order in which they are submitted."""

    def submit(self, task: Callable[[], list[Outcome]], /) -> "Future[list[Outcome]]": ...


class Inline:
    """A stream that has always finished."""

    def submit(self, task: Callable[[], list[Outcome]]) -> "Future[list[Outcome]]":
        future: Future[list[Outcome]] = Future()
        future.set_result(task())
        return future


@dataclass(frozen=True, kw_only=True, eq=False)
class Flight:
    """A step in flight, and its results to come."""

    step: Step
    outcomes: "Future[list[Outcome]]"


class OverlappedEngine(Engine):
    """An engine that keeps one step in flight."""

    def __init__(
        self, model: Model, backend: Backend, scheduler: Scheduler, stream: Stream | None = None
    ) -> None:
        super().__init__(model, backend, scheduler)
        self.stream = stream or Inline()
        self.flight: Flight | None = None

    def step(self) -> list[Output]:
        """Launch the next step, then take in the one before."""
        step = self.scheduler.schedule()
        landing, self.flight = self.flight, self.launch(step)
        if landing is None:
            return self.scheduler.take_news()
        return self.scheduler.commit(landing.step, landing.outcomes.result())

    def launch(self, step: Step) -> Flight | None:
        if not step.shares and not step.moves:
            return None
        plan = build_plan(step, self.flight.step if self.flight else None)
        flight = self.flight
        return Flight(
            step=step, outcomes=self.stream.submit(lambda: self.compute(step, plan, flight))
        )

    def compute(self, step: Step, plan: Plan, before: Flight | None) -> list[Outcome]:
        """What the device does; it has finished with the step before."""
        drawn = results_of(before) if before else []
        tokens = [sampled.token if sampled else 0 for _, sampled in drawn]
        self.runner.move(step)
        logits = self.runner.forward(plan, np.array(tokens, dtype=np.int32))
        known = {request: sampled for request, sampled in drawn if sampled}
        return draw(step, logits, self.runner.backend, known)

    @property
    def is_idle(self) -> bool:
        return super().is_idle and self.flight is None


def results_of(flight: Flight) -> list[tuple[Request, Sampled | None]]:
    """For each draw of a step: whose it is, and what came of it; None where it failed."""
    results: list[tuple[Request, Sampled | None]] = []
    for share, outcome in zip(flight.step.shares, flight.outcomes.result(), strict=True):
        for j, request in enumerate(share.draws):
            result = None if outcome.error else outcome.sampled[j]
            results.append((request, result if isinstance(result, Sampled) else None))
    return results
