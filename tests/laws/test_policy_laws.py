"""Laws 24, 25 and 26 for the scheduler, which needs no model: tokens come from anywhere."""

from math import ceil

import hypothesis.strategies as st
import pytest
from hypothesis import given

from refimpl.engine.limits import Limits
from refimpl.engine.policies import Ageing, Fcfs, LongestPrefix, Policy
from refimpl.engine.request import Request
from refimpl.engine.scheduler import Scheduler
from refimpl.engine.step import Outcome, Step
from refimpl.kv.blocks import BlockPool
from refimpl.kv.hashed import HashedMemory
from refimpl.kv.lease import Memory
from refimpl.kv.tree import RadixMemory
from refimpl.sampling import Sampled, SamplingParams

STORY = (0, 1, 2, 1, 0, 0, 2, 1, 2, 2, 0, 1, 1, 0, 2, 0)
PROMPTS = st.builds(
    lambda n, end: STORY[:n] + tuple(end),
    st.integers(0, len(STORY)),
    st.lists(st.integers(0, 2), min_size=1, max_size=4),
)
CACHES = {"hashed": HashedMemory, "radix": RadixMemory}


def answer(step: Step) -> list[Outcome]:
    """Tokens that depend on the text alone, as a model's would."""

    def token(request: Request) -> Sampled:
        id = (7 * len(request.tokens) + len(request.prompt)) % 3
        return Sampled(token=id, logprob=0.0, drawn_logprob=0.0)

    return [Outcome(sampled=[token(r) for r in share.draws]) for share in step.shares]


def new_request(id: str, prompt: tuple[int, ...], max_tokens: int = 1) -> Request:
    return Request(id=id, prompt=prompt, params=SamplingParams(max_tokens=max_tokens))


def computed_by(memory: Memory, asks: list[tuple[tuple[int, ...], int]], limits: Limits):
    """All tokens computed until everybody is served, and how often somebody was preempted."""
    scheduler = Scheduler(memory, limits)
    for i, (prompt, max_tokens) in enumerate(asks):
        scheduler.add(new_request(str(i), prompt, max_tokens))
    n_tokens = n_preempted = 0
    while not scheduler.is_idle:
        step = scheduler.schedule()
        n_tokens += sum(share.n for share in step.shares)
        n_preempted += len(step.preempted)
        scheduler.commit(step, answer(step))
        scheduler.check()
    return n_tokens, n_preempted


ASKS = st.lists(st.tuples(PROMPTS, st.integers(1, 9)), min_size=1, max_size=6)


