"""Every filter against its definition, token by token, in exact arithmetic.

The definitions are those of the golden vectors, `golden/sampling/exact.py`; they share nothing with
`refimpl.sampling` but the words of its docstrings, and are evaluated on the very logits the filter
gets.  A case that float64 cannot decide is dropped; where both sides are exactly equal, the filter
must decide as documented.
"""

import importlib.util
from decimal import Decimal, localcontext
from functools import wraps
from math import inf
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from refimpl.sampling import LLAMA_CPP_ORDER, ORDER, SamplingParams, law, softmax
from refimpl.sampling.mirostat import cut_surprising
from refimpl.sampling.penalties import frequency, logit_bias, presence, repetition
from refimpl.sampling.truncate import min_p, temperature, top_k, top_n_sigma, top_p, typical
from refimpl.sampling.xtc import xtc

PATH = Path(__file__).parents[3] / "golden" / "sampling" / "exact.py"
spec = importlib.util.spec_from_file_location("exact_sampling", PATH)
exact = importlib.util.module_from_spec(spec)
spec.loader.exec_module(exact)
to_exact = exact.to_exact


def decided(test):
    """Run in 120 digits; drop the example if float64 could not have known better."""

    @wraps(test)
    def run(*args, **kwargs):
        with localcontext(exact.DIGITS):
            try:
                test(*args, **kwargs)
            except exact.UndecidableError:
                assume(False)

    return run


def same_law(logits, expected):
    """Same survivors; probabilities equal within the roundings that led to them."""
    assert np.flatnonzero(logits > -inf).tolist() == exact.present(expected)
    probabilities = [float(p) for p in exact.probabilities(expected)]
    np.testing.assert_allclose(softmax(logits), probabilities, rtol=float(exact.rounding(expected)))


values = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.0, -3.0, 0.5]),  # ties are likely
    st.floats(-12, 12, width=32),
)
laws = (
    st.lists(values | st.just(-inf), min_size=1, max_size=7)
    .filter(lambda x: max(x) > -inf)
    .map(np.array)
)
fractions = st.integers(0, 8).map(lambda k: k / 8) | st.floats(0, 1, allow_subnormal=False)
"""Eighths, which tied tokens reach exactly, and any other number."""
UNIFORM = np.zeros(4)
HALVES = np.array([0.0, -inf, 0.0])


@given(laws, fractions)
@example(UNIFORM, 0.5)  # two of four reach p exactly
@example(UNIFORM, 0.0)  # never empty
@example(HALVES, 0.5)
@decided
def test_top_p(logits, p):
    same_law(top_p(logits, p), exact.top_p(to_exact(logits), Decimal(p)))


@given(laws, fractions)
@example(UNIFORM, 0.5)
@example(UNIFORM, 0.0)
@example(np.arange(300.0) % 2, 0.5)  # so many ties that an unstable sort would show
@example(np.log([0.5, 0.3, 0.2]), 0.25)  # the most probable token is not the most typical
@decided
def test_typical(logits, p):
    same_law(typical(logits, p), exact.typical(to_exact(logits), Decimal(p)))


@given(laws, st.integers(0, 9))
@example(np.array([1.0, 2.0, 1.0, 1.0]), 3)
@decided
def test_top_k(logits, k):
    same_law(top_k(logits, k), exact.top_k(to_exact(logits), k))


@given(laws, fractions)
@example(np.array([1.0, 1.0, 0.0]), 1.0)  # the maximum reaches itself
@decided
def test_min_p(logits, p):
    same_law(min_p(logits, p), exact.min_p(to_exact(logits), Decimal(p)))


@given(laws, st.floats(-1, 4, width=32))
@example(np.array([5.0, 3.0]), 2.0)  # one standard deviation is half the distance
@example(UNIFORM, 1.0)  # sigma = 0
@decided
def test_top_n_sigma(logits, n):
    same_law(top_n_sigma(logits, n), exact.top_n_sigma(to_exact(logits), Decimal(n)))


