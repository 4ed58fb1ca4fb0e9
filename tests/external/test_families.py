"""Every family against transformers, both in float64: equal to 1e-10 of the logits' scale."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the `peers` extra")
pytest.importorskip("transformers", reason="needs the `peers` extra")

from golden.family_configs import FAMILIES
from golden.float64_transformers import logits, random_model
from refimpl.model.cache import attend_to_itself
from refimpl.model.forward import forward
from refimpl.model.load import load
from refimpl.ops.numerics import F64
from refimpl.ops.reference import Reference

pytestmark = pytest.mark.external


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("n_tokens", [1, 16, 40])
def test_family_equals_transformers_in_float64(name, n_tokens, tmp_path):
    seed = sum(name.encode()) + n_tokens
    model = random_model(FAMILIES[name](), seed)
    model.save_pretrained(tmp_path)
    tokens = np.random.default_rng(seed).integers(0, 97, n_tokens)
    expected = logits(model, tokens.tolist())

    # LongRoPE: transformers picks a table by the text's length, we by the context in use
    context = n_tokens if "longrope" in name else None
    ours = load(tmp_path, context_length=context).model
    ops = Reference(to=F64)
    positions = np.arange(n_tokens)
    actual = forward(
        ours, tokens, positions, attend_to_itself(ours.config, positions, ops), ops=ops
    )

    scale = np.abs(expected).max()
    assert np.abs(actual - expected).max() <= 1e-10 * scale
    assert (actual.argmax(axis=1) == expected.argmax(axis=1)).all()
