"""Laws 3, 11, 15 and 18 for the two loops of `refimpl.model`, over every family."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refimpl.model.families import FAMILIES
from refimpl.model.generate import generate, incremental, recompute
from refimpl.oracle.models import random_model
from refimpl.sampling import SamplingParams

families = st.sampled_from(sorted(FAMILIES))
prompts = st.lists(st.integers(0, 39), min_size=1, max_size=20)
seeds = st.integers(0, 1000)


def tokens(next_logits, prompt, **params):
    steps = generate(next_logits, prompt, SamplingParams(**params), context_length=64)
    return [step.sampled.token for step in steps]


@given(families, prompts, seeds, st.integers(1, 20))
def test_law_3_any_prefill_chunking_gives_the_same_bits(family, prompt, seed, chunk):
    model = random_model(family, seed)
    definition = recompute(model)(prompt)
    assert np.array_equal(incremental(model, 64, chunk=chunk)(prompt), definition)
    assert np.array_equal(incremental(model, 64)(prompt), definition)


@given(families, prompts, seeds, st.sampled_from([0.0, 1.0]))
@settings(max_examples=25)
def test_law_11_the_cached_loop_equals_the_naive_loop(family, prompt, seed, temperature):
    model = random_model(family, seed)
    params = {"max_tokens": 8, "temperature": temperature, "seed": seed}
    naive = generate(recompute(model), prompt, SamplingParams(**params), context_length=64)
    cached = generate(incremental(model, 64), prompt, SamplingParams(**params), context_length=64)
    assert list(naive) == list(cached)  # tokens, logprobs and reasons


@given(families, prompts, prompts, prompts, seeds)
@settings(max_examples=25)
def test_law_4_a_second_text_reuses_the_common_beginning(family, shared, a, b, seed):
    model = random_model(family, seed)
    next_logits = incremental(model, 64)
    next_logits(shared + a)
    assert np.array_equal(next_logits(shared + b), recompute(model)(shared + b))


@given(families, prompts, seeds, st.floats(0.1, 5))
@settings(max_examples=15)
def test_law_15_temperature_0_is_top_k_1(family, prompt, seed, temperature):
    next_logits = incremental(random_model(family, seed), 64)
    greedy = tokens(next_logits, prompt, temperature=0.0, max_tokens=6)
    assert greedy == tokens(
        next_logits, prompt, temperature=temperature, top_k=1, max_tokens=6, seed=seed
    )


@given(families, prompts, seeds, st.integers(0, 9), st.integers(0, 9))
@settings(max_examples=15)
def test_law_18_a_longer_max_tokens_only_adds(family, prompt, seed, short, more):
    next_logits = incremental(random_model(family, seed), 64)
    first = tokens(next_logits, prompt, max_tokens=short, seed=seed)
    longer = tokens(next_logits, prompt, max_tokens=short + more, seed=seed)
    assert longer[: len(first)] == first


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_the_context_length_ends_the_text(family):
    model = random_model(family, 0)
    params = SamplingParams(max_tokens=1000, temperature=0)
    steps = list(generate(incremental(model, 64), [1] * 60, params, context_length=64))
    assert len(steps) == 4
    assert [step.finish for step in steps] == [None, None, None, "length"]
