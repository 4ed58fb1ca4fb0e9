"""The kernels that choose tokens, on the CPU (emulator.py), against what they mean."""

import re

import numpy as np
import pytest

from backends.cupy import sampling
from backends.cupy.compile import source
from refimpl import sampling as definition
from refimpl.kv.plan import Plan
from refimpl.sampling import Draw, Sampled, SamplingParams
from tests.unit.backends.cupy.emulator import launch


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("kernels")


def choose(folder, logits, draws):
    """`backends.cupy.sampling.start`, emulated: what is not decided is None."""
    asked = sampling.pack(draws, logits.shape[1])
    n, columns = len(draws), logits.shape[1]
    tiles, one = -(-columns // sampling.TILE), sampling.unit(columns)
    out = np.full(n * sampling.DRAWN.itemsize, 0xCC, np.uint8)
    pieces, works = (
        np.full(n * size, 0xCC, np.uint8)
        for size in (tiles * sampling.PIECE_BYTES, sampling.WORK_BYTES)
    )
    state = np.full((n, columns), np.nan), pieces, works
    words, amounts = np.append(asked.words, 0).astype(np.int32), np.append(asked.amounts, 0.0)
    first, grid = (logits, asked.draws), (tiles, n)
    launch(folder, "sample_allow", grid, 256, *state, *first, amounts, words, columns)
    launch(folder, "sample_weigh", grid, 256, *state, *first, words, one, columns)
    launch(folder, "sample_front", grid, 256, *state, asked.draws, columns)
    launch(folder, "sample_pick", (n,), 1024, out, *state, *first, one, tiles, columns)
    return [sampling.sampled(one) for one in out.view(sampling.DRAWN).tolist()]


ASKED = [
    {"temperature": 0.0},
    {"temperature": 0.7},
    {"temperature": 1.0, "min_p": 0.02},
    {"temperature": 1.3, "top_k": 40},
    {"temperature": 0.7, "top_p": 0.9},
    {"temperature": 1.0, "top_k": 9, "top_p": 0.6, "min_p": 0.05},
    {"repetition_penalty": 1.3, "frequency_penalty": 0.4, "presence_penalty": -0.2},
    {"temperature": 0.0, "repetition_penalty": 2.0, "logit_bias": {3: 9.5, 17: -np.inf}},
]


@pytest.mark.parametrize("vocab", [1, 33, 2500])
def test_tokens_are_the_definitions(folder, vocab):
    rng = np.random.default_rng(vocab)
    logits = (rng.standard_normal((2, vocab)) * 4).astype(np.float32)
    allowed = np.packbits(rng.random(32 * -(-vocab // 32)) < 0.6, bitorder="little").view("<u4")
    draws = [
        Draw(
            row=i % 2,
            params=SamplingParams(seed=seed, **asked),
            history=rng.integers(0, vocab, 9).tolist(),
            mask=allowed if i % 3 == 0 else None,
            banned=frozenset({2, vocab + 1} if i % 4 == 0 else ()),
            vocab_size=vocab - 5 if i % 5 == 4 and vocab > 40 else None,
        )
        for seed in range(2)
        for i, asked in enumerate(ASKED)
    ]
    draws = [draw for draw in draws if sampling.on_device(draw, vocab)]
    wanted, got = definition.choose(logits, draws), choose(folder, logits, draws)
    for one, other in zip(wanted, got, strict=True):
        if isinstance(one, Sampled):
            assert other.token == one.token
            assert other.logprob == pytest.approx(one.logprob, abs=1e-11)
            assert other.drawn_logprob == pytest.approx(one.drawn_logprob, abs=1e-11)
        else:
            assert other is None  # the definition says why


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_has_no_law_is_not_decided(folder, bad):
    logits = np.float32([[0, bad, 1], [0, 1, 2]])
    draws = [Draw(row=row, params=SamplingParams(temperature=0.0)) for row in (0, 1)]
    lawless, lawful = choose(folder, logits, draws)
    assert lawless is None and lawful.token == 2


def test_a_line_between_equals_is_not_decided(folder):
    """Half the mass of four equal tokens: one bit less, and a third would be kept."""
    draws = [Draw(row=0, params=SamplingParams(top_p=p, seed=1)) for p in (0.5, 0.4)]
    close, clear = choose(folder, np.zeros((1, 4), np.float32), draws)
    assert close is None and clear.token in (0, 1)


def test_a_weight_at_min_p_is_not_decided(folder):
    """e^-5e-17 is 1 or the number below it, as a library pleases; that of the greatest is 1."""
    logits = np.float32([[0.0, 0.0, -5e-17]])
    draws = [
        Draw(row=0, params=SamplingParams(min_p=1.0, **one))
        for one in ({}, {"top_k": 3}, {"logit_bias": {2: -1.0}})
    ]
    close, also_close, clear = choose(folder, logits, draws)
    assert close is None and also_close is None and clear.token in (0, 1)


def test_a_front_that_is_too_long_is_left_to_the_definition(folder):
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((1, 5000)).astype(np.float32)
    asked = [{"top_p": 0.99}, {"top_k": 2049}, {"top_k": 300}, {"top_k": 5000}]
    draws = [Draw(row=0, params=SamplingParams(**one)) for one in asked]
    got = choose(folder, logits, draws)
    assert [one is not None for one in got] == [False, False, True, True]
    wanted = definition.choose(logits, draws)
    assert [one.token for one in got[2:]] == [one.token for one in wanted[2:]]


def test_the_doubt_covers_both_sides(folder):
    """sample_sums.cuh's derivation, on weights whose exact sums are known."""
    rng = np.random.default_rng(0)
    for n in (3, 300, 30000):
        weights = rng.integers(1, 2**40, n) / 2.0**40  # sums of these are exact in float64
        one = sampling.unit(n)
        fixed = np.cumsum(np.rint(weights * one).astype(np.uint64))
        both = np.abs(np.cumsum(weights) - fixed.astype(np.float64) / one)
        doubt = (2 * n + (3 * n + 64) * 2.0**-53 * float(fixed[-1])) / one
        assert both.max() <= doubt / 2


@pytest.mark.parametrize("vocab, columns", [(1, 1), (7, 33), (5000, 5003)])
def test_argmax_is_numpys(folder, vocab, columns):
    x = np.random.default_rng(vocab).standard_normal((5, columns)).astype(np.float32)
    x[1] = np.round(x[1])
    x[2] = -np.inf
    x[3, columns // 2 :: 2] = np.nan
    x[4] = np.where(x[4] > 0, 0.0, -0.0)
    tokens, best = np.full(5, -1, np.int32), np.zeros((5, 2), np.uint64)
    launch(folder, "argmax", (-(-vocab // 4096), 5), 256, tokens, best, x, vocab, columns)
    assert np.array_equal(tokens, x[:, :vocab].argmax(axis=1)) and not best.any()


def test_advance_is_the_plan_after(folder):
    lens = np.array([5, 8, 1], np.int32)
    plan = Plan(
        tokens=np.array([1, 2, 3], np.int32),
        positions=lens - np.int32(1),
        slots=np.zeros(3, np.int32),
        context_lens=lens,
        block_tables=np.array([[4, 1, 0], [3, 2, 7], [5, 6, 8]], np.int32),
        seq_starts=np.arange(4, dtype=np.int32),
        rows=np.arange(3, dtype=np.int32),
        block_size=4,
    )
    chosen = np.array([9, 8, 7], np.int32)
    after, inputs = plan.after(chosen), [np.full(4, -1, np.int32) for _ in range(4)]
    inputs[3][:3] = lens
    launch(folder, "advance", (1,), 64, *inputs, plan.block_tables, chosen, 3, 3, 4)
    expected = (after.tokens, after.positions, after.slots, after.context_lens)
    assert all(np.array_equal(a[:3], b) for a, b in zip(inputs, expected, strict=True))
    assert all(a[3] == -1 for a in inputs), "a place that nobody uses stays as it is"


@pytest.mark.parametrize("name, dtype", [("Draw", sampling.DRAW), ("Drawn", sampling.DRAWN)])
def test_records_are_the_kernels(name, dtype):
    inside = re.search(rf"struct {name} {{(.*?)\n}};", source("sample_pick"), re.S)[1]
    inside = re.sub(r"//[^\n]*|\n\s*__device__.*", "", inside)
    fields = [
        (field.strip(), kind)
        for kind, some in re.findall(r"(double|int)\s+([^;]*);", inside)
        for field in some.split(",")
    ]
    named = {np.dtype("f8"): "double", np.dtype("i4"): "int"}
    assert fields == [(field, named[dtype[field]]) for field in dtype.names]
