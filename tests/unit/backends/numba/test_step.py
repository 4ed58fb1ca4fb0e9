"""The fused step equals its composition, and the reference within the noise of float32."""

from dataclasses import replace
from functools import cache, partial
from random import Random

import numpy as np
import pytest

pytest.importorskip("numba")

from ml_dtypes import bfloat16

from backends.numba import make_backend
from refimpl.backend import greedy_steps
from refimpl.errors import InputError
from refimpl.kv.plan import Plan
from refimpl.oracle.ahead import with_room
from refimpl.oracle.floor import under_floor
from refimpl.oracle.layouts import VOCAB
from refimpl.oracle.models import EXTRAS, random_model
from tests.laws.engines import shapes_unchecked
from tests.unit.backends.numba.specimens import backend, one_sequence


@pytest.fixture(autouse=True)
def _weights_of_our_own():
    """refimpl's signatures name its own weights; here they are this backend's."""
    with shapes_unchecked():
        yield


TOKENS = [3, 17, 5, 30, 2, 2, 9, 11, 39, 0, 1, 8, 25, 4, 6, 7, 12, 33, 21]
FUSED = ("llama", "qwen2", "qwen3", "phi3", "gemma2", "gemma3")


@cache
def loaded(family):
    return backend().load(random_model(family, 0))


def logits(model, plans, block_size=16, n_blocks=24, numba=None):
    numba = numba or backend()
    cache = numba.new_cache(model.config, n_blocks=n_blocks, block_size=block_size)
    return np.concatenate([numba.forward(model, plan, cache) for plan in plans])


@pytest.mark.parametrize("family", EXTRAS)
def test_every_family_runs_and_agrees_with_the_reference(family):
    model, text = {"family": family, "form": "F32", "seed": 0}, [t % VOCAB for t in TOKENS]
    assert under_floor(backend(), model=model, text=text, seed=0, only="logits") <= 1
    assert (loaded(family).runtime is not None) == (family in FUSED)


@pytest.mark.parametrize("family", FUSED)
def test_fused_equals_composed(family):
    plan = one_sequence(TOKENS)
    composed = replace(loaded(family), runtime=None)
    assert np.array_equal(logits(loaded(family), [plan]), logits(composed, [plan]))


