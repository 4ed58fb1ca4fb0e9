"""Law 10: 0..all layers on another backend, the same bits.

Both halves are the reference here, so the undivided reference is what they must equal, under any
schedule, in every family, form and mode.  Halves that differ: `tests/conformance/test_offload.py`.
"""

from functools import cache

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from refimpl.backend import ReferenceBackend
from refimpl.model.forward import Model
from refimpl.offload import Offload
from refimpl.ops.reference import Reference
from refimpl.oracle.models import random_model
from refimpl.oracle.schedules import steps
from refimpl.oracle.specimens import specimen
from refimpl.oracle.strategies_plans import models, scheduled, scripts
from tests.laws.engines import ASKS, CONTEXT, VOCAB, Schedule, schedules, serve, shapes_unchecked

N_LAYERS = 3
FAMILIES = ("llama", "gemma2", "qwen3moe", "phi3", "gpt2")
CACHES = ("float32", "float16", "bfloat16", "q8_0")


@pytest.fixture(autouse=True, scope="module")
def fast():
    with shapes_unchecked():
        yield


@cache
def deep(family: str, seed: int) -> Model:
    """Windows, where a family has any, differ from layer to layer."""
    sizes = {"context_length": CONTEXT, "block_count": N_LAYERS}
    return random_model(family, seed, vocab_size=VOCAB, **sizes)


def halves(n_last: int, **modes: str) -> Offload:
    return Offload(*(ReferenceBackend(Reference(**modes)) for _ in range(2)), n_last)


@given(
    st.sampled_from(FAMILIES),
    st.integers(0, 2),
    st.lists(ASKS, min_size=1, max_size=3),
    schedules(),
    st.integers(1, N_LAYERS + 2),
)
def test_law_10_a_divided_model_serves_the_same_under_any_schedule(
    family, seed, asks, schedule, n_last
):
    model = deep(family, seed)
    divided = serve(schedule.engine(model, halves(n_last)), asks)
    undivided = serve(Schedule().engine(model), asks)
    assert [r.sampled for r in divided] == [r.sampled for r in undivided]


@given(
    models(),
    scripts(trees=True) | scheduled(),
    st.integers(1, 4),
    st.sampled_from(["none", "q8"]),
    st.sampled_from(CACHES),
)
def test_law_10_a_cut_anywhere_changes_no_bit_of_any_step(model, script, n_last, act, cache):
    """Chunks, copies, swaps and branching guesses, in permuted blocks of a poisoned cache."""
    plain, whole = specimen(**model), ReferenceBackend(Reference(act=act, cache=cache))
    divided = halves(n_last, act=act, cache=cache)
    pairs = zip(
        steps(divided, plain, divided.load(plain), script),
        steps(whole, plain, whole.load(plain), script),
        strict=True,
    )
    for (_, found), (_, expected) in pairs:
        np.testing.assert_array_equal(found, expected)
