"""Laws 1 to 9, 11 and 18: a schedule decides when a token comes, never which, nor any bit of it."""

from dataclasses import replace

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from refimpl.engine.limits import Limits, Preemption
from refimpl.engine.policies import POLICIES
from refimpl.engine.request import Finish
from refimpl.engine.step import Step
from refimpl.kv.blocks import Sharing
from refimpl.sampling import SamplingParams
from tests.laws.engines import (
    ASKS,
    CONTEXT,
    FAMILY,
    LOOPS,
    PROMPTS,
    SEED,
    VOCAB,
    Ask,
    Schedule,
    assert_drained,
    model_of,
    naive,
    schedules,
    serve,
    shapes_unchecked,
)

CROWD = st.lists(ASKS, min_size=1, max_size=3)
PLAIN = Schedule()
WITHOUT_TREE = sorted(set(POLICIES) - {"dfs-weight"})


@pytest.fixture(autouse=True, scope="module")
def fast():
    with shapes_unchecked():
        yield


def sampled(family, seed, asks, schedule):
    """What every request got: tokens and log-probabilities, in every bit."""
    return [r.sampled for r in serve(schedule.engine(model_of(family, seed)), asks)]


@given(FAMILY, SEED, CROWD, schedules())
def test_law_11_the_engine_equals_the_naive_loop_under_any_schedule(family, seed, asks, schedule):
    for ask, got in zip(asks, sampled(family, seed, asks, schedule), strict=True):
        assert got == naive(family, seed, ask)