@given(
    ASKS,
    st.sampled_from([1, 2, 4]),
    st.integers(0, 20),
    st.integers(1, 30),
    st.integers(1, 6),
    st.sampled_from(sorted(CACHES)),
)
def test_law_25_the_cache_never_adds_work_while_nobody_is_preempted(
    asks, size, spare, budget, seats, cache
):
    need = max(-(-(len(prompt) + n) // size) for prompt, n in asks)
    limits = Limits(max_batched_tokens=budget, max_seqs=seats)

    def pool() -> BlockPool:
        return BlockPool(n_blocks=need + spare, block_size=size)

    cached, n_preempted = computed_by(CACHES[cache](pool()), asks, limits)
    plain, _ = computed_by(Memory(pool()), asks, limits)
    assert cached <= plain or n_preempted


def test_law_25_needs_its_condition():
    """Hits admit a request earlier; here it must give way later and recomputes what it saved."""
    asks = [((3, 3, 0, 2, 4, 3, 3, 1), 6), ((3, 3, 0, 2, 4, 3, 3, 2, 3, 2, 4, 1, 4, 1, 1), 3)]
    limits = Limits(max_batched_tokens=29, max_seqs=4)

    def pool() -> BlockPool:
        return BlockPool(n_blocks=19, block_size=1)

    assert computed_by(Memory(pool()), asks, limits) == (30, 0)
    assert computed_by(RadixMemory(pool()), asks, limits) == (32, 1)


@given(ASKS, st.sampled_from([1, 2, 4]), st.sampled_from(sorted(CACHES)))
def test_law_25_the_hit_rate_stays_below_the_bound(asks, size, cache):
    """Hits of prompt tokens are at most the prompt tokens less the distinct prefixes among them."""
    scheduler = Scheduler(
        CACHES[cache](BlockPool(n_blocks=200, block_size=size)), Limits(max_seqs=1)
    )
    requests = [new_request(str(i), prompt) for i, (prompt, _) in enumerate(asks)]
    for request in requests:
        scheduler.add(request)
    while not scheduler.is_idle:
        step = scheduler.schedule()
        scheduler.commit(step, answer(step))
    prompts = [prompt for prompt, _ in asks]
    distinct = len({p[:n] for p in prompts for n in range(1, len(p) + 1)})
    assert sum(r.n_cached for r in requests) <= sum(map(len, prompts)) - distinct
    for request in requests:
        assert request.n_cached < request.n_prompt  # law 24


class Watched(RadixMemory):
    """Remembers the longest match that anybody was ever told of."""

    longest = 0

    def lease(self, tokens, extra=(), priority=0):
        lease = super().lease(tokens, extra, priority)
        match = lease.match

        def watched_match():
            hit = match()
            self.longest = max(self.longest, hit.n_tokens)
            return hit

        lease.match = watched_match
        return lease


def waits(policy: Policy, passes: list[list[tuple[int, ...]]]) -> list[tuple[int, int]]:
    """One request is served a pass.  For each: passes waited, and how many waited when it came."""
    memory = Watched(BlockPool(n_blocks=60, block_size=1))
    scheduler = Scheduler(memory, Limits(max_seqs=1), policy=policy)
    came: dict[str, tuple[int, int]] = {}
    waited: dict[str, int] = {}
    todo, now = list(passes), 0
    while todo or not scheduler.is_idle:
        for prompt in todo.pop(0) if todo else []:
            id = str(len(came))
            came[id] = (now, len(scheduler.waiting))
            scheduler.add(new_request(id, prompt))
        step = scheduler.schedule()
        waited |= {share.request.id: now - came[share.request.id][0] for share in step.shares}
        scheduler.commit(step, answer(step))
        now += 1
    policy.longest = memory.longest
    return [(waited[id], came[id][1]) for id in came]


STREAM = st.lists(st.lists(PROMPTS, max_size=1), max_size=40)


@given(STREAM, STREAM.map(lambda s: s[:8]), st.integers(1, 20))
def test_law_26_ageing_bounds_every_wait(stream, rush, n_tokens):
    """At most one arrives a pass, after a rush in the first, in which everybody is before all."""
    policy = Ageing(n_tokens=n_tokens)
    first = [prompt for passing in rush for prompt in passing]
    for i, (waited, n_before) in enumerate(waits(policy, [first, *stream])):
        n_before = len(first) if i < len(first) else n_before
        assert waited <= ceil(policy.longest / n_tokens) + n_before


HOT = tuple(range(100, 140))


def cold_among_hot(n_passes: int) -> list[list[tuple[int, ...]]]:
    """A cold request comes second; each pass brings one that shares 40 tokens with the first."""
    return [[(*HOT, 0)], [(7, 8, 9), (*HOT, 1)], *([(*HOT, 2 + i)] for i in range(n_passes))]


@pytest.mark.parametrize("policy", [Ageing(n_tokens=0), LongestPrefix(check=-1)])
def test_law_26_without_ageing_a_cold_request_starves(policy):
    assert waits(policy, cold_among_hot(200))[1][0] > 200


@pytest.mark.parametrize(("n_tokens", "bound"), [(1, 40), (10, 4), (40, 1), (100, 1)])
def test_law_26_with_ageing_it_waits_as_long_as_the_match_is_worth(n_tokens, bound):
    assert waits(Ageing(n_tokens=n_tokens), cold_among_hot(200))[1][0] == bound


def test_law_26_first_come_first_served_never_starves():
    assert waits(Fcfs(), cold_among_hot(200))[1][0] == 0
