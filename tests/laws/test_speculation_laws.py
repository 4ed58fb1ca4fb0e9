"""Laws 12 and 13: a guess changes no token and no law, and leaves no trace where it was wrong."""

from collections import Counter
from dataclasses import replace
from itertools import product
from random import Random

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from refimpl.backend import ReferenceBackend
from refimpl.engine.limits import Limits
from refimpl.engine.request import Status
from refimpl.engine.speculative.draft_model import DraftModel
from refimpl.engine.speculative.engine import SpeculativeEngine
from refimpl.engine.speculative.length import Adaptive, Fixed, even_costs
from refimpl.engine.speculative.ngram import NGram
from refimpl.engine.speculative.proposer import Recital
from refimpl.engine.speculative.speculator import Speculator
from refimpl.engine.speculative.suffix import Suffix
from refimpl.model.generate import recompute
from refimpl.sampling import SamplingParams, law, uniform
from refimpl.sampling.verify import Draft, draft_stream, pick_from
from tests.laws.engines import (
    ASKS,
    CONTEXT,
    FAMILY,
    SEED,
    VOCAB,
    Ask,
    Schedule,
    assert_drained,
    logits_of,
    model_of,
    naive,
    schedules,
    serve,
    shapes_unchecked,
)

CROWD = st.lists(ASKS, min_size=1, max_size=3)
KINDS = ["random", "tree", "half right", "ngram", "suffix", "model", "siblings"]


@pytest.fixture(autouse=True, scope="module")
def fast():
    with shapes_unchecked():
        yield


class AnyTree:
    """Guesses by lot; with `texts`, some are right.  `branches` gives every node any parent."""

    def __init__(self, seed, texts=None, branches=False):
        self.rng, self.texts, self.branches = Random(seed), texts or {}, branches

    def propose(self, asks):
        return [self.draft(ask) for ask in asks]

    def draft(self, ask):
        right = self.texts.get(ask.request.id, ())[len(ask.request.tokens) :]
        n = self.rng.randint(0, ask.n)
        parents = [self.rng.randint(-1, i - 1) if self.branches else i - 1 for i in range(n)]
        tokens, depths = [], []
        for parent in parents:
            depths.append(0 if parent < 0 else depths[parent] + 1)
            lucky = self.rng.random() < 0.6 and depths[-1] < len(right)
            tokens.append(right[depths[-1]] if lucky else self.rng.randrange(VOCAB))
        parents = tuple(parents) if self.branches else None
        return Draft(tokens=tuple(tokens), parents=parents) if n else None

    def forget_the_gone(self):
        pass


def proposer_of(kind, family, seed, asks, lot):
    texts = {
        str(i): [*ask.prompt, *(s.token for s in naive(family, seed, ask))]
        for i, ask in enumerate(asks)
    }
    drafter = model_of(family, seed + lot % 2)  # the target itself, or a stranger
    return {
        "random": lambda: AnyTree(lot),
        "tree": lambda: AnyTree(lot, texts, branches=True),
        "half right": lambda: AnyTree(lot, texts),
        "ngram": lambda: NGram(longest=3, shortest=1),
        "suffix": lambda: Suffix(shortest=1),
        "model": lambda: DraftModel(drafter, ReferenceBackend(), n_blocks=1 + lot, block_size=4),
        "siblings": lambda: DraftModel(
            drafter, ReferenceBackend(), n_blocks=40, block_size=4, siblings=1 + lot % 3
        ),
    }[kind]()


def speculating(engine, speculator):
    """The same scheduler, memory and model, in the loop that guesses."""
    return SpeculativeEngine(engine.runner.model, Checked(), engine.scheduler, speculator)


class Checked(ReferenceBackend):
    """Looks at every plan it is given."""

    attends_trees = True

    def forward(self, model, plan, *args, **options):
        plan.check()
        return super().forward(model, plan, *args, **options)


