"""The loop, with guesses: schedule, guess, move, compute, verify, commit.

    schedule    who computes which tokens                     as ever
    guess       drafts beside those who will draw a token     from what is left over
    compute     one plan: a draft is a longer run of tokens
    verify      `draw`: the model's own choice after every guess
    commit      the right ones become tokens; the room of the others is given back

Speculation lives in the real loop: with other requests in the batch, with chunked prompts, prefix
caches and preemption.  The tokens are those of the plain loop (law 12), and so is the memory (13).

The overlapped loop schedules a step before the last one's tokens are known, so there is nothing to
continue with a guess: it does not speculate.

>>> from refimpl.backend import ReferenceBackend
>>> from refimpl.engine.request import Request
>>> from refimpl.engine.speculative.length import Fixed
>>> from refimpl.engine.speculative.proposer import Recital
>>> from refimpl.kv.blocks import BlockPool
>>> from refimpl.kv.lease import Memory
>>> from refimpl.oracle.models import random_model
>>> from refimpl.sampling import SamplingParams
>>> def serve(kind, *args):
...     memory = Memory(BlockPool(n_blocks=9, block_size=4))
...     engine = kind(random_model("llama", seed=0), ReferenceBackend(), Scheduler(memory), *args)
...     greedy = SamplingParams(temperature=0.0, max_tokens=24)
...     engine.add(request := Request(id="a", prompt=(1, 2, 3), params=greedy))
...     n = 0
...     while not engine.is_idle:
...         n, _ = n + 1, engine.step()
...     return request.output, n
>>> plain, n = serve(Engine)
>>> by_heart = Speculator(Recital({"a": [1, 2, 3, *plain]}), Fixed(3))
>>> guessed, m = serve(SpeculativeEngine, by_heart)
>>> guessed == plain, n, m                              # three guesses a step, all of them right
(True, 24, 6)
"""

from refimpl.backend import Backend, attends_trees
from refimpl.engine.batch import build_plan
from refimpl.engine.core import Engine
from refimpl.engine.draw import draw
from refimpl.engine.scheduler import Scheduler
from refimpl.engine.speculative.speculator import Speculator
from refimpl.engine.step import Output
from refimpl.model.forward import Model


class SpeculativeEngine(Engine):
    """An engine that guesses."""

    def __init__(
        self, model: Model, backend: Backend, scheduler: Scheduler, speculator: Speculator
    ) -> None:
        super().__init__(model, backend, scheduler)
        self.speculator = speculator
        speculator.trees = attends_trees(backend)

    def step(self) -> list[Output]:
        step = self.scheduler.schedule()
        self.speculator.guess(step)
        plan = build_plan(step)
        self.runner.move(step)
        logits = self.runner.forward(plan)
        outcomes = draw(step, logits, self.runner.backend)
        news = self.scheduler.commit(step, outcomes)
        self.speculator.learn(step, outcomes)
        return news
