"""Tokens that are chosen on the device, and steps that follow one another there."""

import gc
from dataclasses import replace
from functools import partial
from random import Random

import numpy as np
import pytest

from backends.cupy import sampling
from refimpl.backend import greedy_steps
from refimpl.errors import RefimplError
from refimpl.oracle.ahead import decodes, with_room
from refimpl.oracle.specimens import specimen
from refimpl.sampling import Draw, SamplingParams, choose
from tests.device.test_cupy import backend_or_skip
from tests.laws.engines import shapes_unchecked


@pytest.fixture(autouse=True)
def _weights_of_their_own():
    with shapes_unchecked():
        yield


def any_draw(rng, rows, vocab):
    """A draw that asks for what the kernel has."""

    def one_of(*values):
        return values[rng.integers(len(values))]

    allowed = rng.random(32 * rng.integers(1, -(-vocab // 32) + 1)) < one_of(0.1, 0.9)
    mask = np.packbits(allowed, bitorder="little").view("<u4")
    params = SamplingParams(
        temperature=one_of(0.0, 0.3, 1.0, 1.7),
        top_k=one_of(0, 1, 40, 10**6),
        top_p=one_of(0.0, 0.5, 0.95, 1.0),
        min_p=one_of(0.0, 0.05, 1.0),
        repetition_penalty=one_of(1.0, 1.3),
        frequency_penalty=one_of(0.0, 0.4),
        presence_penalty=one_of(0.0, -0.2),
        logit_bias={int(rng.integers(vocab)): one_of(2.5, -np.inf)},
        seed=int(rng.integers(2**40)),
    )
    return Draw(
        row=int(rng.integers(rows)),
        params=params,
        history=rng.integers(0, vocab, 9).tolist(),
        banned=frozenset(rng.integers(0, vocab, rng.integers(3)).tolist()),
        mask=one_of(None, mask),
    )


@pytest.mark.parametrize("vocab", [1, 33, 3000, 128256])
@pytest.mark.parametrize("scale", [0.1, 3.0, 30.0])
def test_tokens_are_the_definitions(monkeypatch, vocab, scale):
    backend = backend_or_skip()
    rng = np.random.default_rng(vocab)
    logits = (rng.standard_normal((3, vocab)) * scale).astype(np.float32)
    logits[2] = np.round(logits[2])  # ties
    draws = [any_draw(rng, 3, vocab) for _ in range(40)]
    left = []

    def attempt(rows, draw):
        left.append(draw)
        return by_definition(rows, draw)

    by_definition = sampling.attempt
    monkeypatch.setattr(sampling, "attempt", attempt)
    wanted, got = choose(logits, draws), backend.choose(backend.put(logits), draws)
    for one, other in zip(wanted, got, strict=True):
        if isinstance(one, RefimplError):
            assert type(other) is type(one) and str(other) == str(one)
            continue
        assert other.token == one.token
        assert other.logprob == pytest.approx(one.logprob, abs=vocab / sampling.unit(vocab) + 1e-11)
    if scale > 1:
        without_law = sum(isinstance(one, RefimplError) for one in wanted)
        assert len(left) < without_law + 10, "most are decided on the device"


def test_a_draw_has_the_same_result_beside_any_others():
    backend = backend_or_skip()
    rng = np.random.default_rng(0)
    logits = backend.put(rng.standard_normal((7, 32000)).astype(np.float32))
    draws = [any_draw(rng, 7, 32000) for _ in range(300)]
    together = backend.choose(logits, draws)
    for draw, one in zip(draws[::7], together[::7], strict=True):
        (alone,) = backend.choose(logits, [draw])
        assert repr(alone) == repr(one)


def test_the_most_probable_is_numpys_argmax():
    backend = backend_or_skip()
    import cupy

    from backends.cupy.graph import Argmax

    rng = np.random.default_rng(0)
    for columns, vocab in ((1, 1), (33, 7), (5003, 5000), (128256, 128000)):
        x = rng.standard_normal((6, columns)).astype(np.float32)
        x[1] = np.round(x[1])
        x[2] = -np.inf
        x[3, rng.integers(0, columns, 3)] = np.nan
        x[4] = np.where(x[4] > 0, 0.0, -0.0)
        argmax, out = Argmax(backend.launcher, 6), cupy.full(6, -1, np.int32)
        for _ in range(2):
            argmax(out, cupy.asarray(x), vocab)
            assert out.tolist() == x[:, :vocab].argmax(axis=1).tolist()
            x = x[::-1].copy()


@pytest.mark.parametrize("cache", ["float32", "float16"])
@pytest.mark.parametrize("lengths", [(1,), (3, 1, 9), (17, 2), (1,) * 5])
def test_steps_in_a_row_are_single_steps(cache, lengths):
    backend = backend_or_skip(act="q8", cache=cache)
    rng = np.random.default_rng(0)
    decodes(
        backend,
        model={"family": "llama", "form": "Q8_0", "seed": 1},
        texts=[rng.integers(0, 20, n).tolist() for n in lengths],
        n=30,
        block_size=4,
        vocab_size=20,
        seed=0,
    )


def branching(plan):
    """The plan, the last token of each sequence a second guess beside the one before it."""
    counts = np.diff(plan.seq_starts)
    parents = np.concatenate([np.arange(-1, n - 1) for n in counts]).astype(np.int32)
    lasts = plan.seq_starts[1:][counts > 2] - 1
    parents[lasts] -= 1
    positions = plan.positions.copy()
    positions[lasts] -= 1
    return replace(plan, tree_parents=parents, positions=positions)


@pytest.mark.parametrize("cache", ["float32", "float16"])
@pytest.mark.parametrize("tree", [False, True])
def test_a_draft_in_a_graph_has_the_bits_it_has_without(monkeypatch, cache, tree):
    from backends.cupy import buckets

    backend = backend_or_skip(act="q8", cache=cache)
    model = backend.load(specimen("llama", "Q8_0", 1))
    rng = np.random.default_rng(0)
    texts = [rng.integers(0, 20, n).tolist() for n in (9, 1, 5)]
    plan, n_blocks = with_room(texts, 1, 4, Random(0))
    plan = branching(plan) if tree else plan
    plan.check()
    plan = replace(plan, rows=np.array([4, 7, 8, 9, 13, 14], np.int32))
    logits = []
    for few in (0, buckets.FEW_TOKENS):
        monkeypatch.setattr(buckets, "FEW_TOKENS", few)
        kept = backend.new_cache(model.config, n_blocks=n_blocks, block_size=4)
        steps = (backend.forward(model, plan, kept) for _ in range(3))
        logits += [backend.host(step) for step in steps]  # launched, captured, replayed
        made = [*backend.graphs.made.get(kept, {}).values()]
        assert [graph.graph is not None for graph in made] == ([True] if few else [])
    assert np.isfinite(logits[0]).all()
    assert all(np.array_equal(logits[0], other) for other in logits[1:])


def test_graphs_go_with_their_cache():
    backend = backend_or_skip(act="q8", cache="float16")
    model = backend.load(specimen("llama", "Q8_0", 1))
    plan, n_blocks = with_room([[1], [2]], 3, 4, Random(0))
    cache = backend.new_cache(model.config, n_blocks=n_blocks, block_size=4)
    backend.decode_greedily(model, plan, cache, 3, 20)
    assert len(backend.graphs.made) == 1
    del cache
    gc.collect()
    assert len(backend.graphs.made) == 0


def test_a_table_without_room_is_refused():
    backend = backend_or_skip(act="q8", cache="float16")
    model = backend.load(specimen("llama", "Q8_0", 1))
    plan, n_blocks = with_room([[1], [2]], 3, 4, Random(0))
    cache = backend.new_cache(model.config, n_blocks=n_blocks, block_size=4)
    decode = partial(backend.decode_greedily, model, plan, cache)
    assert np.array_equal(decode(4, 20), greedy_steps(backend, model, plan, cache, 4, 20))
    with pytest.raises(RefimplError, match="have room for 4 tokens"):
        decode(5, 20)
