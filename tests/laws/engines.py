"""What the engine's law tests share: small models, requests, schedules, and the definition."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, lru_cache
from random import Random
from typing import Any

import hypothesis.strategies as st
import numpy as np
from jaxtyping import config as jaxtyping_config

from refimpl.backend import Backend, ReferenceBackend
from refimpl.engine.core import Engine
from refimpl.engine.limits import Limits, Preemption
from refimpl.engine.overlap import Inline, OverlappedEngine
from refimpl.engine.policies import POLICIES, Policy
from refimpl.engine.request import Request
from refimpl.engine.scheduler import Scheduler
from refimpl.engine.victims import FewestOutputs, LastAdmitted, LowestPriority
from refimpl.errors import RefimplError
from refimpl.kv.blocks import BlockPool, Sharing
from refimpl.kv.hashed import HashedMemory
from refimpl.kv.lease import Memory
from refimpl.kv.tree import RadixMemory
from refimpl.model.forward import Model
from refimpl.model.generate import generate, recompute
from refimpl.oracle.models import random_model
from refimpl.sampling import Draw, Sampled, SamplingParams

CONTEXT, VOCAB = 48, 12


@contextmanager
def shapes_unchecked() -> Iterator[None]:
    """Nine tenths of a small model's time is checking shapes, which tests/unit/engine does."""
    before = jaxtyping_config.jaxtyping_disable
    jaxtyping_config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping_config.update("jaxtyping_disable", before)


MEMORIES = {"none": Memory, "hashed": HashedMemory, "radix": RadixMemory}
VICTIMS = (LastAdmitted, LowestPriority, FewestOutputs)


@cache
def one_worker() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=1)


@cache
def model_of(family: str, seed: int) -> Model:
    return random_model(family, seed, vocab_size=VOCAB, context_length=CONTEXT, block_count=1)


@lru_cache(maxsize=4096)
def logits_of(family: str, seed: int, tokens: tuple[int, ...]) -> Any:
    return recompute(model_of(family, seed))(tokens)


@dataclass(frozen=True)
class Ask:
    """A request, without the engine it is served by."""

    prompt: tuple[int, ...]
    params: SamplingParams
    eog: frozenset[int] = frozenset({3})
    sample: int = 0
    priority: int = 0
    client: str = ""
    arrives: int = 0  # before which step

    def request(self, id: str) -> Request:
        return Request(
            id=id,
            prompt=self.prompt,
            params=self.params,
            eog_tokens=self.eog,
            sample=self.sample,
            priority=self.priority,
            client=self.client,
            context_length=CONTEXT,
        )


def naive(family: str, seed: int, ask: Ask) -> list[Sampled]:
    """The definition: the whole sequence every time, alone."""
    steps = generate(
        lambda tokens: logits_of(family, seed, tuple(tokens)),
        ask.prompt,
        ask.params,
        eog_ids=ask.eog,
        context_length=CONTEXT,
        request=ask.sample,
    )
    return [step.sampled for step in steps]


LOOPS = ("sequential", "inline", "thread", "ahead")


class Ahead(ReferenceBackend):
    """Chooses ahead: some tokens turn out to be others when they are read, and some reads fail."""

    def __init__(self) -> None:
        super().__init__()
        self.log: list[str] = []

    def forward(self, *args: Any) -> Any:
        self.log.append("forward")
        return super().forward(*args)

    def begin_choosing(self, logits: Any, draws: Sequence[Draw]) -> "Guesses | None":
        if any(draw.params.logprobs is not None for draw in draws):
            return None
        self.log.append("begin")
        return Guesses(self.choose(logits, draws), self.log)


class Guesses:
    """Results that nobody has read; by the count of what was logged, one is wrong."""

    def __init__(self, results: list[Sampled | RefimplError], log: list[str]) -> None:
        self.found, self.log, self.turn = results, log, len(log)
        tokens = [one.token if isinstance(one, Sampled) else 0 for one in results]
        self.tokens, wrong = np.array(tokens, np.int32), self.turn % 3 == 0
        if wrong:
            self.tokens[-1] = (self.tokens[-1] + 1) % VOCAB
        self.misled = wrong and isinstance(results[-1], Sampled)

    def results(self) -> list[Sampled | RefimplError]:
        self.log.append("read")
        if self.turn % 7 == 0:
            raise RuntimeError("the device has gone")
        return self.found


