"""The mixtures against what llama.cpp chose (golden/quants/mixtures.json)."""

import json
from pathlib import Path

import pytest

from golden.quants import llama
from refimpl.errors import RefimplError
from refimpl.formats.quantize import facts_of
from refimpl.formats.quants.mixtures import FILE_TYPES, mixture, needs_importance

FOLDER = Path(__file__).resolve().parents[2] / "golden" / "quants"
TABLE = json.loads((FOLDER / "mixtures.json").read_text())
MODELS = {case["name"]: case for case in TABLE["cases"]}


@pytest.mark.parametrize("with_importance", [False, True])
@pytest.mark.parametrize("model", MODELS)
def test_every_tensor_gets_the_type_that_llama_cpp_gives_it(model, with_importance):
    golden = MODELS[model]
    facts, shapes = llama.metadata(**golden["facts"]), llama.shapes(**golden["facts"])
    for file_type in FILE_TYPES:
        key = file_type + (" with importance" if with_importance else "")
        expected = golden[key] and [TABLE["letters"][letter] for letter in golden[key]]
        ours = types(file_type, shapes, facts_of(facts, with_importance), with_importance)
        assert (ours and list(ours.values())) == expected, key
        assert ours is None or list(ours) == golden["tensors"]


def types(file_type, shapes, facts, with_importance):
    """Tensor -> name of its type, or None where quantising is refused."""
    try:
        chosen = mixture(file_type, shapes, facts)
    except RefimplError:
        return None
    made = {name: kind or "F32" for name, kind in chosen.items()}  # the models are float32
    if not with_importance and any(needs_importance(n, k, file_type) for n, k in made.items()):
        return None
    return made


def test_the_table_tells_the_file_types_apart():
    """A mixture of one type for all would pass nothing."""
    runs = [run for case in TABLE["cases"] for key, run in case.items() if key in FILE_TYPES]
    assert len({run for run in runs if run}) > 75
