"""golden/text: the embedded vocabulary's ids, as llama.cpp gives them."""

import json
from pathlib import Path

import pytest

from refimpl.formats.gguf import GGUF
from refimpl.text import tokenizer_from_gguf

ROOT = Path(__file__).parents[2]
DOCUMENT = json.loads((ROOT / "golden" / "text" / "ids.json").read_text())


@pytest.fixture(scope="module")
def tokenizer():
    return tokenizer_from_gguf(GGUF.open(ROOT / DOCUMENT["vocabulary"]).metadata)


@pytest.mark.parametrize("case", DOCUMENT["cases"], ids=lambda case: case["name"])
def test_ids_equal_llama_cpp(case, tokenizer):
    ids = tokenizer.encode(case["text"], add_special=False, parse_special=case["parse_special"])
    assert ids == case["ids"]
    if not case["parse_special"]:
        assert tokenizer.decode(ids) == case["text"]