@dataclass(frozen=True)
class Schedule:
    """Everything that must not matter."""

    memory: str = "hashed"
    block_size: int = 4
    n_blocks: int = 60
    n_host_blocks: int = 20
    limits: Limits = field(default_factory=Limits)
    policy: str = "fcfs"
    victims: int = 0
    loop: str = "sequential"
    shuffle: int | None = None  # permutes the physical blocks

    def engine(self, model: Model, backend: Backend | None = None) -> Engine:
        backend = backend or (Ahead() if self.loop == "ahead" else ReferenceBackend())
        pool = BlockPool(n_blocks=self.n_blocks, block_size=self.block_size)
        if self.shuffle is not None:
            Random(self.shuffle).shuffle(order := list(pool._free))
            pool._free.clear()
            pool._free.extend(order)
        host = BlockPool(n_blocks=self.n_host_blocks, block_size=self.block_size)
        scheduler = Scheduler(
            MEMORIES[self.memory](pool, host=host),
            self.limits,
            policy=new_policy(self.policy),
            victims=VICTIMS[self.victims](),
        )
        if self.loop == "sequential":
            return Engine(model, backend, scheduler)
        stream = one_worker() if self.loop == "thread" else Inline()
        return OverlappedEngine(model, backend, scheduler, stream)


def new_policy(name: str) -> Policy:
    """Small thresholds, so that small prompts reach them."""
    if name in ("lpm", "hrrn"):
        return POLICIES[name](check=4, deprioritise=4, fallback=3)
    return POLICIES[name]()


def serve(engine: Engine, asks: Sequence[Ask], ids: Sequence[str] = ()) -> list[Request]:
    """Everybody comes at his step and is served; `check` after every step."""
    requests = [ask.request(id) for ask, id in zip(asks, ids or map(str, range(99)), strict=False)]
    n = 0
    while not engine.is_idle or any(ask.arrives >= n for ask in asks):
        for ask, request in zip(asks, requests, strict=True):
            if ask.arrives == n:
                engine.add(request)
        engine.step()
        engine.scheduler.check()
        n += 1
        assert n < 5000, "nothing moves"
    assert_drained(engine)
    return requests


def assert_drained(engine: Engine) -> None:
    """Law 19 at drain: every block is free or cached, on the host every block is free."""
    memory = engine.scheduler.memory
    memory.check([])
    assert memory.pool.n_available == memory.pool.n_blocks
    assert memory.host is None or memory.host.n_free == memory.host.n_blocks


STORY = (0, 1, 2, 1, 5, 4, 6, 0, 1, 7, 8, 2, 9, 1, 1, 4)
PROMPTS = st.builds(
    lambda n, end: (STORY[:n] + tuple(end)) or (1,),
    st.integers(0, len(STORY)),
    st.lists(st.integers(0, VOCAB - 1), max_size=5),
)
PARAMS = st.builds(
    SamplingParams,
    max_tokens=st.integers(1, 9),
    temperature=st.sampled_from([0.0, 1.0]),
    seed=st.integers(0, 5),
    ignore_eos=st.booleans(),
    repetition_penalty=st.sampled_from([1.0, 1.3]),
) | st.builds(
    SamplingParams,
    max_tokens=st.integers(4, 9),
    min_tokens=st.integers(0, 4),
    mirostat=st.sampled_from([0, 2]),
    logprobs=st.sampled_from([None, 2]),
)
ASKS = st.builds(
    Ask,
    prompt=PROMPTS,
    params=PARAMS,
    priority=st.integers(0, 2),
    client=st.sampled_from("ab"),
    arrives=st.integers(0, 4),
)
FAMILY = st.sampled_from(["llama", "gemma2", "qwen3moe"])
SEED = st.integers(0, 2)
LIMITS = st.builds(
    Limits,
    max_batched_tokens=st.integers(1, 24),
    max_seqs=st.integers(1, 5),
    long_prefill_threshold=st.sampled_from([0, 3]),
    preemption=st.sampled_from(Preemption),
    sharing=st.sampled_from(Sharing),
)


@st.composite
def schedules(draw: Any) -> Schedule:
    """Any schedule that can serve one request of 21 + 9 tokens, most of them short of memory."""
    memory = draw(st.sampled_from(sorted(MEMORIES)))
    policies = sorted(POLICIES) if memory == "radix" else sorted(set(POLICIES) - {"dfs-weight"})
    block_size = draw(st.sampled_from([1, 2, 4, 8]))
    enough = -(-30 // block_size)
    return Schedule(
        memory=memory,
        block_size=block_size,
        n_blocks=enough + draw(st.integers(0, enough)),
        n_host_blocks=draw(st.integers(1, 12)),
        limits=draw(LIMITS),
        policy=draw(st.sampled_from(policies)),
        victims=draw(st.integers(0, 2)),
        loop=draw(st.sampled_from(LOOPS)),
        shuffle=draw(st.integers(0, 9)),
    )
