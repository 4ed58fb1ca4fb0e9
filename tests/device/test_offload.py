"""Layers on a GPU and on the CPU (law 10); without a GPU, skipped."""

import pytest

pytest.importorskip("numba")

from backends.numba import make_backend as on_cpu
from refimpl.engine.llm import LLM
from refimpl.model.find import find_model
from refimpl.model.load import load
from refimpl.offload import Offload
from refimpl.oracle import conform
from refimpl.sampling import SamplingParams
from tests.device.test_cupy import backend_or_skip
from tests.laws.engines import shapes_unchecked

MODES = [("none", "float32"), ("q8", "float16"), ("none", "q8_0")]
WHOLE = ("L0/*", "any_plan", "scheduler", "paged_attention", "choose", "L3/*", "L4/*")
PROMPTS = ["Once upon a time", "The dog and the cat went to the park. They saw"]
GREEDY = SamplingParams(temperature=0.0, max_tokens=24, logprobs=2)


@pytest.fixture(autouse=True)
def _weights_of_their_own():
    with shapes_unchecked():
        yield


@pytest.mark.parametrize("n_last", [1, 2, 3])
@pytest.mark.parametrize(("act", "cache"), MODES)
def test_the_cpu_and_the_gpu_share_a_model(act, cache, n_last):
    gpu = backend_or_skip(act=act, cache=cache)
    report = conform(Offload(on_cpu(act=act, cache=cache), gpu, n_last), examples=3, ops=WHOLE)
    assert report.ok, report.table()


@pytest.mark.parametrize("act", ["none", "q8"])
def test_law_10_two_halves_of_one_gpu_give_the_bits_of_the_whole(act):
    """Prompts run as launches, decoding as graphs: both halves have both."""
    gpu, model = backend_or_skip(act=act), load(find_model("tiny"), packed=True)
    whole = sampled(gpu, model)
    for n_last in range(1, model.config.n_layers + 2):
        assert sampled(Offload(gpu, gpu, n_last), model) == whole, n_last


def test_a_graphs_unused_places_hold_nothing_of_an_earlier_step():
    gpu, model = backend_or_skip(), load(find_model("tiny"), packed=True)
    llm = LLM(model, backend=Offload(gpu, gpu, 2), block_size=16, n_blocks=64)
    alone = told(llm, PROMPTS[:1])
    told(llm, [*PROMPTS, PROMPTS[1]])  # three in a graph for four
    assert told(llm, PROMPTS[:1]) == alone


def sampled(backend, model):
    return told(LLM(model, backend=backend, block_size=16, n_blocks=64), PROMPTS)


def told(llm, prompts):
    """Tokens and log-probabilities, in every bit."""
    return [result.completions[0].sampled for result in llm.generate(prompts, GREEDY)]
