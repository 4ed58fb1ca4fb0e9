"""Programs: what is shared changes no text, can be counted, and is given back whatever happens."""

import asyncio
from dataclasses import dataclass

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from refimpl.backend import ReferenceBackend
from refimpl.engine.limits import Limits
from refimpl.engine.policies import Fcfs, LongestPrefix
from refimpl.errors import RefimplError
from refimpl.kv.blocks import Sharing
from refimpl.lang import Local, ProgramError, program, run_batch
from refimpl.lang.patience import Patience
from refimpl.oracle.models import random_model
from refimpl.text.tokenizer import Tokenizer
from refimpl.text.vocabulary import Vocabulary
from tests.laws.engines import shapes_unchecked

LETTERS = "abcdefghijkl"
TOKENIZER = Tokenizer(
    Vocabulary(
        alphabet="bytes",
        merge_by="rank",
        tokens=tuple(LETTERS),
        types=(1,) * 12,
        eog_ids=frozenset({11}),
    )
)
ENDLESS = Tokenizer(  # no token ends a text
    Vocabulary(alphabet="bytes", merge_by="rank", tokens=tuple(LETTERS), types=(1,) * 12)
)
MODEL = random_model("llama", 0, vocab_size=12, context_length=256, block_count=1)
CURSED = 10  # a token on which the backend below fails


@pytest.fixture(autouse=True, scope="module")
def fast():
    with shapes_unchecked():
        yield


def local(**options):
    return Local(MODEL, tokenizer=TOKENIZER, **{"n_blocks": 4096, **options})


def assert_at_rest(engine):
    """Law 19 at drain, and nothing is running."""
    assert asyncio.all_tasks() == {asyncio.current_task(), engine.driver.task}
    engine.scheduler.check()
    assert not engine.scheduler.ids and not engine.driver.pending and not engine.driver.arrivals
    pool = engine.scheduler.memory.pool
    assert not any(pool.refs) and pool.n_available == pool.n_blocks


# The countable law.

PREFIX = "abcdefghij" * 10
LENGTHS = (10, 40, 25)


async def go_on(p, n):
    return await p.gen("branch", max_tokens=n)


@program
async def forked(p):
    p += PREFIX
    async with p.fork(LENGTHS) as fork:
        fork.each(go_on)
    return fork["branch"]


@program
async def separate(p, n):
    p += PREFIX
    return [str(await go_on(p, n))]


def counted(work, **options):
    """What a piece of work cost, and its text."""
    engine = Local(MODEL, tokenizer=ENDLESS, **{"n_blocks": 4096, **options})

    async def inside():
        async with engine:
            return await work(engine)

    return engine.counts, asyncio.run(inside())


@pytest.mark.parametrize("cache", ["none", "hashed", "radix"])
def test_branches_of_10_40_and_25_tokens_after_100_take_1_prefill_of_100_and_40_decode_steps(cache):
    counts, done = counted(forked.run, cache=cache)
    assert [len(text) for text in done.result] == [10, 40, 25]
    assert counts.n_prefilled == 100  # once
    assert counts.n_drawn == 75
    assert counts.draw_steps == counts.steps == 40  # the prefill draws the first of each
    assert counts.n_decoded == 75 - 3


def test_three_separate_prompts_prefill_300_and_take_75_steps_one_after_the_other():
    def all_three(concurrency):
        jobs = [separate.on(n) for n in LENGTHS]
        return lambda engine: run_batch(jobs, engine, concurrency=concurrency)

    together, a = counted(all_three(3), cache="none", share_prompts=False, policy=Fcfs())
    in_turn, b = counted(all_three(1), cache="none")
    _, done = counted(forked.run)
    assert together.n_prefilled == in_turn.n_prefilled == 300
    assert together.steps == 40 and in_turn.steps == 75
    assert [one.result[0] for one in a] == [one.result[0] for one in b] == done.result


@program
async def forked_with_suffixes(p):
    p += PREFIX
    async with p.fork(["k", "ka", "kb"]) as fork:
        fork.each(add_and_go_on)


