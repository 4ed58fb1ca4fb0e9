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

Where the backend chooses ahead (`refimpl.backend.ChoosesAhead`), step i + 1 is launched before the
tokens of step i are read, and the device never waits for the host:

    launch 1 | launch 2 | read 1 | launch 3 | read 2 | ...

A draw that looks back (penalties, a constraint) is begun when the token before it is read, with
its forward pass already on the way.  Should a token that was read not be the one that the device
went on with, the step after it is computed again: the same slots, the right tokens.

The tokens are those of the sequential loop (law 6).

`stream` is where steps are computed, one at a time and in order.  A `ThreadPoolExecutor` with one
worker computes beside the scheduler.  `Inline` does it on the spot, which is all that a backend
needs that chooses ahead: launching takes no time.
"""

from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np

from refimpl.backend import Backend, ChoosesAhead, Choosing
from refimpl.engine.batch import build_plan
from refimpl.engine.core import Engine
from refimpl.engine.draw import UNREAD, Task, chosen, draw, looks_back, only_draws, outcomes_of
from refimpl.engine.request import Request
from refimpl.engine.runner import NO_LOGITS, Logits
from refimpl.engine.scheduler import Scheduler
from refimpl.engine.step import Outcome, Output, Step
from refimpl.kv.plan import Plan
from refimpl.model.forward import Model
from refimpl.sampling import Sampled


@runtime_checkable
class Stream(Protocol):
    """Tasks are computed in the order in which they are submitted."""

    def submit(self, task: Callable[[], None], /) -> "Future[None]": ...


class Inline:
    """A stream that has always finished."""

    def submit(self, task: Callable[[], None]) -> "Future[None]":
        future: Future[None] = Future()
        task()
        future.set_result(None)
        return future


@dataclass(kw_only=True, eq=False)
class Flight:
    """A step in flight, and its outcomes to come."""

    step: Step
    plan: Plan
    outcomes: "Future[list[Outcome]]" = field(default_factory=Future)
    logits: Logits = NO_LOGITS
    task: Task = field(default_factory=Task)
    choosing: Choosing | None = None  # the draws of `task`, where nobody waits for them


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
        """Put the step on its way; the one before lands meanwhile."""
        before, after = self.flight, None
        if step.shares or step.moves:
            after = Flight(step=step, plan=build_plan(step, before.step if before else None))
        if before or after:
            self.stream.submit(lambda: self.fly(before, after))
        return after

    def fly(self, before: Flight | None, after: Flight | None) -> None:
        """Start one step and land the other; whatever goes wrong, nobody waits for ever."""
        try:
            if after:
                self.start(after, before)
            elif before:
                self.land(before)
        except BaseException as error:
            for flight in (before, after):
                if flight and not flight.outcomes.done():
                    flight.outcomes.set_exception(error)

    def start(self, flight: Flight, before: Flight | None) -> None:
        """What the device does; `before` lands as soon as this is on its way."""
        self.runner.move(flight.step)
        if before and before.choosing:
            self.compute(flight, before.choosing.tokens)
            if not any(share.pending and looks_back(share.request) for share in flight.step.shares):
                self.begin(flight, dict.fromkeys(before.step.draws, UNREAD))
            if self.land(before):
                if flight.choosing is None:
                    self.draw(flight, before)
                return
        self.compute(flight, np.array(tokens_of(before), dtype=np.int32))
        self.draw(flight, before)

    def compute(self, flight: Flight, drawn: Any) -> None:
        flight.logits = self.runner.forward(flight.plan, drawn)

    def draw(self, flight: Flight, before: Flight | None) -> None:
        """Begin its draws, or see them through; the tokens before them are known."""
        known = {request: sampled for request, sampled in results_of(before) if sampled}
        self.begin(flight, known)
        if flight.choosing is None:
            flight.outcomes.set_result(draw(flight.step, flight.logits, self.runner.backend, known))

    def begin(self, flight: Flight, known: dict[Request, Sampled]) -> None:
        """Where the backend chooses ahead, and all the step asks for is draws it can do."""
        backend, flight.choosing = self.runner.backend, None
        task = only_draws(flight.step, flight.logits, known)
        if task is None or not isinstance(backend, ChoosesAhead):
            return
        flight.task = task
        with suppress(
            Exception
        ):  # a backend may raise anything; `draw` finds out whose fault it is
            flight.choosing = backend.begin_choosing(flight.logits.arrays[0], task.draws)

    def land(self, flight: Flight) -> bool:
        """Read its tokens; were they those that the device went on with?"""
        if flight.choosing is None:
            return True
        try:
            results, misled = flight.choosing.results(), flight.choosing.misled
        except Exception:  # a backend may raise anything
            array = flight.logits.arrays[0]
            results, misled = [*chosen(self.runner.backend, array, flight.task)], True
        flight.outcomes.set_result(outcomes_of(flight.step, flight.task, results))
        flight.choosing = None
        return not misled

    @property
    def is_idle(self) -> bool:
        return super().is_idle and self.flight is None


def tokens_of(before: Flight | None) -> list[int]:
    """What each draw of a step that has landed came to; 0 where it failed."""
    return [sampled.token if sampled else 0 for _, sampled in results_of(before)]


def results_of(before: Flight | None) -> list[tuple[Request, Sampled | None]]:
    """For each draw of a step that has landed: whose it is, and what came of it."""
    results: list[tuple[Request, Sampled | None]] = []
    if before is None:
        return results
    for share, outcome in zip(before.step.shares, before.outcomes.result(), strict=True):
        for j, request in enumerate(share.draws):
            result = None if outcome.error else outcome.sampled[j]
            results.append((request, result if isinstance(result, Sampled) else None))
    return results
