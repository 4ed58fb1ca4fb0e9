"""Laws 15 to 18 of sampling, and the chi-square that ties the sampler to its law.

The sampler's side of law 18 is shown on a toy language model: one row of logits per last token.
"""

from math import erfc, exp, gamma, inf, log, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refimpl.sampling import (
    LLAMA_CPP_ORDER,
    ORDER,
    SamplingParams,
    law,
    sample,
    sample_at,
    softmax,
)

values = st.sampled_from([0.0, 1.0, -1.0, 2.5]) | st.floats(-12, 12, width=32)
"""float32, as every backend delivers them; the few fixed ones make ties."""
logits_lists = st.lists(values | st.just(-inf), min_size=1, max_size=8).filter(
    lambda x: max(x) > -inf
)
uniforms = st.floats(0, 1, exclude_max=True)
temperatures = st.floats(1e-6, 1e6)
orders = st.sampled_from([ORDER, LLAMA_CPP_ORDER])
filters = st.fixed_dictionaries(
    {
        "top_k": st.integers(0, 6),
        "typical_p": st.floats(0.3, 1),
        "top_p": st.floats(0.3, 1),
        "min_p": st.floats(0, 0.4),
        "top_n_sigma": st.floats(-1, 3),
        "xtc_probability": st.sampled_from([0.0, 0.5, 1.0]),
        "xtc_threshold": st.floats(0.05, 0.5),
    }
)


@given(logits_lists, uniforms, temperatures, orders)
def test_law_15_temperature_0_is_argmax_lowest_id_and_equals_top_k_1(x, u, t, order):
    logits = np.array(x)
    greedy = sample(logits, SamplingParams(temperature=0.0), [], u, order=order)
    assert greedy.token == x.index(max(x))
    assert greedy.drawn_logprob == 0.0
    assert sample(logits, SamplingParams(temperature=t, top_k=1), [], u, order=order) == greedy


NEUTRAL = SamplingParams(
    top_k=0,
    typical_p=1.0,
    top_p=1.0,
    min_p=0.0,
    top_n_sigma=-1.0,
    xtc_probability=0.0,
    dry_multiplier=0.0,
    repetition_penalty=1.0,
    frequency_penalty=0.0,
    presence_penalty=0.0,
    logit_bias={},
)


@given(logits_lists, uniforms, st.sampled_from([0.5, 1.0, 3.0]), orders)
def test_law_16_neutral_filters_equal_plain_softmax_sampling(x, u, t, order):
    """Plain: divide, exponentiate, walk along the running sum of the probabilities."""
    weights = [exp((v - max(x)) / t) for v in x]

    def walk(v):
        sums = (sum(weights[: i + 1]) for i in range(len(x)))
        return next((i for i, held in enumerate(sums) if held > v * sum(weights)), len(x) - 1)

    params = SamplingParams(temperature=t)
    history = [0] * 5  # neutral penalties must not read it
    token = sample(np.array(x), params, history, u, order=order).token
    assert weights[token] > 0
    assert walk(u - 1e-13) <= token <= walk(u + 1e-13)  # the running sums of both may round apart
    np.testing.assert_allclose(
        law(np.array(x), params, history, order=order), np.array(weights) / sum(weights), rtol=1e-12
    )
    assert params == SamplingParams(**{**vars(NEUTRAL), "temperature": t})


@given(
    st.lists(st.integers(-500, 500), min_size=1, max_size=8),
    filters,
    st.floats(0.125, 8),
    st.floats(-100, 100),
    orders,
)
def test_law_17_scaling_with_temperature_and_adding_a_constant_change_nothing(
    x, settings, c, shift, order
):
    """With temperature last (llama.cpp) truncation sees the scaled logits: there c = 1."""
    c = c if order is ORDER else 1.0
    logits = np.array(x) / 32  # far enough apart that adding a constant makes no new ties
    plain = law(logits, SamplingParams(**settings), [], order=order)
    moved = law(c * logits + shift, SamplingParams(**settings, temperature=c), [], order=order)
    # A cut may fall on either side of a line that the rounding of c * x + shift moved across it.
    if ((plain > 0) == (moved > 0)).all():
        np.testing.assert_allclose(moved, plain, atol=1e-12)
    else:
        assert_cut_is_at_a_line(logits, settings, order)


def assert_cut_is_at_a_line(logits, settings, order):
    """Moving every line by 1e-9 must change the survivors: the cut was a matter of rounding."""
    survivors = set()
    for nudge in (-1e-9, 0.0, 1e-9):
        nudged = {
            name: min(max(value + nudge, 0.0), 1.0) if 0 < value < 1 else value
            for name, value in settings.items()
        }
        if settings["top_n_sigma"] > 0:
            nudged["top_n_sigma"] = settings["top_n_sigma"] + nudge
        p = law(logits, SamplingParams(**nudged), [], order=order)
        survivors.add(tuple(np.flatnonzero(p).tolist()))
    assert len(survivors) > 1


