"""One step: what is chosen, what is reported, what is refused."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refimpl.errors import InputError
from refimpl.sampling import (
    ORDER,
    SamplingError,
    SamplingParams,
    law,
    logprobs,
    process,
    sample,
    sample_at,
    softmax,
    uniform,
)
from refimpl.sampling.probability import pick
from refimpl.sampling.truncate import largest

EIGHTHS = np.array([0.0, -np.inf, 0.0, 0.0, 0.0])
laws = st.lists(st.integers(-4, 4).map(float) | st.just(-np.inf), min_size=1, max_size=6).filter(
    lambda x: max(x) > -np.inf
)


def test_pick_inverts_the_distribution_function_exactly_at_its_steps():
    below = [math.nextafter(u, 0) for u in (0.25, 0.5, 0.75, 1.0)]
    assert [pick(EIGHTHS, u) for u in below] == [0, 2, 3, 4]
    assert [pick(EIGHTHS, u) for u in (0.0, 0.25, 0.5, 0.75)] == [0, 2, 3, 4]


@given(laws, st.floats(0, 1, exclude_max=True))
def test_pick_equals_walking_along_the_running_sum(x, u):
    probabilities = softmax(np.array(x))
    walked = 0.0
    token = -1
    while walked <= u - 1e-14:  # a step that the roundings of both sums may have moved
        token += 1
        walked += probabilities[token]
    chosen = pick(np.array(x), u)
    assert probabilities[chosen] > 0
    assert chosen == token or abs(u - walked) < 1e-14


@given(laws, st.integers(-1, 8))
def test_largest_equals_a_stable_sort(x, count):
    plain = np.argsort(-np.array(x), kind="stable")[: max(count, 0)]
    assert np.flatnonzero(largest(np.array(x), count)).tolist() == sorted(plain.tolist())


def test_sampled_reports_both_laws_and_the_alternatives():
    logits = np.log([0.1, 0.6, 0.3])
    drawn = sample(logits, SamplingParams(top_k=2, logprobs=2), [], 0.0)
    assert drawn.token == 1
    assert drawn.logprob == pytest.approx(math.log(0.6))
    assert drawn.drawn_logprob == pytest.approx(math.log(0.6 / 0.9))
    assert [(t.token, round(math.exp(t.logprob), 9)) for t in drawn.top] == [(1, 0.6), (2, 0.3)]
    assert sample(logits, SamplingParams(), [], 0.0).top == ()


@given(laws, st.integers(0, 8))
def test_logprobs_equal_a_full_sort(x, k):
    p = softmax(np.array(x))
    plain = sorted((i for i in range(len(x)) if x[i] > -np.inf), key=lambda i: (-x[i], i))[:k]
    found = logprobs(np.array(x), k)
    assert [t.token for t in found] == plain
    np.testing.assert_allclose([math.exp(t.logprob) for t in found], p[plain], rtol=1e-13)


def test_logprobs_do_not_underflow():
    assert logprobs(np.array([0.0, -1000.0]), 2)[1].logprob == -1000.0


def test_sample_at_draws_the_numbers_of_its_seed_request_and_position():
    params = SamplingParams(seed=11, xtc_probability=0.5, xtc_threshold=0.05)
    logits = np.zeros(64)
    for request in range(20):
        direct = sample(
            logits,
            params,
            [1, 2, 3],
            uniform(11, request, 3, stream=0),
            xtc_uniform=uniform(11, request, 3, stream=1),
        )
        assert sample_at(logits, params, [1, 2, 3], request=request) == direct


def test_xtc_fires_as_often_as_asked_and_never_touches_the_token_stream():
    params = SamplingParams(xtc_probability=0.25, xtc_threshold=0.4)
    logits = np.log([0.5, 0.4, 0.1])
    assert law(logits, params, []).round(12).tolist() == [0.375, 0.5, 0.125]
    fired = [uniform(0, i, 0, stream=1) < 0.25 for i in range(400)]
    for request, fires in enumerate(fired):
        token = sample_at(logits, params, [], request=request).token
        survivors = [0.0, 0.4, 0.1] if fires else [0.5, 0.4, 0.1]
        assert token == pick(np.log(np.maximum(survivors, 1e-300)), uniform(0, request, 0))
    assert 70 < sum(fired) < 130  # 100 expected; more than three standard deviations either way


def test_xtc_fires_below_its_probability_and_not_at_it():
    params = SamplingParams(xtc_probability=0.5, xtc_threshold=0.4)
    logits = np.log([0.55, 0.45])
    assert sample(logits, params, [], 0.0, xtc_uniform=0.5).token == 0
    assert sample(logits, params, [], 0.0, xtc_uniform=math.nextafter(0.5, 0)).token == 1


@pytest.mark.parametrize(
    "penalty", [{"repetition_penalty": 2.0}, {"frequency_penalty": 0.5}, {"presence_penalty": 0.5}]
)
def test_each_penalty_sees_its_window_only(penalty):
    for last_n, lowered in ((0, []), (1, [1]), (2, [0, 1]), (-1, [0, 1, 2])):
        params = SamplingParams(**penalty, penalty_last_n=last_n)
        assert np.flatnonzero(process(np.ones(4), params, [2, 0, 1]) < 1).tolist() == lowered


def test_xtc_without_its_number_is_refused():
    with pytest.raises(InputError, match="xtc_uniform"):
        sample(np.zeros(2), SamplingParams(xtc_probability=0.5), [], 0.5)


@pytest.mark.parametrize("u", [-0.1, 1.0, math.nan])
def test_a_number_outside_the_unit_interval_is_refused(u):
    with pytest.raises(InputError, match="must lie in"):
        sample(np.zeros(2), SamplingParams(), [], u)


@pytest.mark.parametrize(
    ("logits", "params", "message"),
    [
        ([0.0, math.nan], {}, "NaN"),
        ([0.0, math.nan], {"temperature": 0.0}, "NaN"),
        ([0.0, math.inf], {"top_k": 1}, r"\+inf"),
        ([-math.inf, -math.inf], {}, "removed"),
        ([], {}, "removed"),
        ([0.0, 1.0], {"logit_bias": {0: -math.inf, 1: -math.inf}}, "removed"),
        ([1e308, 0.0], {"logit_bias": {0: 1e308}}, r"\+inf"),
        ([1e308, 0.0], {"logit_bias": {0: 1e308}, "temperature": 0.0}, r"\+inf"),
    ],
)
def test_logits_without_a_law_are_refused(logits, params, message):
    with pytest.raises(SamplingError, match=message):
        sample(np.array(logits), SamplingParams(**params), [], 0.5)


def test_bias_and_history_outside_the_vocabulary_are_refused():
    with pytest.raises(InputError, match="token 5, but the vocabulary has 2"):
        process(np.zeros(2), SamplingParams(logit_bias={5: 1.0}))
    for history in ([0, 2], [-1]):
        with pytest.raises(InputError, match="outside the vocabulary, 0 to 1"):
            process(np.zeros(2), SamplingParams(presence_penalty=1.0), history)


def test_logits_far_apart_cause_no_warning(recwarn):
    logits = np.array([1e308, -1e308, 0.0])
    params = SamplingParams(temperature=1e-300, repetition_penalty=2.0, top_p=0.9, min_p=0.1)
    assert sample(logits, params, [0, 1], 0.5).token == 0
    assert not recwarn.list


def test_no_filter_changes_its_input():
    logits = np.arange(6.0)
    everything = SamplingParams(
        temperature=0.5,
        top_k=5,
        typical_p=0.9,
        top_p=0.9,
        min_p=0.01,
        top_n_sigma=2.0,
        xtc_probability=1.0,
        xtc_threshold=0.1,
        repetition_penalty=1.1,
        frequency_penalty=0.1,
        presence_penalty=0.1,
        dry_multiplier=1.0,
        logit_bias={0: 1.0},
    )
    changed_by = []
    for name, _ in ORDER:
        one = tuple(entry for entry in ORDER if entry[0] == name)
        out = process(logits, everything, [5, 4, 3, 5, 4], xtc=True, order=one)
        assert logits.tolist() == [0, 1, 2, 3, 4, 5]
        if not np.array_equal(out, logits):
            changed_by.append(name)
    assert changed_by == [name for name, _ in ORDER]  # each filter reads its own parameter


def test_float32_logits_are_widened_and_mean_the_same():
    logits = np.float32([0.1, 0.2, 0.3])
    wide = sample(logits.astype(np.float64), SamplingParams(), [], 0.4)
    assert sample(logits, SamplingParams(), [], 0.4) == wide


def test_the_law_of_mirostat_is_not_given_without_its_state():
    with pytest.raises(InputError, match="mirostat"):
        law(np.zeros(2), SamplingParams(mirostat=2), [])
