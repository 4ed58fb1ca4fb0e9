"""The engine on a GPU: steps that follow on tokens nobody has read give the waiting loop's bits."""

import numpy as np
import pytest

from refimpl.engine.llm import LLM
from refimpl.engine.overlap import OverlappedEngine
from refimpl.oracle.models import random_model
from refimpl.sampling import SamplingParams
from tests.device.test_cupy import backend_or_skip
from tests.laws.engines import shapes_unchecked

PARAMS = (
    SamplingParams(max_tokens=30, temperature=0.0, ignore_eos=True),
    SamplingParams(max_tokens=25, temperature=0.8, seed=1),
    SamplingParams(max_tokens=40, temperature=1.2, top_p=0.9, top_k=40, seed=2),
    SamplingParams(max_tokens=20, repetition_penalty=1.3, seed=3),
    SamplingParams(max_tokens=20, logprobs=2, seed=4),
    SamplingParams(max_tokens=20, mirostat=2, seed=5),
)


@pytest.fixture(autouse=True)
def _weights_of_their_own():
    with shapes_unchecked():
        yield


@pytest.mark.parametrize("which", [(0, 1), (1, 2, 2), (0, 3), tuple(range(len(PARAMS)))])
@pytest.mark.parametrize("family", ["llama", "gemma2"])  # in graphs, and operation by operation
def test_a_loop_that_does_not_wait_gives_the_tokens_of_one_that_does(monkeypatch, family, which):
    backend = backend_or_skip(act="q8", cache="float16")
    from backends.cupy import sampling

    begun = []
    start = sampling.Begun.__init__
    monkeypatch.setattr(sampling.Begun, "__init__", lambda *a: (begun.append(1), start(*a))[1])
    model = random_model(family, seed=0, vocab_size=300)
    prompts = [[3 + 7 * i + j for j in range(5 + 9 * i)] for i in range(len(which))]
    answers = []
    for overlap in (False, None):
        llm = LLM(model, backend=backend, n_blocks=64, overlap=overlap)
        results = llm.generate(prompts, [PARAMS[i] for i in which])
        answers.append([result.completions[0] for result in results])
    assert isinstance(llm.engine, OverlappedEngine) and begun
    for waited, went_on in zip(*answers, strict=True):
        assert waited.error is None and went_on.sampled == waited.sampled


def test_tokens_that_the_device_could_not_tell_are_computed_again(monkeypatch):
    """Every third step one draw is left undecided, as one too close to a line would be."""
    backend = backend_or_skip(act="q8", cache="float16")
    from backends.cupy import sampling

    plain, steps = sampling.start, []

    def sometimes(launcher, logits, draws):
        records = plain(launcher, logits, draws)
        steps.append(draws)
        if len(steps) % 3 == 0:
            of_first = records.view(np.int32).reshape(len(draws), -1)[0]
            of_first[sampling.TOKEN :] = 0  # its token, and that it is decided
        return records

    model = random_model("llama", seed=0, vocab_size=300)
    params, prompts = PARAMS[2], [[5, 6, 7], [8, 9]]
    answers = []
    for start in (plain, sometimes):
        monkeypatch.setattr(sampling, "start", start)
        results = LLM(model, backend=backend, n_blocks=64).generate(prompts, params)
        answers.append([result.completions[0].tokens for result in results])
    assert answers[0] == answers[1] and len(steps) > params.max_tokens