@given(
    FAMILY,
    SEED,
    CROWD,
    schedules(),
    st.sampled_from(KINDS),
    st.integers(0, 12),
    st.sampled_from([Fixed(1), Fixed(5), Adaptive(even_costs(4, 0.2), start=0.9)]),
)
def test_law_12_guesses_change_no_bit_of_the_text(family, seed, asks, schedule, kind, lot, length):
    """Any draft, any schedule, greedy or not: every token and log-probability of the naive loop."""
    engine = replace(schedule, loop="sequential").engine(model_of(family, seed))
    proposer = proposer_of(kind, family, seed, asks, lot)
    engine = speculating(engine, Speculator(proposer, length))
    for ask, request in zip(asks, serve(engine, asks), strict=True):
        assert request.sampled == naive(family, seed, ask)
    if isinstance(proposer, DraftModel):
        assert proposer.memory.pool.n_free == proposer.memory.pool.n_blocks


def test_law_12_right_guesses_are_accepted():
    """The test above would pass if no draft were ever used."""
    ask = Ask((1, 2, 3), SamplingParams(temperature=0.0, max_tokens=20), eog=frozenset())
    text = [*ask.prompt, *(s.token for s in naive("llama", 0, ask))]
    speculator = Speculator(Recital({"0": text}), Fixed(4))
    engine = speculating(Schedule().engine(model_of("llama", 0)), speculator)
    serve(engine, [ask])
    assert speculator.statistics.accepted == Counter({4: 4})  # 4 steps of 1 + 4


class HonestTree:
    """Draws a tree from a law of its own, which has nothing to do with the target's.

    Its shape is a function of the text's length, never of what was drawn.
    """

    def __init__(self, shapes):
        self.shapes = shapes

    def propose(self, asks):
        return [self.draft(ask.request, ask.n) for ask in asks]

    def draft(self, request, most):
        parents = self.shapes[len(request.tokens) % len(self.shapes)]
        tokens, laws, rank = [], [], Counter()
        for parent in parents:
            path = (
                []
                if parent < 0
                else Draft(tokens=tuple(tokens), parents=parents[: len(tokens)]).path(parent)
            )
            if len(path) >= most:
                break
            history = [*request.tokens, *(tokens[i] for i in path)]
            q = strange_law(history)
            chance = uniform(
                request.params.seed, request.sample, len(history), draft_stream(rank[parent])
            )
            rank[parent] += 1
            tokens.append(pick_from(q, chance))
            laws.append(q)
        parents = tuple(parents[: len(tokens)])
        return Draft(tokens=tuple(tokens), parents=parents, laws=tuple(laws)) if tokens else None

    def forget_the_gone(self):
        pass


def strange_law(history):
    p = np.random.default_rng(history).dirichlet([0.5] * FEW)
    return np.concatenate([p, np.zeros(VOCAB - FEW)])


FEW = 4  # the tokens that are left to say, so that everything can be enumerated
BANS = dict.fromkeys(range(FEW, VOCAB), -np.inf)
PROMPT = (1, 2, 0)
N_TOKENS, N_SAMPLES = 3, 2000
CHAIN, WIDE = (-1, 0, 1), (-1, -1, 0, 0, 1, -1)


def sampling(seed, temperature=1.0):
    return SamplingParams(
        seed=seed, temperature=temperature, max_tokens=N_TOKENS, logit_bias=BANS, ignore_eos=True
    )


def enumerated(family, seed, temperature):
    """The probability of every text of N_TOKENS, from the definition."""
    laws = {}
    params = sampling(0, temperature)
    for text in product(range(FEW), repeat=N_TOKENS):
        p = 1.0
        for i, token in enumerate(text):
            history = (*PROMPT, *text[:i])
            p *= law(logits_of(family, seed, history), params, history)[token]
        laws[text] = p
    return laws


def tail(chi2, dof):
    """P(chi-square > chi2), by Wilson and Hilferty's cube root; good to three digits here."""
    from math import erfc, sqrt

    z = ((chi2 / dof) ** (1 / 3) - (1 - 2 / (9 * dof))) / sqrt(2 / (9 * dof))
    return 0.5 * erfc(z / sqrt(2))


