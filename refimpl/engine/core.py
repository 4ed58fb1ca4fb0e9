"""The loop: schedule, move, compute, draw, commit.

This is the whole engine, one step at a time; everything else is how one of these lines works.
`refimpl.engine.overlap` does the same without waiting for each result before planning the next.
"""

from refimpl.backend import Backend
from refimpl.engine.batch import build_plan
from refimpl.engine.draw import draw
from refimpl.engine.request import Request
from refimpl.engine.runner import Runner
from refimpl.engine.scheduler import Scheduler
from refimpl.engine.step import Output
from refimpl.model.forward import Model


class Engine:
    """A scheduler and a backend, taking turns."""

    def __init__(self, model: Model, backend: Backend, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.runner = Runner(backend, model, scheduler.memory.pool)

    def add(self, request: Request) -> None:
        self.scheduler.add(request)

    def abort(self, id: str) -> None:
        self.scheduler.abort(id)

    def step(self) -> list[Output]:
        """Every request that runs gets a little further; returns what is new."""
        step = self.scheduler.schedule()
        plan = build_plan(step)
        self.runner.move(step)
        logits = self.runner.forward(plan)
        outcomes = draw(step, logits, self.runner.backend)
        return self.scheduler.commit(step, outcomes)

    @property
    def is_idle(self) -> bool:
        return self.scheduler.is_idle

    def run(self) -> list[Output]:
        """Step until nobody is left."""
        outputs = self.scheduler.take_news()
        while not self.is_idle:
            outputs += self.step()
        return outputs
