"""Is it faster?  The same prompts told plainly and with every kind of guess, by the clock.

Prompts are served one at a time, since guessing pays most where a step has one token.  All ways
take turns, prompt by prompt, so that a machine that is busy for a while is busy for all of them;
a way's time is the sum over the prompts of its median time for each.  Time is an argument.

What a step with k guesses costs, which `Adaptive` needs, is not a setting but what ways with fixed
lengths were seen to cost: (time of a step with k guesses / time of a plain step).  Both are medians
of many steps, so the first, which computes the prompt, has no weight.

>>> from itertools import count
>>> from refimpl.backend import ReferenceBackend
>>> from refimpl.engine.speculative.ngram import NGram
>>> from refimpl.oracle.models import random_model
>>> ticks = count()
>>> target = Target(model=random_model("llama", seed=0), backend=ReferenceBackend())
>>> ways = {"plain": None, "n-gram": lambda: Speculator(NGram(shortest=1))}
>>> params = SamplingParams(temperature=0.0, max_tokens=8)
>>> plain, ngram = compare(target, ways, [[1, 2, 3]], params, clock=lambda: next(ticks), repeats=1)
>>> plain.n_tokens, plain.n_steps, plain.speed_up, ngram.is_same_text
(8, 8, 1.0, True)
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from refimpl.backend import Backend
from refimpl.engine.core import Engine
from refimpl.engine.request import Request
from refimpl.engine.scheduler import Scheduler
from refimpl.engine.speculative.engine import SpeculativeEngine
from refimpl.engine.speculative.speculator import Speculator
from refimpl.engine.speculative.statistics import Statistics
from refimpl.errors import InputError
from refimpl.kv.blocks import BlockPool
from refimpl.kv.lease import Memory
from refimpl.model.forward import Model
from refimpl.sampling import SamplingParams

Ways = Mapping[str, Callable[[], Speculator] | None]
"""By name: how to make a speculator, or None for the plain loop."""
BLOCK_SIZE = 16


@dataclass(frozen=True, kw_only=True)
class Target:
    """The model that is to be made faster, and who computes it."""

    model: Model
    backend: Backend
    ends: frozenset[int] = frozenset()
    vocab_size: int | None = None

    def engine(self, speculator: Speculator | None) -> Engine:
        n_blocks = 1 + self.model.config.context_length // BLOCK_SIZE
        scheduler = Scheduler(Memory(BlockPool(n_blocks=n_blocks, block_size=BLOCK_SIZE)))
        if speculator is None:
            return Engine(self.model, self.backend, scheduler)
        return SpeculativeEngine(self.model, self.backend, scheduler, speculator)

    def request(self, prompt: Sequence[int], params: SamplingParams) -> Request:
        return Request(
            id="a",
            prompt=tuple(prompt),
            params=params,
            eog_tokens=self.ends,
            vocab_size=self.vocab_size,
            context_length=self.model.config.context_length,
        )


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One way, over all prompts."""

    way: str
    n_tokens: int
    n_steps: int
    tokens_per_step: float
    rate: float  # of the decided guesses, those that were right
    accepted: dict[int, int]  # drafts by how many of their tokens were right
    seconds: float
    seconds_per_step: float  # the median
    tokens_per_second: float
    speed_up: float
    is_same_text: bool  # as the plain loop's, token for token


class Way:
    """An engine, and how long each prompt took it."""

    def __init__(self, target: Target, speculator: Speculator | None) -> None:
        self.target = target
        self.speculator = speculator
        self.engine = target.engine(speculator)
        self.seconds: list[list[float]] = []
        self.texts: list[list[int]] = []
        self.steps: list[float] = []
        self.n_steps = 0

    def tell(
        self, i: int, prompt: Sequence[int], params: SamplingParams, clock: Callable[[], float]
    ) -> None:
        """Serve the i-th prompt once more.  Steps are counted the first time."""
        request = self.target.request(prompt, params)
        self.engine.add(request)
        times = [clock()]
        while not self.engine.is_idle:
            self.engine.step()
            times.append(clock())
        if request.error is not None:
            raise request.error
        if i == len(self.texts):
            self.texts.append(request.output)
            self.seconds.append([])
            self.n_steps += len(times) - 1
        self.seconds[i].append(times[-1] - times[0])
        self.steps += [after - before for before, after in pairwise(times)]

    def forget(self) -> None:
        """That was to warm up."""
        self.seconds, self.texts, self.steps, self.n_steps = [], [], [], 0
        if self.speculator:
            self.speculator.statistics = Statistics()

    @property
    def time(self) -> float:
        return float(sum(median(times) for times in self.seconds))

    def measured(self, name: str, plain: "Way") -> Measured:
        n_tokens = sum(map(len, self.texts))
        speed = n_tokens / self.time
        statistics = self.speculator.statistics if self.speculator else None
        return Measured(
            way=name,
            n_tokens=n_tokens,
            n_steps=self.n_steps,
            tokens_per_step=n_tokens / self.n_steps,
            rate=statistics.rate if statistics else 0.0,
            accepted=dict(sorted(statistics.accepted.items())) if statistics else {},
            seconds=self.time,
            seconds_per_step=median(self.steps),
            tokens_per_second=speed,
            speed_up=speed / (sum(map(len, plain.texts)) / plain.time),
            is_same_text=self.texts == plain.texts,
        )


def compare(
    target: Target,
    ways: Ways,
    prompts: Sequence[Sequence[int]],
    params: SamplingParams,
    *,
    clock: Callable[[], float],
    repeats: int = 3,
) -> list[Measured]:
    """Every way on every prompt, `repeats` times after one that does not count."""
    if "plain" not in ways or repeats < 1 or not prompts:
        raise InputError("to compare, give a way called 'plain', a prompt and 1 or more repeats")
    running = {name: Way(target, make() if make else None) for name, make in ways.items()}
    warm_up = SamplingParams(temperature=0.0, max_tokens=8)
    for way in running.values():
        way.tell(0, prompts[0], warm_up, clock)
        way.forget()
    for _ in range(repeats):
        for i, prompt in enumerate(prompts):
            for way in running.values():
                way.tell(i, prompt, params, clock)
    return [way.measured(name, running["plain"]) for name, way in running.items()]


def costs_of_steps(rows: Sequence[Measured]) -> list[float]:
    """In plain steps, from the plain way, the way that makes one guess a step, two, ..."""
    return [one.seconds_per_step / rows[0].seconds_per_step for one in rows]
