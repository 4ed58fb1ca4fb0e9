"""DRY against its definition (`golden/sampling/exact.py`): try every earlier place and length."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refimpl.errors import InputError
from refimpl.sampling import SamplingParams, process
from refimpl.sampling.dry import dry, repetitions, since_breaker, z_array

texts = st.lists(st.integers(0, 2), max_size=14)
breaker_lists = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=3), max_size=3)


PATH = Path(__file__).parents[3] / "golden" / "sampling" / "exact.py"
spec = importlib.util.spec_from_file_location("exact_sampling", PATH)
exact = importlib.util.module_from_spec(spec)
spec.loader.exec_module(exact)
longest_repetition = exact.longest_repetition


@given(texts, st.integers(0, 14))
def test_repetitions_equal_the_search_over_every_place_and_length(tokens, limit):
    found = repetitions(tokens, limit)
    for token in range(3):
        assert found.get(token) == longest_repetition(tokens, token, limit)


@given(texts)
def test_z_array_equals_comparing_each_suffix(s):
    def common_prefix(a, b):
        return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), len(b))

    assert z_array(s)[1:] == [common_prefix(s, s[k:]) for k in range(1, len(s))]


@given(texts, breaker_lists)
def test_since_breaker_equals_trying_every_breaker_everywhere(tokens, breakers):
    assert since_breaker(tokens, breakers) == exact.since_breaker(tokens, breakers)


@given(texts, breaker_lists, st.integers(0, 4), st.floats(1, 3), st.floats(0.125, 4))
def test_dry_lowers_by_the_formula(tokens, breakers, allowed, base, multiplier):
    lowered = dry(
        np.zeros(3),
        tokens,
        multiplier=multiplier,
        base=base,
        allowed_length=allowed,
        breakers=breakers,
    )
    limit = since_breaker(tokens, breakers)
    for token in range(3):
        n = longest_repetition(tokens, token, limit)
        exempt = [token] in breakers or n is None or n < allowed
        penalty = 0.0 if exempt else multiplier * base ** (n - allowed)
        assert lowered[token] == pytest.approx(-penalty, rel=1e-13)


def test_a_repetition_does_not_reach_across_a_breaker():
    tokens = [5, 1, 2, 3, 5, 1, 2]
    assert repetitions(tokens, since_breaker(tokens, [])) == {1: 0, 2: 0, 3: 3, 5: 0}
    assert repetitions(tokens, since_breaker(tokens, [[5]])) == {1: 0, 2: 0, 3: 2, 5: 0}


def test_a_breaker_is_never_lowered():
    text = [1, 2, 0, 1, 2]
    assert dry(np.zeros(3), text, multiplier=1.0).tolist() == [-1.0, 0.0, 0.0]
    assert dry(np.zeros(3), text, multiplier=1.0, breakers=[[0]]).tolist() == [0.0, 0.0, 0.0]


def test_an_endless_repetition_stays_finite_and_fast():
    lowered = dry(np.zeros(2), [0] * 20_000, multiplier=1.0, base=10.0)
    assert lowered.tolist() == [-1e38, 0.0]
    assert np.isfinite(dry(np.zeros(1), [0] * 100, multiplier=1e300, base=1e38)).all() is np.False_


def test_the_window_is_dry_penalty_last_n():
    params = SamplingParams(dry_multiplier=1.0, dry_allowed_length=1, dry_penalty_last_n=3)
    text = [0, 1, 2, 0, 2, 0]  # after 0 came 1 and 2, but the last three tokens saw only 2
    assert process(np.zeros(3), params, text).tolist() == [0.0, 0.0, -1.0]


def test_a_token_outside_the_vocabulary_is_refused():
    with pytest.raises(InputError, match="outside the vocabulary, 0 to 2"):
        dry(np.zeros(3), [1, 3], multiplier=1.0)