def p_value(counts, laws):
    """Chi-square; texts expected fewer than five times are one cell."""
    n = sum(counts.values())
    rare = [text for text, p in laws.items() if p * n < 5]
    cells = [(counts[text], laws[text] * n) for text in laws if text not in rare]
    if rare:
        cells.append((sum(counts[t] for t in rare), sum(laws[t] for t in rare) * n))
    chi2 = sum((seen - expected) ** 2 / expected for seen, expected in cells if expected)
    return tail(chi2, len(cells) - 1)


def texts_of(proposer, temperature, n=N_SAMPLES, length=3):
    """Many seeds at once through the real scheduler, which cuts some drafts for want of budget."""
    schedule = Schedule(
        block_size=2, n_blocks=400, limits=Limits(max_batched_tokens=300, max_seqs=128)
    )
    speculator = Speculator(proposer, Fixed(length))
    engine = speculating(schedule.engine(model_of("llama", 1)), speculator)
    asks = [Ask(PROMPT, sampling(seed, temperature)).request(str(seed)) for seed in range(n)]
    for request in asks:
        engine.add(request)
    engine.run()
    assert_drained(engine)
    return Counter(tuple(request.output) for request in asks), speculator.statistics


@pytest.mark.parametrize(
    ("shapes", "temperature"),
    [([CHAIN], 1.0), ([WIDE], 1.0), ([(-1,), WIDE, CHAIN], 0.6)],
    ids=["chain", "tree", "mixed"],
)
def test_law_12_honest_guesses_keep_the_law(shapes, temperature):
    counts, statistics = texts_of(HonestTree(shapes), temperature)
    assert p_value(counts, enumerated("llama", 1, temperature)) > 1e-4
    assert statistics.n_right > N_SAMPLES / 5 and statistics.n_wrong > N_SAMPLES / 5


@pytest.mark.parametrize("siblings", [0, 2])
def test_law_12_an_honest_draft_model_keeps_the_law(siblings):
    drafter = DraftModel(
        model_of("llama", 2), ReferenceBackend(), n_blocks=2000, honest=True, siblings=siblings
    )
    counts, statistics = texts_of(drafter, 1.0)
    assert p_value(counts, enumerated("llama", 1, 1.0)) > 1e-4
    assert statistics.n_right > N_SAMPLES / 4


def test_a_dishonest_draft_is_caught():
    """Drawn from another law than it says: the test must see that."""

    class Liar(HonestTree):
        def draft(self, request, most):
            honest = super().draft(request, most)
            flat = np.array([1 / FEW] * FEW + [0.0] * (VOCAB - FEW))
            return honest and Draft(tokens=honest.tokens, laws=(flat,) * len(honest))

    counts, _ = texts_of(Liar([CHAIN]), 1.0)
    assert p_value(counts, enumerated("llama", 1, 1.0)) < 1e-4


class Wrong:
    """Never right: what the target says is known, and something else is guessed."""

    def __init__(self, texts, seed):
        self.texts, self.rng = texts, Random(seed)

    def propose(self, asks):
        drafts = []
        for request, n in asks:
            known = len(request.tokens)
            right = self.texts[request.id][known]
            first = (right + self.rng.randrange(1, VOCAB)) % VOCAB
            rest = [self.rng.randrange(VOCAB) for _ in range(n - 1)]
            drafts.append(Draft(tokens=(first, *rest)))
        return drafts

    def forget_the_gone(self):
        pass


def state(engine):
    """Everything about the memory that a schedule can notice."""
    memory = engine.scheduler.memory
    requests = [*engine.scheduler.running.values(), *engine.scheduler.waiting.values()]
    return (
        memory.pool.n_free,
        memory.pool.n_available,
        sorted(memory.pool.refs),
        sum(memory.pool.kept),
        [(r.id, r.status, r.n_computed, len(r.lease.table.blocks), r.tokens) for r in requests],
        memory.host and memory.host.n_free,
    )


