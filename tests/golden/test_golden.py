"""Every golden file obeys the format note, and golden/numerics agrees with us."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from refimpl.ops.numerics import FORMATS
from refimpl.ops.tensor import linear

GOLDEN = Path(__file__).parents[2] / "golden"
DOCUMENTS = sorted(
    p
    for p in GOLDEN.rglob("*.json")
    if p.name not in ("schema.json", "tokenizer.json", "config.json")
)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: str(p.relative_to(GOLDEN)))
def test_every_document_names_its_schema_and_authorities(path):
    document = json.loads(path.read_text())
    pattern = json.loads((GOLDEN / "schema.json").read_text())["properties"]["schema"]["pattern"]
    assert re.search(pattern, document["schema"])
    assert document["cases"]
    for case in document["cases"]:
        assert case["name"]
        assert case["authority"]
        assert "refimpl" not in case["authority"]  # never our own word


def cases(name):
    document = json.loads((GOLDEN / "numerics" / f"{name}.json").read_text())
    return [pytest.param(case, id=case["name"]) for case in document["cases"]]


@pytest.mark.parametrize("case", cases("rounding"))
def test_rounding(case):
    fmt = FORMATS[case["format"]]
    with np.errstate(over="ignore"):
        rounded = float(fmt(np.array([case["x"]]))[0])
    if case["rounded"] is None:
        assert not np.isfinite(rounded)
    else:
        assert rounded == case["rounded"]


@pytest.mark.parametrize("case", cases("dot"))
def test_dot_products_rounded_once(case):
    a, b = (np.array([case[k]], np.float32) for k in "ab")
    assert float(linear(a, b)[0, 0]) == case["rounded"]
