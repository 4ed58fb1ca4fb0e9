"""The scheduler on a virtual clock: every step takes as long as its tokens say, and no model runs.

A workload is a set of programs.  A program is a generator: it yields prompts, all at once, and is
sent back what became of them, so the next turn of a chat can contain the last answer:

    def chat(fresh):
        history = []
        for _ in range(4):
            history += fresh(300)
            [history] = yield [Prompt(tokens=history, n_output=100)]

Answers are tokens that nobody else has.

>>> from refimpl.kv.blocks import BlockPool
>>> from refimpl.kv.tree import RadixMemory
>>> scheduler = Scheduler(RadixMemory(BlockPool(n_blocks=900, block_size=1)))
>>> done = serve(scheduler, [chat_of([3, 3], n_output=2)])
>>> [(r.n_prompt, r.n_cached) for r in done]       # 3 + 1 of the first turn are in the cache
[(3, 0), (8, 4)]
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count

from refimpl.engine.request import Request
from refimpl.engine.scheduler import Scheduler
from refimpl.engine.step import Outcome, Output, Step
from refimpl.errors import RefimplError
from refimpl.sampling import Sampled, SamplingParams


@dataclass(frozen=True, kw_only=True)
class Prompt:
    tokens: Sequence[int]
    n_output: int


Program = Generator[list[Prompt], list[list[int]], None]


@dataclass(frozen=True, kw_only=True)
class Cost:
    """How long a step takes: a part that is always there, and a part for each token (seconds)."""

    step: float = 0.020
    token: float = 0.0001

    def of(self, step: Step) -> float:
        return self.step + self.token * sum(share.n for share in step.shares)


@dataclass(kw_only=True)
class Clock:
    now: float = 0.0


def serve(
    scheduler: Scheduler,
    programs: Iterable[Program],
    *,
    at_once: int = 1 << 30,
    watch: Callable[[Step], None] | None = None,
    cost: Cost | None = None,
    clock: Clock | None = None,
) -> list[Request]:
    """Run programs, `at_once` at a time, to their end; `watch` sees each step before its commit."""
    house = House(scheduler)
    waiting = iter(programs)
    cost, clock = cost or Cost(), clock or Clock()
    while house.admit(waiting, at_once):
        step = scheduler.schedule()
        clock.now += cost.of(step)
        if watch:
            watch(step)
        for output in scheduler.commit(step, [house.answer(share.draws) for share in step.shares]):
            house.hear(output)
    return house.requests


@dataclass(kw_only=True, eq=False)
class Turn:
    """A program that waits for requests."""

    program: Program
    requests: list[Request]
    n_left: int


class House:
    """The programs under way, and which requests each of them waits for."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.n_programs = 0
        self.turns: dict[str, Turn] = {}  # by request
        self.requests: list[Request] = []
        self.answers = count(1 << 40)  # tokens that nobody else has

    def admit(self, programs: Iterator[Program], at_once: int) -> bool:
        """Start programs while there is room; is anybody left?"""
        while self.n_programs < at_once and (program := next(programs, None)):
            self.n_programs += 1
            self.advance(program, None)
        return self.n_programs > 0

    def advance(self, program: Program, results: list[list[int]] | None) -> None:
        """Let a program go on to its next prompts, and queue those."""
        try:
            prompts = next(program) if results is None else program.send(results)
        except StopIteration:
            self.n_programs -= 1
            return
        requests = [self.submit(prompt) for prompt in prompts]
        turn = Turn(program=program, requests=requests, n_left=len(requests))
        self.turns |= {request.id: turn for request in requests}

    def submit(self, prompt: Prompt) -> Request:
        params = SamplingParams(max_tokens=prompt.n_output)
        request = Request(id=str(len(self.requests)), prompt=tuple(prompt.tokens), params=params)
        self.requests.append(request)
        self.scheduler.add(request)
        return request

    def answer(self, draws: Sequence[Request]) -> Outcome:
        return Outcome(
            [Sampled(token=next(self.answers), logprob=0.0, drawn_logprob=0.0) for _ in draws]
        )

    def hear(self, output: Output) -> None:
        """When the last of a program's requests ends, the program goes on."""
        if output.finish is None:
            return
        if output.request.error is not None:
            raise RefimplError(f"the simulation cannot go on: {output.request.error}")
        turn = self.turns.pop(output.request.id)
        turn.n_left -= 1
        if not turn.n_left:
            self.advance(turn.program, [list(request.tokens) for request in turn.requests])


def fresh_tokens() -> Callable[[int], list[int]]:
    """A source of tokens that never repeat."""
    tokens = count()
    return lambda n: [next(tokens) for _ in range(n)]


def chat_of(inputs: Sequence[int], *, n_output: int) -> Program:
    """A chat whose turns have these many new tokens and equally long answers."""
    fresh = fresh_tokens()
    history: list[int] = []
    for n in inputs:
        [history] = yield [Prompt(tokens=[*history, *fresh(n)], n_output=n_output)]
