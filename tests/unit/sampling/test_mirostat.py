"""Mirostat: the pure step, its place in `sample`, and that it does what it is for."""

from math import log2

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refimpl.errors import InputError
from refimpl.sampling import SamplingParams, sample, sample_at, softmax
from refimpl.sampling.mirostat import cut_surprising, mirostat_v2

LOGITS = np.log([0.4, 0.3, 0.2, 0.1])
uniforms = st.floats(0, 1, exclude_max=True)


@given(uniforms, st.floats(0, 6), st.floats(0.5, 4), st.floats(0, 1))
def test_the_step_by_hand(u, mu, tau, eta):
    allowed = [i for i, p in enumerate([0.4, 0.3, 0.2, 0.1]) if -log2(p) <= mu] or [0]
    mass = sum([0.4, 0.3, 0.2, 0.1][i] for i in allowed)
    token, moved = mirostat_v2(LOGITS, mu, tau=tau, eta=eta, uniform=u)
    assert token in allowed
    surprise = log2(mass) - log2([0.4, 0.3, 0.2, 0.1][token])
    assert moved == pytest.approx(mu - eta * (surprise - tau), abs=1e-12)


@given(uniforms)
def test_sample_takes_the_same_step_and_carries_mu(u):
    params = SamplingParams(mirostat=2, mirostat_tau=1.0, mirostat_eta=0.5)
    first = sample(LOGITS, params, [], u)
    assert (first.token, first.mu) == mirostat_v2(LOGITS, 2.0, tau=1.0, eta=0.5, uniform=u)
    second = sample(LOGITS, params, [], u, mu=first.mu)
    assert (second.token, second.mu) == mirostat_v2(LOGITS, first.mu, tau=1.0, eta=0.5, uniform=u)


def test_bias_and_temperature_come_before_the_cut():
    params = SamplingParams(mirostat=2, temperature=0.5, logit_bias={0: -np.inf})
    drawn = sample(LOGITS, params, [], 0.0)
    sharpened = softmax(cut_surprising(np.array([-np.inf, *(LOGITS[1:] * 2)]), 10.0))
    assert drawn.token == 1
    assert drawn.drawn_logprob == pytest.approx(np.log(sharpened[1]), abs=1e-12)


def test_without_mirostat_there_is_no_mu():
    assert sample(LOGITS, SamplingParams(), [], 0.5).mu is None


def test_the_surprise_of_a_long_text_approaches_tau():
    logits = -2 * np.log(np.arange(1, 201))  # Zipf-like; far more surprising than tau, uncut
    params = SamplingParams(mirostat=2, mirostat_tau=1.0, seed=3)
    surprises, mu = [], None
    for position in range(600):
        drawn = sample_at(logits, params, [0] * position, mu=mu)
        mu = drawn.mu
        surprises.append(-drawn.drawn_logprob / np.log(2))
    assert np.mean(surprises[200:]) == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize(
    "other", [{"top_k": 5}, {"top_p": 0.9}, {"repetition_penalty": 1.1}, {"dry_multiplier": 0.8}]
)
def test_filters_it_would_ignore_are_refused(other):
    with pytest.raises(InputError, match=f"mirostat replaces {next(iter(other))}"):
        SamplingParams(mirostat=2, **other)
