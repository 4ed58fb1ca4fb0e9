"""golden/families, read with the standard library and numpy, against our forward pass."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest

from refimpl.model.cache import attend_to_itself
from refimpl.model.forward import forward
from refimpl.model.load import load
from refimpl.ops.numerics import F64
from refimpl.ops.reference import Reference

FOLDER = Path(__file__).parents[2] / "golden" / "families"
DOCUMENT = json.loads((FOLDER / "families.json").read_text())


def read_safetensors(path):
    """{name: array}, with the standard library and numpy: what any language can do."""
    data = path.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    header.pop("__metadata__", None)
    dtypes = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}
    return {
        name: np.frombuffer(
            data[8 + size + e["data_offsets"][0] : 8 + size + e["data_offsets"][1]],
            dtypes[e["dtype"]],
        ).reshape(e["shape"])
        for name, e in header.items()
    }


LOGITS = read_safetensors(FOLDER / "families.safetensors")


def test_the_document_is_what_the_format_note_says():
    assert DOCUMENT["schema"] == "refimpl/families/1"
    assert all(case["authority"].startswith("transformers") for case in DOCUMENT["cases"])
    assert {case["logits"]["tensor"] for case in DOCUMENT["cases"]} == set(LOGITS)


@pytest.mark.parametrize("case", DOCUMENT["cases"], ids=lambda case: case["name"])
def test_logits_equal_transformers(case):
    model = load(FOLDER / case["checkpoint"], context_length=case["context_length"]).model
    tokens, ops = np.array(case["tokens"]), Reference(to=F64)
    positions = np.arange(len(tokens))
    ours = forward(
        model, tokens, positions, attend_to_itself(model.config, positions, ops), ops=ops
    )
    theirs = LOGITS[case["logits"]["tensor"]]
    assert np.abs(ours - theirs).max() <= case["relative_bound"] * np.abs(theirs).max()
    assert np.array_equal(ours.argmax(axis=1), theirs.argmax(axis=1))
