"""docs/formats.md: made of its JSON, without a hole, and its C reader reads the golden vectors."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from docs.make_formats import READER, page
from refimpl.formats.quants import BLOCK_TYPES

ROOT = Path(__file__).resolve().parents[2]
FACTS = json.loads((ROOT / "docs" / "formats.json").read_text())
TYPES = FACTS["types"]


def test_the_page_is_made_of_the_measurements():
    assert (ROOT / "docs" / "formats.md").read_text() == page(FACTS)


def test_the_measurements_cover_the_types_as_they_are():
    measured = {name: (t["id"], t["block"], t["bytes"]) for name, t in TYPES.items()}
    assert measured == {
        t.name: (t.id, t.block_size, t.dtype.itemsize) for t in BLOCK_TYPES.values()
    }


@pytest.mark.parametrize("name", TYPES)
def test_every_claim_is_yes_or_says_why_not(name):
    claims = ("decodes", "encodes", "encodes with importance", "golden", "dot", "decode", "ratio")
    for claim in claims:
        value = TYPES[name][claim]
        assert value not in ("", "NO", None), f"{name} {claim}"


@pytest.mark.parametrize("name", TYPES)
def test_decoding_is_at_least_as_fast_as_the_gguf_package(name):
    ratio = TYPES[name]["ratio"]
    assert isinstance(ratio, str) or ratio >= 1


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler called cc")
def test_another_language_reads_the_golden_vectors(tmp_path):
    source = tmp_path / "reader.c"
    source.write_text(READER)
    subprocess.run(["cc", "-o", tmp_path / "reader", source, "-lm"], check=True)
    golden = ROOT / "golden" / "quants" / "Q8_0.safetensors"
    told = subprocess.run([tmp_path / "reader", golden], capture_output=True, text=True)
    assert told.returncode == 0
    assert told.stdout == "48 blocks, every weight as in the file\n"
    spoilt = bytearray(golden.read_bytes())
    spoilt[8 + int.from_bytes(spoilt[:8], "little")] ^= 1  # the first bit of the first weight
    (tmp_path / "spoilt").write_bytes(spoilt)
    assert subprocess.run([tmp_path / "reader", tmp_path / "spoilt"]).returncode == 1