async def add_and_go_on(p, suffix):
    p += suffix
    await p.gen(max_tokens=5)


def test_branches_that_write_before_they_ask_share_the_prefix_after_one_step():
    counts, _ = counted(forked_with_suffixes.run)
    assert counts.n_prefilled == 101 + 1 + 1  # the first branch; then "a", and "b"
    assert counts.steps == 5 + 1
    hasty, _ = counted(forked_with_suffixes.run, policy=LongestPrefix())
    assert hasty.n_prefilled == 305 and hasty.steps == 5
    blocks, _ = counted(forked_with_suffixes.run, cache="hashed", block_size=16)
    assert blocks.n_prefilled == 101 + 2 * (102 - 96)  # six whole blocks are found


# Programs as data.


@dataclass(frozen=True)
class Write:
    text: str


@dataclass(frozen=True)
class Generate:
    n: int
    temperature: float


@dataclass(frozen=True)
class Select:
    options: tuple[str, ...]
    method: str


@dataclass(frozen=True)
class Branches:
    bodies: tuple


@dataclass(frozen=True)
class Fail:
    pass


class PlantedError(Exception):
    pass


async def play(p, actions):
    """Do what is written down; returns all the texts that came of it, in order."""
    texts = []
    for action in actions:
        if isinstance(action, Write):
            p += action.text
        elif isinstance(action, Generate):
            made = await p.gen(max_tokens=action.n, temperature=action.temperature)
            texts.append((made.text, made.logprobs, made.finish))
        elif isinstance(action, Select):
            chosen = await p.select(action.options, method=action.method)
            texts.append((chosen.text, chosen.logprobs, chosen.scores))
        elif isinstance(action, Branches):
            async with p.fork(action.bodies) as fork:
                fork.each(play)
            texts.append(fork.results)
            p += fork.join()
        else:
            raise PlantedError("as planned")
    return texts


@program
async def played(p, actions):
    p += "a"
    return await play(p, actions)


WORDS = st.text(LETTERS[:9], min_size=1, max_size=5)
SIMPLE = st.one_of(
    st.builds(Write, WORDS),
    st.builds(Generate, st.integers(0, 6), st.sampled_from([0.0, 1.5])),
    st.builds(
        Select,
        st.lists(WORDS, min_size=1, max_size=3).map(tuple),
        st.sampled_from(["token_length", "greedy", "unconditional"]),
    ),
)


def bodies(action):
    return st.lists(action, max_size=3).map(tuple)


def actions(simple):
    """Up to three levels of forks."""
    for _ in range(2):
        branches = st.lists(bodies(simple), max_size=3).map(lambda b: Branches(tuple(b)))
        simple = st.one_of(simple, branches)
    return bodies(simple)


ENGINES = st.fixed_dictionaries(
    {
        "cache": st.sampled_from(["none", "hashed", "radix"]),
        "block_size": st.sampled_from([1, 3, 8]),
        "limits": st.builds(
            Limits,
            max_batched_tokens=st.integers(1, 40),
            max_seqs=st.integers(1, 6),
            sharing=st.sampled_from(Sharing),
        ),
        "policy": st.sampled_from([Fcfs, LongestPrefix, Patience]).map(lambda kind: kind()),
        "share_prompts": st.booleans(),
    }
)


def outcome(jobs, engine, concurrency=8):
    """What every program gave, in texts or in words; the pool is checked after every step."""
    step = engine.engine.step

    def checked_step():
        outputs = step()
        engine.scheduler.check()
        return outputs

    engine.engine.step = checked_step

    async def inside():
        async with engine:
            done = await run_batch(jobs, engine, concurrency=concurrency, return_errors=True)
            assert_at_rest(engine)
            return done

    done = asyncio.run(inside())
    return [str(one) if isinstance(one, RefimplError) else (one.result, one.text) for one in done]