def test_weights_of_three_types_read_activations_of_their_own():
    """In one layer, with act="half": float32 ones as they are, rounded to float16, to bfloat16."""
    model, numba = random_model("llama", 0), backend("half")
    kinds = {"attn_k.weight": np.float16, "attn_v.weight": bfloat16, "ffn_down.weight": bfloat16}
    mixed = [
        {n: t.astype(kinds.get(n, t.dtype)) for n, t in layer.items()} for layer in model.layers
    ]
    narrow, plan = numba.load(replace(model, layers=tuple(mixed))), one_sequence(TOKENS)
    fused = logits(narrow, [plan], numba=numba)
    assert np.array_equal(fused, logits(replace(narrow, runtime=None), [plan], numba=numba))
    exact = make_backend(act="none")
    other = exact.load(replace(model, layers=tuple(mixed)))
    assert not np.array_equal(fused, logits(other, [plan], numba=exact))  # it is a mode of its own
    halves = [one_sequence(TOKENS[:7]), one_sequence(TOKENS[7:], start=7)]
    assert np.array_equal(fused, logits(narrow, halves, numba=numba))


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2", "qwen3moe"])
def test_chunks_and_blocks_change_no_bit(family):
    whole = logits(loaded(family), [one_sequence(TOKENS)])
    for block_size, sizes in ((1, [1] * 19), (4, [2, 16, 1]), (16, [18, 1])):
        blocks = np.random.default_rng(block_size).permutation(-(-19 // block_size)).tolist()
        plans, start = [], 0
        for n in sizes:
            some = TOKENS[start : start + n]
            plans.append(one_sequence(some, start=start, block_size=block_size, blocks=blocks))
            start += n
        assert np.array_equal(logits(loaded(family), plans, block_size), whole), block_size


def side_by_side(plans: list[Plan]) -> Plan:
    """Several sequences in one batch; each keeps its own blocks."""
    width = max(p.block_tables.shape[1] for p in plans)
    tables = np.full((len(plans), width), -1, np.int32)
    for i, p in enumerate(plans):
        tables[i, : p.block_tables.shape[1]] = p.block_tables[0]
    counts = np.cumsum([0] + [len(p.tokens) for p in plans]).astype(np.int32)
    join = lambda name: np.concatenate([getattr(p, name) for p in plans])
    return Plan(
        tokens=join("tokens"),
        positions=join("positions"),
        slots=join("slots"),
        context_lens=join("context_lens"),
        block_tables=tables,
        seq_starts=counts,
        rows=np.concatenate([p.rows + counts[i] for i, p in enumerate(plans)]).astype(np.int32),
        block_size=plans[0].block_size,
    )


@pytest.mark.parametrize("n", [2, 3, 9])
def test_neighbours_change_no_bit(n):
    model = loaded("llama")
    plans = [
        one_sequence(TOKENS[i:], block_size=8, blocks=[3 * i, 3 * i + 1, 3 * i + 2])
        for i in range(n)
    ]
    together = logits(model, [side_by_side(plans)], 8, n_blocks=40)
    alone = [logits(model, [plan], 8, n_blocks=40) for plan in plans]
    assert np.array_equal(together, np.concatenate(alone))


def test_threads_change_no_bit_of_a_step():
    results = []
    for threads in (1, 2, 3):
        numba = make_backend(threads=threads)
        results.append(
            logits(numba.load(random_model("llama", 0)), [one_sequence(TOKENS)], numba=numba)
        )
    assert np.array_equal(results[0], results[1]) and np.array_equal(results[0], results[2])


def test_listening_sees_every_name_and_changes_nothing():
    names = []

    def tap(name, value):
        names.append(name)
        return value

    numba, model = backend(), loaded("llama")
    cache = numba.new_cache(model.config, n_blocks=2, block_size=16)
    tapped = numba.forward(model, one_sequence(TOKENS), cache, tap=tap)
    assert np.array_equal(tapped, logits(model, [one_sequence(TOKENS)]))
    assert names[0] == "embed" and names[-1] == "logits"


def test_guesses_that_branch_see_their_own_line():
    """5 -> 6 -> 7 and 5 -> 8: each token's logits are those of its line alone."""
    model, past = loaded("llama"), one_sequence([3, 17, 2], block_size=4, blocks=[2, 0])
    tree = replace(
        one_sequence([5, 6, 7, 8], start=3, block_size=4, blocks=[2, 0]),
        positions=np.int32([3, 4, 5, 4]),
        tree_parents=np.int32([-1, 0, 1, 0]),
    )
    found = logits(model, [past, tree], 4)[3:]
    for line, rows in (([5, 6, 7], [0, 1, 2]), ([5, 8], [0, 3])):
        alone = logits(model, [past, one_sequence(line, start=3, block_size=4, blocks=[2, 0])], 4)
        assert np.array_equal(found[rows], alone[3:])


def test_a_plan_that_points_elsewhere_is_refused():
    """Compiled code would write there."""
    numba, model = backend(), loaded("llama")
    cache = numba.new_cache(model.config, n_blocks=1, block_size=16)
    good = one_sequence([1, 2])
    for bad in (
        replace(good, tokens=np.int32([1, 40])),
        replace(good, tokens=np.int32([1, -7])),
        replace(good, slots=np.int32([0, 16])),
        replace(good, slots=np.int32([-1, 0])),
        replace(good, block_tables=np.int32([[1]])),
        replace(good, positions=np.int32([-1, 0])),
        replace(good, rows=np.int32([2])),
    ):
        with pytest.raises((InputError, IndexError)):
            numba.forward(model, bad, cache)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("family", ["llama", "phi3", "gpt2"])
def test_steps_in_one_call_are_the_steps_one_by_one(family, threads):
    numba, model = backend(threads=threads), loaded(family)
    plan, n_blocks = with_room([[3, 17, 5], [30], TOKENS], 7, 4, Random(0))
    chosen = [
        decode(model, plan, numba.new_cache(model.config, n_blocks=n_blocks, block_size=4), 7, 40)
        for decode in (numba.decode_greedily, partial(greedy_steps, numba))
    ]
    assert chosen[0].tolist() == chosen[1].tolist() and len(set(chosen[0].ravel())) > 2


def test_steps_that_lead_out_of_the_table_are_refused():
    numba, model = backend(), loaded("llama")
    plan, n_blocks = with_room([[3, 17, 5]], 1, 4, Random(0))
    cache = numba.new_cache(model.config, n_blocks=n_blocks, block_size=4)
    assert numba.decode_greedily(model, plan, cache, 2, 40).shape == (1, 2)
    for bad, n, vocab_size in (
        (plan, 3, 40),
        (plan, 0, 40),
        (plan, 1, 41),
        (plan, 1, 0),
        (replace(plan, rows=np.int32([0, 2])), 1, 40),
        (replace(plan, tree_parents=np.int32([-1, 0, 0])), 1, 40),
    ):
        with pytest.raises(InputError):
            numba.decode_greedily(model, bad, cache, n, vocab_size)
