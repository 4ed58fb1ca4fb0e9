"""Tokens chosen by compiled code are those that the definition chooses."""

import math

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

pytest.importorskip("numba")
from backends.numba import filters, mirostat, powers, sample
from backends.numba.sample import allowed_by, choose
from refimpl import sampling
from refimpl.errors import RefimplError
from refimpl.ops.approx import gamma
from refimpl.ops.numerics import F64
from refimpl.sampling import Draw, SamplingParams
from refimpl.sampling.draws import without

PARAMS = st.builds(
    SamplingParams,
    top_n_sigma=st.sampled_from([-1.0, -1.0, 0.5, 1.0]),
    typical_p=st.sampled_from([1.0, 1.0, 0.2, 0.9]),
    xtc_probability=st.sampled_from([0.0, 0.5, 1.0]),
    xtc_threshold=st.sampled_from([0.0, 0.01, 0.1, 0.3]),
    dry_multiplier=st.sampled_from([0.0, 0.8]),
    dry_base=st.sampled_from([1.0, 1.75]),
    dry_allowed_length=st.integers(0, 2),
    dry_penalty_last_n=st.sampled_from([-1, 0, 5]),
    dry_sequence_breakers=st.sampled_from([(), ((2,),), ((1, 3), (400,))]),
    logprobs=st.sampled_from([None, 0, 1, 5, 500]),
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
    history = rng.integers(0, draw(st.sampled_from([1, 4, n])), draw(st.sampled_from([0, 1, 12])))
    history = (history % n).tolist()
    return logits, [
        Draw(row=row, params=draw(PARAMS), history=history[row:], mask=mask, banned=banned)
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
    both = zip(draws, sampling.choose(logits, draws), choose(logits, draws), strict=True)
    for draw, wanted, got in both:
        if isinstance(wanted, RefimplError):
            assert type(got) is type(wanted) and str(got) == str(wanted)
            continue
        assert got.token == wanted.token and got.mu is None
        assert [one.token for one in got.top] == [one.token for one in wanted.top]
        assert [one.token for one in got.drawn_top] == [one.token for one in wanted.drawn_top]
        row, t = logits[draw.row].astype(np.float64), draw.params.temperature
        assert abs(got.logprob - wanted.logprob) <= bound(row)
        left = allowed_by(without(row, draw.banned), draw)
        drawn = bound(left[left > -np.inf] / (t or 1))
        assert abs(got.drawn_logprob - wanted.drawn_logprob) <= drawn
        for ours, theirs, most in (
            (got.top, wanted.top, bound(row[row > -np.inf])),
            (got.drawn_top, wanted.drawn_top, drawn),
        ):
            pairs = zip(ours, theirs, strict=True)
            assert all(abs(a.logprob - b.logprob) <= most for a, b in pairs)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_no_law_is_refused_in_the_definitions_words(bad):
    logits = np.float32([[0, bad, 1]])
    draws = [Draw(row=0, params=SamplingParams())]
    (wanted,), (got,) = sampling.choose(logits, draws), choose(logits, draws)
    assert isinstance(got, RefimplError) and str(got) == str(wanted)


MIROSTAT = st.builds(
    SamplingParams,
    mirostat=st.just(2),
    mirostat_tau=st.sampled_from([0.3, 1.0, 5.0, 20]),
    mirostat_eta=st.sampled_from([0, 0.1, 1.0]),
    temperature=st.sampled_from([0.0, 0.3, 1.0, 1.7]),
    logit_bias=st.dictionaries(st.integers(0, 0), st.sampled_from([2.5, -np.inf]), max_size=1),
    logprobs=st.sampled_from([None, 2]),
    seed=st.integers(0, 2**32),
)


@given(cases(), MIROSTAT)
def test_mirostats_state_is_the_definitions_in_every_bit(case, params):
    """Step after step, each from the state that the step before it left."""
    logits, (one, _) = case
    ours = theirs = None
    for position in range(6):
        both = [
            Draw(row=0, params=params, history=[0] * position, mask=one.mask, mu=mu)
            for mu in (ours, theirs)
        ]
        (got,), (wanted,) = choose(logits, both[:1]), sampling.choose(logits, both[1:])
        if isinstance(wanted, RefimplError):
            assert type(got) is type(wanted) and str(got) == str(wanted)
            return
        assert (got.token, got.mu) == (wanted.token, wanted.mu)
        assert [a.token for a in got.drawn_top] == [a.token for a in wanted.drawn_top]
        ours, theirs = got.mu, wanted.mu


ASKED = [
    {"top_k": 5}, {"top_p": 0.9}, {"min_p": 0.1}, {"typical_p": 0.6}, {"top_n_sigma": 1.0},
    {"xtc_probability": 1.0, "xtc_threshold": 0.02}, {"dry_multiplier": 1.0}, {"logprobs": 3},
    {"temperature": 0.0, "logprobs": 3}, {"top_k": 40, "top_p": 0.9, "typical_p": 0.9},
    {"mirostat": 2}, {"mirostat": 2, "mirostat_tau": 2, "temperature": 0.7},
    {"mirostat": 2, "mirostat_tau": 0.1},
]  # fmt: skip


@pytest.mark.parametrize("asked", ASKED, ids=str)
@given(seed=st.integers(0, 1000))
def test_the_definition_is_not_needed(asked, seed):
    """Where logits are ordinary numbers, nothing lies so close to a line that it is in doubt."""
    rng = np.random.default_rng(seed)
    logits = (3 * rng.standard_normal((1, 300))).astype(np.float32)
    draw = Draw(row=0, params=SamplingParams(seed=seed, **asked), history=[1, 2, 3, 1, 2])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sample, "attempt", None)  # calling it would fail
        (got,) = choose(logits, [draw])
    assert got.token == sampling.choose(logits, [draw])[0].token


@given(x=st.lists(st.floats(-760, 0) | st.just(-np.inf), min_size=1, max_size=9))
def test_powers_are_good_to_four_units_in_the_last_place(x):
    """Three from Python's, which are good to one themselves (its C library's)."""
    x, w = np.array([0.0, *x]), np.empty(len(x) + 1)
    powers.weigh(x, w)
    wanted = np.array([math.exp(one) for one in x])
    assert (abs(w - wanted) <= 3 * np.spacing(wanted)).all()


@given(seed=st.integers(0, 2**32), n=st.integers(1, 70))
def test_the_greatest_and_the_mass_of_rows_of_any_length(seed, n):
    rng = np.random.default_rng(seed)
    x = rng.permutation(np.append(rng.standard_normal(n), -np.inf))
    assert powers.greatest(x) == x.max()
    w = rng.random(n)
    assert abs(powers.mass(w) - math.fsum(w)) <= gamma(n, F64.unit_roundoff) * math.fsum(w)


FILTERS = {one.__name__: one for one in (filters.top_p, filters.min_p, filters.typical)}
FILTERS |= {one.__name__: one for one in (filters.xtc, mirostat.cut_surprising)}


@given(
    name=st.sampled_from(sorted(FILTERS)),
    seed=st.integers(0, 2**32),
    n=st.sampled_from([1, 2, 7, 60]),
    exactly=st.booleans(),
)
def test_a_filter_that_is_sure_would_be_with_other_powers(name, seed, n, exactly):
    """A library whose powers are off by 4 units in the last place keeps the same tokens."""
    rng = np.random.default_rng(seed)
    x = np.round(rng.standard_normal(n) * 3) if exactly else rng.standard_normal(n)
    w, line = np.empty(n), float(rng.choice([0.05, 0.25, 0.5, rng.random()]))
    powers.weigh(x, w)
    kept = []
    for _ in range(4):
        y, v = x.copy(), w * (1 + rng.integers(-4, 5, n) * 2.0**-52)
        if FILTERS[name](y, v, line):
            kept.append(np.flatnonzero(y > -np.inf).tolist())
    assert all(one == kept[0] for one in kept)


@given(seed=st.integers(0, 2**32), n=st.integers(1, 40), eighths=st.integers(0, 7))
def test_a_token_that_is_sure_would_be_with_other_powers(seed, n, eighths):
    rng = np.random.default_rng(seed)
    w, found = rng.integers(0, 2, n).astype(float), set()
    w[rng.integers(n)] = 1.0
    for _ in range(4):
        token, sure = filters.place(w * (1 + rng.integers(-4, 5, n) * 2.0**-52), eighths / 8)
        found |= {token} if sure else set()
    assert len(found) <= 1


def test_where_a_line_is_met_exactly_nobody_is_sure():
    x, w = np.zeros(4), np.ones(4)
    for name, line in (("top_p", 0.5), ("typical", 0.5), ("xtc", 0.25)):
        assert not getattr(filters, name)(x.copy(), w.copy(), line)
    x[1:], w[1:] = np.log(0.5), 0.5
    assert not filters.min_p(x.copy(), w.copy(), 0.5)
    assert filters.place(np.ones(4), 0.25) == (1, False)


@given(seed=st.integers(0, 2**32), n=st.integers(2, 60), near=st.integers(-9, 9))
def test_a_surprise_close_to_mirostats_line_is_the_definitions_business(seed, n, near):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(n)
    surprise = -sampling.log_softmax(x) / math.log(2)
    second = np.sort(surprise)[1]
    mu = float(second * (1 + near * 2.0**-52))
    assert not mirostat.cut_surprising(x.copy(), np.exp(x - x.max()), mu)
    for far in (1 - 1e-9, 1 + 1e-9):
        y = x.copy()
        assert mirostat.cut_surprising(y, np.exp(x - x.max()), mu * far)
        assert np.count_nonzero(y > -np.inf) == (1 if far < 1 else 2)


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