@given(FAMILY, SEED, CROWD, st.sampled_from([1, 8, 16, 64]), st.integers(0, 99))
def test_law_1_same_for_any_block_size_and_any_permutation_of_blocks(family, seed, asks, size, p):
    schedule = replace(PLAIN, block_size=size, n_blocks=-(-240 // size), shuffle=p)
    assert sampled(family, seed, asks, schedule) == sampled(family, seed, asks, PLAIN)


@given(FAMILY, SEED, CROWD)
def test_law_2_same_alone_or_beside_any_neighbours(family, seed, asks):
    together = sampled(family, seed, asks, PLAIN)
    assert together == [sampled(family, seed, [ask], PLAIN)[0] for ask in asks]


@given(FAMILY, SEED, CROWD, st.integers(1, 20), st.integers(0, 20))
def test_law_3_same_for_any_chunking_of_the_prompts(family, seed, asks, budget, threshold):
    limits = Limits(max_batched_tokens=budget, long_prefill_threshold=threshold)
    schedule = replace(PLAIN, limits=limits)
    assert sampled(family, seed, asks, schedule) == sampled(family, seed, asks, PLAIN)


@given(FAMILY, SEED, CROWD, st.sampled_from(["hashed", "radix"]), st.sampled_from([1, 2, 4]))
def test_law_4_same_cold_on_a_hit_and_after_an_eviction(family, seed, asks, memory, size):
    engine = replace(PLAIN, memory=memory, block_size=size, n_blocks=-(-32 // size)).engine(
        model_of(family, seed)
    )
    cold = sampled(family, seed, asks, replace(PLAIN, memory="none"))
    for _ in range(2):  # the second time most of it is cached, or was and has been evicted
        for ask, expected in zip(asks, cold, strict=True):
            (request,) = serve(engine, [replace(ask, arrives=0)])
            assert request.sampled == expected


@given(
    FAMILY,
    SEED,
    CROWD,
    st.sampled_from(Preemption),
    st.sampled_from(["none", "hashed", "radix"]),
    st.data(),
)
def test_law_5_same_with_preemptions_at_any_step(family, seed, asks, how, memory, data):
    limits = Limits(preemption=how, max_batched_tokens=data.draw(st.integers(1, 20)))
    engine = replace(PLAIN, memory=memory, limits=limits).engine(model_of(family, seed))
    requests = [ask.request(str(i)) for i, ask in enumerate(asks)]
    for request in requests:
        engine.add(request)
    for _ in range(12):
        engine.step()
        for id in data.draw(st.lists(st.sampled_from(sorted(engine.scheduler.ids) or ["-"]))):
            if victim := engine.scheduler.running.get(id):
                step = Step(budget=0)
                engine.scheduler.preempt(victim, step)
                engine.runner.move(step)
        engine.scheduler.check()
    engine.run()
    assert_drained(engine)
    assert [r.sampled for r in requests] == sampled(family, seed, asks, PLAIN)


@given(
    FAMILY,
    SEED,
    CROWD,
    st.sampled_from(WITHOUT_TREE),
    st.sampled_from(LOOPS),
    st.integers(1, 4),
)
def test_law_6_same_under_every_policy_and_in_either_loop(family, seed, asks, policy, loop, seats):
    schedule = replace(PLAIN, policy=policy, loop=loop, limits=Limits(max_seqs=seats))
    assert sampled(family, seed, asks, schedule) == sampled(family, seed, asks, PLAIN)


@given(FAMILY, SEED, ASKS, CROWD, st.integers(1, 4), schedules())
def test_law_7_fork_n_equals_n_separate_prompts_in_order(family, seed, ask, crowd, n, schedule):
    limits = replace(schedule.limits, max_seqs=max(n, schedule.limits.max_seqs))
    engine = replace(schedule, limits=limits).engine(model_of(family, seed))
    parent = ask.request("p")
    parent.unborn = [replace(ask, sample=i).request(f"p.{i}") for i in range(1, n)]
    for child in parent.unborn:
        child.is_unborn = True
    samples = [parent, *parent.unborn]
    engine.add(parent)
    serve(engine, crowd)
    for i, request in enumerate(samples):
        assert request.sampled == naive(family, seed, replace(ask, sample=i))


@given(FAMILY, SEED, CROWD, st.data(), schedules())
def test_law_8_permuting_submission_only_permutes_the_results(family, seed, asks, data, schedule):
    order = data.draw(st.permutations(range(len(asks))))
    permuted = sampled(family, seed, [asks[i] for i in order], schedule)
    straight = sampled(family, seed, asks, schedule)
    assert permuted == [straight[i] for i in order]


def trace(engine, asks, cancelled=None):
    """Every step as numbers, and every result; `cancelled` comes and goes before the first."""
    requests = [ask.request(str(i)) for i, ask in enumerate(asks)]
    for request in requests:
        engine.add(request)
    if cancelled is not None:
        engine.add(cancelled.request("nobody"))
        engine.abort("nobody")
    steps = []
    while not engine.is_idle:
        news = engine.step()
        tables = [list(r.lease.table.blocks) for r in engine.scheduler.running.values()]
        steps.append(([o.request.id for o in news if o.finish is not Finish.ABORT], tables))
    return steps, [r.sampled for r in requests]


@given(FAMILY, SEED, CROWD, ASKS, schedules())
def test_law_9_added_and_cancelled_before_its_first_step_changes_nothing(
    family, seed, asks, cancelled, schedule
):
    model = model_of(family, seed)
    assert trace(schedule.engine(model), asks, cancelled) == trace(schedule.engine(model), asks)


@given(FAMILY, SEED, ASKS, st.integers(1, 9), st.integers(0, 9), schedules())
def test_law_18_a_longer_max_tokens_only_adds(family, seed, ask, short, more, schedule):
    params = {"min_tokens": 0, "mirostat": 0}
    one, two = (
        replace(ask, params=replace(ask.params, max_tokens=m, **params))
        for m in (short, short + more)
    )
    first, longer = sampled(family, seed, [one, two], schedule)
    assert longer[: len(first)] == first


@given(FAMILY, SEED, ASKS, st.integers(1, 4), st.integers(1, 4), st.sampled_from(Sharing))
def test_law_18_sample_i_of_n_does_not_depend_on_n(family, seed, ask, n, m, sharing):
    def samples(n):
        engine = replace(PLAIN, limits=Limits(sharing=sharing)).engine(model_of(family, seed))
        parent = ask.request("p")
        parent.unborn = [replace(ask, sample=i).request(f"p.{i}") for i in range(1, n)]
        for child in parent.unborn:
            child.is_unborn = True
        family_ = [parent, *parent.unborn]
        engine.add(parent)
        engine.run()
        return [request.sampled for request in family_]

    few, many = sorted((n, m))
    assert samples(many)[:few] == samples(few)


@given(FAMILY, SEED, PROMPTS)
@settings(max_examples=10)
def test_the_context_ends_a_request(family, seed, prompt):
    ask = Ask(prompt, SamplingParams(max_tokens=999), eog=frozenset())
    engine = PLAIN.engine(model_of(family, seed))
    (request,) = serve(engine, [ask])
    assert len(request.tokens) == CONTEXT and request.finish is Finish.LENGTH
    assert all(0 <= token < VOCAB for token in request.output)


def test_a_backend_that_chooses_ahead_is_never_waited_for():
    """A step is launched before the tokens it follows are read, if its draws do not look back."""
    greedy = SamplingParams(max_tokens=6, temperature=0.0, ignore_eos=True)
    for params, order in (
        (greedy, ["forward", "begin", "forward", "begin", "read"]),
        (replace(greedy, repetition_penalty=1.3), ["forward", "begin", "forward", "read", "begin"]),
    ):
        engine = Schedule(loop="ahead").engine(model_of("llama", 0))
        serve(engine, [Ask((1, 2), params)])
        assert engine.runner.backend.log[:5] == order