@given(st.lists(actions(SIMPLE), min_size=1, max_size=2), ENGINES, st.integers(1, 3))
def test_law_7_a_program_says_the_same_on_any_engine(programs, options, concurrency):
    """Any cache, any sharing, any order, any batch: forks equal separate prompts."""
    jobs = [played.on(one) for one in programs]
    alone = local(cache="none", share_prompts=False, policy=Fcfs())
    assert outcome(jobs, local(**options), concurrency) == outcome(jobs, alone, 1)


@given(st.lists(actions(SIMPLE), min_size=1, max_size=2), st.booleans())
def test_law_25_sharing_never_computes_more_of_the_prompts(programs, share_prompts):
    jobs = [played.on(one) for one in programs]
    alone = local(cache="none", share_prompts=False)
    sharing = local(cache="radix", share_prompts=share_prompts)
    outcome(jobs, alone), outcome(jobs, sharing)
    assert alone.counts.n_prefilled == alone.counts.n_prompt == sharing.counts.n_prompt
    assert sharing.counts.n_prefilled <= alone.counts.n_prefilled


# Law 19 under faults.


class Cursed(ReferenceBackend):
    """Fails on a token: raises in the middle of a step."""

    def forward(self, model, plan, cache, *args):
        if (plan.tokens == CURSED).any():
            cache.keys[0][plan.slots] = np.nan
            raise MemoryError("out of device memory")
        return super().forward(model, plan, cache, *args)


FAULTY = st.one_of(SIMPLE, st.just(Fail()), st.just(Write(LETTERS[CURSED])))


@given(st.lists(actions(FAULTY), min_size=1, max_size=3), ENGINES)
def test_law_19_after_every_fault_nothing_is_left(programs, options):
    """A program that raises, a backend that fails: the others do not notice."""
    jobs = [played.on(one) for one in programs]
    engine = local(backend=Cursed(), **options)
    together = outcome(jobs, engine)
    for i, job in enumerate(jobs):
        alone = local(backend=Cursed(), cache="none", share_prompts=False, policy=Fcfs())
        before = [played.on(()) for _ in range(i)]  # it stands i-th, as in the batch
        expected = outcome([*before, job], alone)[i]
        if isinstance(expected, str):  # of two branches that fail, either may be the first
            assert isinstance(together[i], str) and together[i].startswith("program 'played'")
        else:
            assert together[i] == expected


@given(actions(SIMPLE), ENGINES, st.integers(1, 30), st.booleans())
def test_law_19_after_a_cancellation_at_any_step_nothing_is_left(actions, options, when, limit):
    """Cancelled, or out of time: between any two steps."""
    engine = local(**options)

    async def inside():
        async with engine:
            task = asyncio.ensure_future(played.on((*actions, Generate(40, 0.0))).run(engine))
            step, n = engine.engine.step, 0

            def step_and_cancel():
                nonlocal n
                n += 1
                outputs = step()
                if n == when:
                    task.cancel()
                return outputs

            engine.engine.step = step_and_cancel
            try:
                await task
            except asyncio.CancelledError:
                assert n >= when
            assert_at_rest(engine)
            engine.engine.step = step
            again = await played.run(engine, (Write("b"), Generate(4, 0.0)))
            assert_at_rest(engine)
            return again.text

    text = asyncio.run(inside())
    fresh = outcome([played.on((Write("b"), Generate(4, 0.0)))], local())
    assert fresh[0][1] == text


@given(actions(SIMPLE), st.integers(1, 3))
def test_law_19_when_the_pool_is_too_small(actions, n_blocks):
    """Requests that outgrow it fail by name; whatever happens, nothing is left."""
    engine = local(n_blocks=n_blocks * 4)
    (told,) = outcome([played.on(actions)], engine)
    assert not isinstance(told, str) or "TooLargeError" in told


def test_law_19_when_a_program_fails_the_batch_ends():
    engine = local()

    async def inside():
        async with engine:
            jobs = [played.on((Generate(99, 1.0),)), played.on((Generate(2, 0.0), Fail()))]
            with pytest.raises(ProgramError, match="PlantedError: as planned"):
                await run_batch(jobs, engine)
            assert_at_rest(engine)

    asyncio.run(inside())
    assert engine.counts.steps < 10