@given(
    st.lists(st.integers(-200, 200), min_size=1, max_size=8, unique=True),
    filters,
    st.floats(0.25, 4),
    st.data(),
)
def test_law_17_permuting_the_vocabulary_permutes_the_law(x, settings, t, data):
    """Without ties, that is: the lowest id wins, and a permutation changes which that is."""
    logits = np.array(x) / 16
    order = data.draw(st.permutations(range(len(x))))
    params = SamplingParams(**settings, temperature=t)
    np.testing.assert_allclose(
        law(logits[list(order)], params, []), law(logits, params, [])[list(order)], atol=1e-12
    )


TABLE = np.log(np.random.default_rng(5).dirichlet(np.ones(6), size=6))
WILD = SamplingParams(
    temperature=1.3,
    top_p=0.95,
    repetition_penalty=1.2,
    dry_multiplier=0.5,
    xtc_probability=0.3,
    seed=42,
)


def generate(params, request, max_tokens, prompt=(0,)):
    """The toy loop: the next logits depend on the last token, and on nothing else that changes."""
    tokens = list(prompt)
    for _ in range(max_tokens):
        tokens.append(sample_at(TABLE[tokens[-1]], params, tokens, request=request).token)
    return tokens[len(prompt) :]


@given(st.integers(0, 6), st.integers(0, 6), st.integers(0, 2**64 - 1))
def test_law_18_more_tokens_only_extend_the_output(short, more, request):
    longer = generate(WILD, request, short + more)
    assert generate(WILD, request, short) == longer[:short]


@given(st.integers(1, 4), st.permutations(range(4)))
def test_law_18_sample_i_of_n_depends_neither_on_n_nor_on_the_order_of_drawing(n, order):
    alone = [generate(WILD, i, 4) for i in range(n)]
    together = {i: [0] for i in range(n)}
    for _ in range(4):  # one token for each in turn, as a batch would
        for i in (i for i in order if i < n):
            tokens = together[i]
            tokens.append(sample_at(TABLE[tokens[-1]], WILD, tokens, request=i).token)
    assert [together[i][1:] for i in range(n)] == alone


def test_law_18_samples_of_one_request_differ():
    assert len({tuple(generate(WILD, i, 12)) for i in range(8)}) == 8


def chi_square_tail(statistic, freedom):
    """P(chi-square >= statistic): the incomplete gamma function at half-integers, term by term."""
    a, x = (0.5, statistic / 2) if freedom % 2 else (1.0, statistic / 2)
    tail = erfc(sqrt(x)) if freedom % 2 else exp(-x)
    while a < freedom / 2:
        tail += x**a * exp(-x) / gamma(a + 1)
        a += 1
    return tail


def test_the_chi_square_tail_agrees_with_published_tables():
    for freedom, critical in ((1, 10.828), (2, 13.816), (5, 20.515), (10, 29.588)):
        assert chi_square_tail(critical, freedom) == pytest.approx(0.001, rel=1e-3)


SETTINGS = [
    SamplingParams(seed=1),
    SamplingParams(seed=2, temperature=0.7, top_p=0.9),
    SamplingParams(seed=3, temperature=2.0, top_k=6, min_p=0.1),
    SamplingParams(seed=4, typical_p=0.8, xtc_probability=0.4, xtc_threshold=0.15),
    SamplingParams(seed=5, top_n_sigma=1.5, frequency_penalty=0.5, repetition_penalty=1.3),
]


@pytest.mark.parametrize("params", SETTINGS, ids=lambda p: f"seed {p.seed}")
def test_samples_follow_the_enumerated_law(params, n=800):
    logits = np.array([2.0, 1.5, 1.0, 1.0, 0.5, 0.0, -0.5, -1.0, -2.0])
    history = [0, 3, 3, 1]
    expected = n * law(logits, params, history)
    drawn = [sample_at(logits, params, history, request=i).token for i in range(n)]
    counts = np.bincount(drawn, minlength=len(logits))
    possible = expected > 0
    assert not counts[~possible].any()
    statistic = ((counts - expected)[possible] ** 2 / expected[possible]).sum()
    assert chi_square_tail(statistic, np.count_nonzero(possible) - 1) > 1e-4


def test_the_chi_square_would_notice_a_wrong_temperature(n=800):
    logits = np.array([2.0, 1.5, 1.0, 1.0, 0.5, 0.0, -0.5, -1.0, -2.0])
    drawn = [sample_at(logits, SETTINGS[0], [], request=i).token for i in range(n)]
    counts = np.bincount(drawn, minlength=len(logits))
    wrong = n * softmax(logits / 0.6)
    assert chi_square_tail(((counts - wrong) ** 2 / wrong).sum(), len(logits) - 1) < 1e-4


def test_a_uniform_chooses_by_its_token_slice():
    """Not only on average: the slice of [0, 1) for a token is as wide as its probability."""
    logits = np.log([0.1, 0.2, 0.3, 0.4])
    grid = [sample(logits, SamplingParams(), [], (i + 0.5) / 100).token for i in range(100)]
    assert np.bincount(grid).tolist() == [10, 20, 30, 40]
    assert log(0.4) == pytest.approx(sample(logits, SamplingParams(), [], 0.9).logprob)
