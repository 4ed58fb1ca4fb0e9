"""Law 14, on real block tables: what beam search finds, and what it leaves behind."""

from itertools import product

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from refimpl.backend import ReferenceBackend
from refimpl.engine.beam import BeamParams, search
from refimpl.engine.beam.scores import RULES
from refimpl.engine.core import Engine
from refimpl.engine.limits import Limits
from refimpl.engine.scheduler import Scheduler
from refimpl.kv.blocks import BlockPool
from refimpl.model.generate import generate, recompute
from refimpl.ops.numerics import F64
from refimpl.ops.reference import Reference
from refimpl.sampling import SamplingParams, log_softmax
from tests.laws.engines import (
    CONTEXT,
    FAMILY,
    MEMORIES,
    PROMPTS,
    SEED,
    VOCAB,
    assert_drained,
    model_of,
    shapes_unchecked,
)

ENDS = frozenset({3, 7})
OPS = Reference(to=F64)
MEMORY = st.sampled_from(sorted(MEMORIES))
PARAMS = st.builds(
    BeamParams,
    width=st.integers(1, 5),
    max_tokens=st.integers(1, 7),
    length_penalty=st.sampled_from([-1.0, 0.0, 1.0, 2.0]),
    early_stopping=st.sampled_from([True, False, "never"]),
) | st.builds(
    BeamParams,
    rules=st.just("vllm"),
    width=st.integers(1, 5),
    max_tokens=st.integers(1, 7),
    length_penalty=st.sampled_from([0.0, 1.0]),
)


@pytest.fixture(autouse=True, scope="module")
def fast():
    with shapes_unchecked():
        yield


def engine_of(family, seed, *, memory="hashed", block_size=4, n_blocks=120, limits=None):
    pool = BlockPool(n_blocks=n_blocks, block_size=block_size)
    scheduler = Scheduler(MEMORIES[memory](pool), limits)
    return Engine(model_of(family, seed), ReferenceBackend(OPS), scheduler)


def naive(family, seed, prompt, params, ends=ENDS):
    """The definition: the same rules, every beam computed from its first token, alone."""
    logits = recompute(model_of(family, seed), OPS)
    beams = RULES[params.rules](params, ends=ends, n_prompt=len(prompt))
    while not beams.is_done:
        rows = [log_softmax(logits([*prompt, *beam.tokens])) for beam in beams.live]
        beams.advance(np.array(rows))
    return beams.best()


def rescored(family, seed, prompt, tokens):
    """The log-probability of a continuation, from scratch."""
    logits = recompute(model_of(family, seed), OPS)
    return sum(
        float(log_softmax(logits([*prompt, *tokens[:i]]))[token]) for i, token in enumerate(tokens)
    )


@given(
    FAMILY,
    SEED,
    st.lists(PROMPTS, min_size=1, max_size=2),
    PARAMS,
    MEMORY,
    st.sampled_from([1, 2, 4, 8]),
    st.integers(1, 9),
)
@settings(max_examples=15)
def test_law_11_beams_on_forked_tables_equal_beams_computed_alone(
    family, seed, prompts, params, memory, size, chunk
):
    limits = Limits(max_batched_tokens=chunk)
    engine = engine_of(family, seed, memory=memory, block_size=size, limits=limits)
    for _ in range(2):  # the second time on a warm cache
        results = search(engine, prompts, params, ends=ENDS)
        assert_drained(engine)
        for prompt, result in zip(prompts, results):
            assert result.hypotheses == naive(family, seed, prompt, params)


@given(FAMILY, SEED, PROMPTS, st.booleans(), st.sampled_from([0.0, 1.0, 2.0]), st.integers(1, 9))
@settings(max_examples=15)
def test_law_14_width_1_equals_greedy(family, seed, prompt, early, penalty, n):
    params = BeamParams(width=1, max_tokens=n, early_stopping=early, length_penalty=penalty)
    [result] = search(engine_of(family, seed), [prompt], params, ends=ENDS)
    greedy = generate(
        recompute(model_of(family, seed), OPS),
        prompt,
        SamplingParams(temperature=0.0, max_tokens=n),
        eog_ids=ENDS,
        context_length=CONTEXT,
    )
    assert result.hypotheses[0].tokens == [step.sampled.token for step in greedy]


@given(FAMILY, SEED, PROMPTS, PARAMS)
@settings(max_examples=15)
def test_law_14_a_score_equals_rescoring_from_scratch(family, seed, prompt, params):
    [result] = search(engine_of(family, seed), [prompt], params, ends=ENDS)
    for one in result.hypotheses:
        total = rescored(family, seed, prompt, one.tokens)
        n = len(one.tokens) if params.rules == "transformers" else len(prompt) + len(one.tokens)
        n -= params.rules == "vllm" and one.ended
        assert abs(one.logprob - total) <= 1e-9
        assert abs(one.score - total / n**params.length_penalty) <= 1e-9


@given(FAMILY, SEED, PROMPTS, st.sampled_from(sorted(RULES)), st.sampled_from([0.0, 1.0]))
@settings(max_examples=10)
def test_law_14_width_vocab_to_the_length_finds_the_best(family, seed, prompt, rules, penalty):
    """Every continuation of two tokens, or of one that ends, is looked at."""
    params = BeamParams(
        rules=rules,
        width=VOCAB**2,
        max_tokens=2,
        length_penalty=penalty,
        early_stopping="never" if rules == "transformers" else False,
        n_return=1,
    )
    engine = engine_of(family, seed, n_blocks=400)
    [result] = search(engine, [prompt], params, ends=ENDS)
    logits = recompute(model_of(family, seed), OPS)
    first = log_softmax(logits(prompt))
    second = {a: log_softmax(logits([*prompt, a])) for a in range(VOCAB)}

    def score(tokens):
        total = first[tokens[0]] + (second[tokens[0]][tokens[1]] if len(tokens) == 2 else 0.0)
        ended = tokens[-1] in ENDS
        n = len(tokens) + (len(prompt) - ended if rules == "vllm" else 0)
        return total / n**penalty

    whole = [(a, b) for a, b in product(range(VOCAB), repeat=2) if a not in ENDS]
    best = max([*whole, *((a,) for a in ENDS)], key=score)
    assert result.hypotheses[0].tokens == list(best)
    assert abs(result.hypotheses[0].score - score(best)) <= 1e-9


@given(FAMILY, SEED, PROMPTS, st.integers(2, 5), MEMORY, st.sampled_from([1, 2, 4]))
@settings(max_examples=10)
def test_law_22_beams_take_the_blocks_of_their_tree(family, seed, prompt, width, memory, size):
    """Never more than one partial block a beam beyond the tree; no copy at block size 1."""
    engine = engine_of(family, seed, memory=memory, block_size=size)
    params = BeamParams(width=width, max_tokens=8)
    [result] = search(engine, [prompt], params)
    sharing = result.sharing
    n_stem, n_branch = -(-len(prompt) // size), -(-8 // size) + 1
    assert sharing.n_peak <= n_stem + width * n_branch
    assert sharing.n_distinct <= sharing.n_named
    assert size > 1 or sharing.n_copies == 0
    assert_drained(engine)
