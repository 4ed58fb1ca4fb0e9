"""Beam search against transformers, both in float64: the same tokens, scores to 1e-9."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the `peers` extra")
pytest.importorskip("transformers", reason="needs the `peers` extra")

from golden.family_configs import FAMILIES
from golden.float64_transformers import everything_in_float64, random_model
from refimpl.backend import ReferenceBackend
from refimpl.engine.beam import BeamParams, search
from refimpl.engine.core import Engine
from refimpl.engine.scheduler import Scheduler
from refimpl.kv.blocks import BlockPool
from refimpl.kv.hashed import HashedMemory
from refimpl.model.load import load
from refimpl.ops.numerics import F64
from refimpl.ops.reference import Reference

pytestmark = pytest.mark.external

WIDTHS = range(2, 9)
STOPPING = (False, True, "never")
PENALTIES = (-1.0, 0.0, 1.0, 2.5)
SETTINGS = [  # every pair of a stopping rule and a penalty, and every width twice
    (WIDTHS[i // 2 % 7], STOPPING[i % 3], PENALTIES[i % 4]) for i in range(14)
]
ENDS = [2, 31, 64, 77, 90]  # several, so that beams do end in a dozen tokens
PAD = 1  # transformers takes a padding token 0 for none
N_NEW = 12


@pytest.fixture(scope="module", params=["llama2-gqa", "gemma2", "gpt2"])
def pair(request, tmp_path_factory):
    """The same model twice: theirs, and an engine of ours on it."""
    name = request.param
    folder = tmp_path_factory.mktemp(name)
    model = random_model(FAMILIES[name](), seed=sum(name.encode()))
    with torch.no_grad():
        for parameter in model.parameters():  # a flat law, in which beams cross often
            if parameter.ndim > 1:
                parameter.mul_(0.4)
    model.save_pretrained(folder)
    pool = BlockPool(n_blocks=200, block_size=4)
    engine = Engine(
        load(folder).model, ReferenceBackend(Reference(to=F64)), Scheduler(HashedMemory(pool))
    )
    return model, engine


def theirs(model, prompt, width, stopping, penalty):
    with everything_in_float64(), torch.no_grad():
        out = model.double().generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.int64),
            num_beams=width,
            num_return_sequences=width,
            do_sample=False,
            early_stopping=stopping,
            length_penalty=penalty,
            max_new_tokens=N_NEW,
            eos_token_id=ENDS,
            pad_token_id=PAD,
            return_dict_in_generate=True,
            output_scores=True,
        )
    return out.sequences[:, len(prompt) :].tolist(), out.sequences_scores.tolist()


@pytest.mark.parametrize(("width", "stopping", "penalty"), SETTINGS)
def test_beams_equal_transformers(pair, width, stopping, penalty):
    model, engine = pair
    prompt = np.random.default_rng(width).integers(3, 30, 5 + width).tolist()
    tokens, scores = theirs(model, prompt, width, stopping, penalty)
    params = BeamParams(
        width=width, max_tokens=N_NEW, early_stopping=stopping, length_penalty=penalty
    )
    [result] = search(engine, [prompt], params, ends=frozenset(ENDS))
    padded = [one.tokens + [PAD] * (N_NEW - len(one.tokens)) for one in result.hypotheses]
    assert [row[: len(tokens[0])] for row in padded] == tokens
    assert np.abs(np.array([one.score for one in result.hypotheses]) - scores).max() <= 1e-9


def test_beams_end_and_are_cut_in_these_cases(pair):
    """Both kinds of return are among what was compared."""
    _, engine = pair
    ended = []
    for width, stopping, penalty in SETTINGS:
        prompt = np.random.default_rng(width).integers(3, 30, 5 + width).tolist()
        params = BeamParams(
            width=width, max_tokens=N_NEW, early_stopping=stopping, length_penalty=penalty
        )
        [result] = search(engine, [prompt], params, ends=frozenset(ENDS))
        ended += [one.ended for one in result.hypotheses]
    assert any(ended) and not all(ended)
