"""Tokens chosen by compiled code are those that the definition chooses."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

pytest.importorskip("numba")
from backends.numba.sample import allowed_by, choose, is_plain
from refimpl import sampling
from refimpl.errors import RefimplError
from refimpl.ops.approx import gamma
from refimpl.ops.numerics import F64
from refimpl.sampling import Draw, SamplingParams
from refimpl.sampling.draws import without

PLAIN = st.builds(
    SamplingParams,
    temperature=st.sampled_from([0.0, 0.3, 1.0, 1.7]),
    top_k=st.sampled_from([0, 1, 3, 40]),
    top_p=st.sampled_from([0.1, 0.9, 1.0]),
    min_p=st.sampled_from([0.0, 0.05, 1.0]),
    repetition_penalty=st.sampled_from([1.0, 1.3, 0.5]),
    frequency_penalty=st.sampled_from([0.0, 0.4, -1.0]),
    presence_penalty=st.sampled_from([0.0, 1.5, -0.2]),
    penalty_last_n=st.sampled_from([-1, 0, 3]),
    logit_bias=st.dictionaries(
        st.integers(0, 40), st.sampled_from([2.5, -1.0, -np.inf]), max_size=2
    ),
    seed=st.integers(0, 2**32),
)


@st.composite
def cases(draw):
    n = draw(st.sampled_from([1, 5, 31, 33, 400]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    logits = (rng.standard_normal((2, n)) * draw(st.sampled_from([0.1, 3, 30]))).astype(np.float32)
    if draw(st.booleans()):
        logits = np.round(logits)  # ties
    mask = None
    if draw(st.booleans()):
        words = draw(st.integers(1, -(-n // 32)))  # a token beyond the mask is not allowed
        bits = rng.random(32 * words) < draw(st.sampled_from([0.1, 0.9]))
        mask = np.packbits(bits, bitorder="little").view("<u4")
    banned = frozenset(rng.integers(0, n, draw(st.integers(0, 2))).tolist())
    history = rng.integers(0, n, draw(st.sampled_from([0, 1, 9]))).tolist()
    return logits, [
        Draw(row=row, params=draw(PLAIN), history=history[row:], mask=mask, banned=banned)
        for row in (1, 0)
    ]


def bound(row):
    """How far two float64 evaluations of x - max - log(sum of e^(x - max)) may lie apart.

    Each: the powers' arguments round (relative to the row's span) and the powers are good to 4
    ulps; n of them are added in any order; the logarithm, its argument's relative error now
    absolute, is good to 4 ulps of at most log n; and the two differences round again.
    """
    u, span = F64.unit_roundoff, float(row.max() - row.min())
    each = gamma(len(row) + 8, u) + u * 2 * span + 8 * u * np.log(len(row) + 1) + 2 * u * span
    return 2 * each


@given(cases())
def test_the_token_and_its_probability_are_the_definitions(case):
    logits, draws = case
    assert all(is_plain(one.params) for one in draws)
    both = zip(draws, sampling.choose(logits, draws), choose(logits, draws), strict=True)
    for draw, wanted, got in both:
        if isinstance(wanted, RefimplError):
            assert type(got) is type(wanted) and str(got) == str(wanted)
            continue
        assert got.token == wanted.token
        row, t = logits[draw.row].astype(np.float64), draw.params.temperature
        assert abs(got.logprob - wanted.logprob) <= bound(row)
        left = allowed_by(without(row, draw.banned), draw)
        drawn = bound(left[left > -np.inf] / (t or 1))
        assert abs(got.drawn_logprob - wanted.drawn_logprob) <= drawn


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_no_law_is_refused_in_the_definitions_words(bad):
    logits = np.float32([[0, bad, 1]])
    draws = [Draw(row=0, params=SamplingParams())]
    (wanted,), (got,) = sampling.choose(logits, draws), choose(logits, draws)
    assert isinstance(got, RefimplError) and str(got) == str(wanted)


def test_other_filters_are_left_to_the_definition():
    logits = np.random.default_rng(0).standard_normal((1, 50)).astype(np.float32)
    params = SamplingParams(repetition_penalty=1.3, typical_p=0.5, logprobs=2, seed=4)
    assert not is_plain(params)
    draws = [Draw(row=0, params=params, history=[3, 4])]
    assert choose(logits, draws) == sampling.choose(logits, draws)


@pytest.mark.parametrize("history, bias", [([50], {}), ([-1], {}), ([], {50: 1.0})])
def test_a_token_that_is_none_is_refused_in_the_definitions_words(history, bias):
    logits = np.zeros((1, 50), np.float32)
    params = SamplingParams(repetition_penalty=1.3, logit_bias=bias)
    draws = [Draw(row=0, params=params, history=history)]
    (wanted,), (got,) = sampling.choose(logits, draws), choose(logits, draws)
    assert isinstance(got, RefimplError) and str(got) == str(wanted)


def test_penalised_logits_are_the_definitions_in_every_bit():
    rng = np.random.default_rng(2)
    row, history = rng.standard_normal(70).astype(np.float32), rng.integers(0, 70, 40)
    params = SamplingParams(
        temperature=1.0, repetition_penalty=1.3, frequency_penalty=0.1, presence_penalty=0.7,
        logit_bias={3: 0.3, 60: -np.inf}, penalty_last_n=-1,
    )  # fmt: skip
    draw = Draw(row=0, params=params, history=history.tolist())
    assert np.array_equal(
        allowed_by(row, draw), sampling.process(row.astype(float), params, history)
    )


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_of_many_greedy_rows_one_that_is_no_distribution_fails_alone(bad):
    rows = np.random.default_rng(0).standard_normal((5, 40)).astype(np.float32)
    rows[1] = bad
    rows[3, 35:] = 9.0  # beyond what its request knows
    greedy = SamplingParams(temperature=0.0)
    draws = [Draw(row=i, params=greedy, vocab_size=33 if i == 3 else 40) for i in (4, 1, 3, 0)]
    ours, theirs = choose(rows, draws), sampling.choose(rows, draws)
    assert [type(one) for one in ours] == [type(one) for one in theirs]
    assert isinstance(ours[1], RefimplError)
    assert [ours[i].token for i in (0, 2, 3)] == [theirs[i].token for i in (0, 2, 3)]
