"""The engine on this backend: what the reference's laws promise, promised here for its own bits."""

from functools import cache

import pytest

pytest.importorskip("numba")

from backends.numba import make_backend
from refimpl.engine.llm import LLM
from refimpl.oracle.models import random_model
from refimpl.sampling import SamplingParams
from tests.laws.engines import shapes_unchecked


@pytest.fixture(autouse=True)
def _weights_of_our_own():
    """refimpl's signatures name its own weights; here they are this backend's."""
    with shapes_unchecked():
        yield


PROMPTS = [[1, 2, 3, 4, 5, 6, 7, 8, 9], [1, 2, 3, 4], [9, 8, 7, 1, 2], [1, 2, 3, 4, 5, 6, 7, 8, 30]]
PARAMS = [
    SamplingParams(max_tokens=12, temperature=t, seed=s, repetition_penalty=p)
    for t, s, p in ((0.0, 0, 1.0), (1.0, 3, 1.0), (0.8, 4, 1.2), (0.0, 0, 1.3))
]


@cache
def numba(kind="float32"):
    return make_backend(cache=kind, threads=2)


@cache
def model(family):
    return random_model(family, 1)


def serve(family, prompts, params, *, kind="float32", **options):
    sizes = {"block_size": 4, "n_blocks": 64, **options}
    llm = LLM(model(family), backend=numba(kind), **sizes)
    return [[c.tokens for c in r.completions] for r in llm.generate(prompts, params)]


@cache
def alone(family, kind):
    return [serve(family, [p], [q], kind=kind)[0] for p, q in zip(PROMPTS, PARAMS)]


@pytest.mark.parametrize("family", ["llama", "gemma3", "qwen3moe"])
@pytest.mark.parametrize("memory", ["none", "hashed", "radix"])
def test_together_equals_alone(family, memory):
    together = serve(family, PROMPTS, PARAMS, cache=memory, n_blocks=24, block_size=4)
    assert together == alone(family, "float32")


@pytest.mark.parametrize("block_size, n_blocks", [(1, 60), (8, 8), (16, 4)])
@pytest.mark.parametrize("kind", ["float32", "float16"])
def test_block_sizes_and_short_memory_change_nothing(block_size, n_blocks, kind):
    short = serve("llama", PROMPTS, PARAMS, kind=kind, block_size=block_size, n_blocks=n_blocks)
    assert short == alone("llama", kind)