@given(laws, fractions)
@example(np.array([0.0, 0.0]), 0.5)  # both reach the threshold: the lower id goes
@example(UNIFORM, 0.0)
@decided
def test_xtc(logits, threshold):
    same_law(xtc(logits, threshold), exact.xtc(to_exact(logits), Decimal(threshold)))


@given(laws, st.floats(0, 10, width=32))
@example(UNIFORM, 2.0)  # a surprise of exactly mu is allowed
@example(UNIFORM, 1.0)  # all are too surprising: the lowest id stays
@decided
def test_mirostat_cut(logits, mu):
    same_law(cut_surprising(logits, mu), exact.mirostat_cut(to_exact(logits), Decimal(mu)))


@given(laws, st.just(0.0) | st.floats(0.0625, 20, width=32))
@decided
def test_temperature(logits, t):
    same_law(temperature(logits, t), exact.temperature(to_exact(logits), Decimal(t)))


penalties = st.floats(-2, 2, width=32)
histories = st.lists(st.integers(0, 6), max_size=8)


@given(laws, histories, st.floats(0.5, 3, width=32), penalties, penalties)
@decided
def test_penalties(logits, history, factor, per_use, once):
    history = [token for token in history if token < len(logits)]
    x = to_exact(logits)
    same_law(repetition(logits, history, factor), exact.repetition(x, history, Decimal(factor)))
    same_law(frequency(logits, history, per_use), exact.frequency(x, history, Decimal(per_use)))
    same_law(presence(logits, history, once), exact.presence(x, history, Decimal(once)))


@given(laws, st.dictionaries(st.integers(0, 6), values | st.just(-inf), max_size=3))
@decided
def test_logit_bias(logits, bias):
    bias = {token: amount for token, amount in bias.items() if token < len(logits)}
    expected = exact.logit_bias(to_exact(logits), {t: Decimal(b) for t, b in bias.items()})
    assume(exact.present(expected))
    same_law(logit_bias(logits, bias), expected)


# The chain.

chains = st.fixed_dictionaries(
    {
        "temperature": st.just(1.0) | st.floats(0.25, 4, width=32),
        "top_k": st.integers(0, 5),
        "typical_p": st.floats(0.25, 1),
        "top_p": st.floats(0.25, 1),
        "min_p": st.floats(0, 0.5, allow_subnormal=False),
        "top_n_sigma": st.floats(-1, 3, width=32),
        "repetition_penalty": st.floats(0.5, 2, width=32),
        "frequency_penalty": penalties,
        "presence_penalty": penalties,
        "penalty_last_n": st.integers(-1, 8),
        "logit_bias": st.dictionaries(st.just(0), values, max_size=1),
        "dry_multiplier": st.sampled_from([0.0, 0.75]),
        "dry_base": st.floats(1, 2, width=32),
        "dry_allowed_length": st.integers(0, 3),
        "dry_penalty_last_n": st.integers(-1, 8),
        "xtc_probability": st.sampled_from([0.0, 0.25, 1.0]),
        "xtc_threshold": st.floats(0.01, 0.5),
    }
)


def in_decimals(settings):
    """The same numbers as exact Decimals."""
    decimals = {k: Decimal(v) if isinstance(v, float) else v for k, v in settings.items()}
    return decimals | {"logit_bias": {t: Decimal(b) for t, b in settings["logit_bias"].items()}}


@given(laws, chains, histories, st.sampled_from([ORDER, LLAMA_CPP_ORDER]))
@decided
def test_chain_is_its_filters_in_order(logits, settings, history, order):
    params = SamplingParams(**settings)
    history = [token for token in history if token < len(logits)]
    names = [name for name, _ in order]
    expected, bound = exact.law(to_exact(logits), in_decimals(settings), history, names)
    chosen = law(logits, params, history, order=order)
    assert ((chosen > 0) == (np.array(expected) > 0)).all()
    np.testing.assert_allclose(chosen, [float(p) for p in expected], rtol=float(bound))


def test_the_definitions_disagree_with_a_filter_that_cuts_one_token_too_many():
    with localcontext(exact.DIGITS), pytest.raises(AssertionError):
        same_law(top_p(UNIFORM, 0.5), exact.top_p(to_exact(UNIFORM), Decimal("0.51")))