@given(FAMILY, SEED, CROWD, schedules(), st.integers(1, 6), st.integers(0, 9))
@settings(max_examples=30)
def test_law_13_wrong_guesses_leave_no_trace(family, seed, asks, schedule, n, lot):
    """In step with a run that does not guess: the same pool, tables and tokens after every step."""
    schedule = replace(schedule, loop="sequential")
    plain = schedule.engine(model_of(family, seed))
    texts = {
        str(i): [*ask.prompt, *(s.token for s in naive(family, seed, ask)), 0]
        for i, ask in enumerate(asks)
    }
    other = speculating(
        schedule.engine(model_of(family, seed)), Speculator(Wrong(texts, lot), Fixed(n))
    )
    for engine in (plain, other):
        for i, ask in enumerate(asks):
            engine.add(ask.request(str(i)))
    while not plain.is_idle:
        plain.step(), other.step()
        assert state(plain) == state(other)
    assert other.is_idle
    assert other.speculator.statistics.n_right == 0


@given(FAMILY, SEED, ASKS, st.integers(0, 9))
@settings(max_examples=20)
def test_law_13_what_is_kept_is_what_a_plain_run_would_have_computed(family, seed, ask, lot):
    """Keys and values of accepted guesses, side branches too, in every bit."""
    model = model_of(family, seed)
    text = [*ask.prompt, *(s.token for s in naive(family, seed, ask))]
    engine = speculating(
        Schedule(memory="none").engine(model),
        Speculator(AnyTree(lot, {"0": text}, branches=True), Fixed(5)),
    )
    plain = Schedule(memory="none").engine(model)
    request, same = ask.request("0"), ask.request("0")
    engine.add(request), plain.add(same)
    while request.status is not Status.FINISHED:
        engine.step()
        while len(same.tokens) < len(request.tokens) and same.status is not Status.FINISHED:
            plain.step()
        if Status.FINISHED not in (request.status, same.status):
            n = request.n_computed
            for ours, theirs in zip(contents(engine, request, n), contents(plain, same, n)):
                assert np.array_equal(ours, theirs)


def contents(engine, request, n):
    cache, slots = engine.runner.cache, request.lease.table.slots(0, n)
    return [stored[slots] for stored in (*cache.keys, *cache.values)]


def test_drafts_take_no_block_from_a_cache_and_no_place_from_a_request():
    """A pool with one free block: the draft is cut to it, though cached blocks could be evicted."""
    schedule = Schedule(memory="hashed", block_size=4, n_blocks=8)
    ask = Ask(tuple(range(12)), SamplingParams(temperature=0.0, max_tokens=30), eog=frozenset())
    text = [*ask.prompt, *(s.token for s in naive("llama", 0, ask))]
    speculator = Speculator(Recital({"0": text}), Fixed(12))
    engine = speculating(schedule.engine(model_of("llama", 0)), speculator)
    engine.add(Ask((5,) * 16, SamplingParams(max_tokens=1), eog=frozenset()).request("old"))
    engine.run()
    cached = engine.scheduler.memory.pool.n_available - engine.scheduler.memory.pool.n_free
    request = ask.request("0")
    engine.add(request)
    engine.step()
    while request.lease.table.blocks and engine.scheduler.memory.pool.n_free:
        before = engine.scheduler.memory.pool.n_free
        engine.step()
        assert sum(engine.scheduler.memory.pool.kept) >= cached
        assert before >= engine.scheduler.memory.pool.n_free
    assert cached == 4


def test_the_definition_is_the_naive_loop():
    """What the laws compare with does not come from the engine."""
    ask = Ask((1, 2), SamplingParams(temperature=0.0, max_tokens=3), eog=frozenset())
    logits, tokens = recompute(model_of("llama", 0)), [1, 2]
    for step in naive("llama", 0, ask):
        assert step.token == int(np.argmax(logits(tokens)))
        tokens.append(step.token)
    assert len(tokens) == 5 < CONTEXT
