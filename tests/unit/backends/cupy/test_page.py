"""docs/cuda.md says what the device's record says (the profiler's table is by hand)."""

import json
import re

from backends.cupy.record import DEVICES

RECORD = json.loads((DEVICES / "h200.json").read_text())
PAGE = (DEVICES.parents[1] / "docs" / "cuda.md").read_text()
READ = 4583  # GB/s: the ceiling that the page's shares are of


def rows(first):
    """The cells of every table row that begins like this."""
    found = re.findall(rf"^\| {re.escape(first)}.*\|$", PAGE, re.MULTILINE)
    assert found, f"the page has no row {first!r}"
    return [cell.strip() for cell in found[0].strip("|").split("|")]


def test_attention():
    for one in RECORD["attention"][:3]:
        cells = rows(f"{one['sequences']} x {one['context']} ")
        theirs, ours = (float(cell.split(" us")[0]) for cell in cells[1:3])
        assert ours == round(one["us"], 1)
        assert cells[3].startswith(f"{theirs / one['us']:.2f}x")


def test_products_of_one_token():
    def share(act, kind, n_rows):
        (one,) = [
            r
            for r in RECORD["linear"]
            if (r["act"], r["format"], r["rows"], r["tokens"]) == (act, kind, n_rows, 1)
            and r["columns"] * r["rows"] == 4096 * 14336
        ]
        return f"{100 * one['GB/s'] / READ:.0f}"

    for kind, act in (("F16", "half"), ("Q8_0", "q8"), ("Q4_K", "q8"), ("Q6_K", "q8")):
        cells = rows(f"{kind}, act={act}")
        assert cells[1:3] == [f"{share(act, kind, n)} %" for n in (4096, 14336)]
    cells = rows("F16 / Q8_0 / Q4_K, act=none")
    for cell, n in zip(cells[1:3], (4096, 14336)):
        expected = [share("none", kind, n) for kind in ("F16", "Q8_0", "Q4_K")]
        assert cell == " / ".join(expected) + " %"


def test_whole_models():
    names = {
        "8B Q8_0, one sequence": ("8B Q8_0", "decode 1"),
        "8B Q4_K_M ": ("8B Q4_K_M", "decode 1"),
        "8B F16 ": ("8B F16", "decode 1"),
        "1B Q8_0 ": ("1B Q8_0", "decode 1"),
        "8B Q8_0, 64 sequences": ("8B Q8_0", "decode 64"),
        "8B F16, 64 sequences": ("8B F16", "decode 64"),
        "8B Q8_0, prompt of 2048": ("8B Q8_0", "prefill 2048"),
        "8B F16, prompt of 2048": ("8B F16", "prefill 2048"),
    }
    for first, (model, phase) in names.items():
        (measured,) = [m for m in RECORD["models"] if m["model"] == model]
        cells, speed = rows(first), measured[f"{phase}: tokens/s"]
        assert float(cells[2]) == speed
        assert cells[3] == f"{speed / float(cells[1]):.2f}"
        if phase == "decode 1":
            assert cells[4] == f"{measured['share of bandwidth %']:.0f} %"
