"""A part of a model runs fused, and two parts equal the whole in every bit (law 10)."""

from functools import cache

import numpy as np
import pytest

pytest.importorskip("numba")

from refimpl.offload import Offload
from refimpl.oracle.models import EXTRAS, random_model
from tests.laws.engines import shapes_unchecked
from tests.unit.backends.numba.specimens import backend, one_sequence
from tests.unit.backends.numba.test_step import FUSED

N_LAYERS = 3
TEXT = [3, 17, 5, 30, 2, 2, 9, 11, 39, 0, 1, 8, 25, 4, 6, 7, 12, 33, 21]
CHUNKS = (11, 7, 1)


@pytest.fixture(autouse=True)
def _weights_of_our_own():
    with shapes_unchecked():
        yield


@cache
def model(family):
    return random_model(family, 0, block_count=N_LAYERS)


def halves(n_last):
    return Offload(backend(), backend(), n_last)


def chunk_by_chunk(numba, plain):
    """The logits of a text, by chunks of which the first asks for none."""
    loaded, cache = numba.load(plain), numba.new_cache(plain.config, n_blocks=6, block_size=4)
    rows, start = [], 0
    for n in CHUNKS:
        wanted = [] if start == 0 else range(n)
        tokens, blocks = TEXT[start : start + n], [5, 0, 3, 1, 4]
        plan = one_sequence(tokens, start=start, block_size=4, blocks=blocks, rows=wanted)
        rows.append(numba.forward(loaded, plan, cache))
        start += n
    return np.concatenate(rows)


@pytest.mark.parametrize("family", EXTRAS)
def test_law_10_any_number_of_layers_in_the_other_half(family):
    whole = chunk_by_chunk(backend(), model(family))
    for n_last in range(1, N_LAYERS + 3):
        assert np.array_equal(chunk_by_chunk(halves(n_last), model(family)), whole), n_last


@pytest.mark.parametrize("family", FUSED)
def test_both_halves_of_a_family_with_a_program_have_one(family):
    for n_last in range(1, N_LAYERS + 2):
        loaded = halves(n_last).load(model(family))
        assert loaded.first.runtime is not None
        assert loaded.last.runtime is not None
