"""What happens when the suite finds something: it shrinks, is saved, and replays."""

import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import load_file

from cli import main
from refimpl.backend import Composed, ReferenceBackend
from refimpl.errors import FormatError, InputError, UnsupportedError
from refimpl.formats.quants import block_type
from refimpl.formats.quants.block import Packed
from refimpl.ops.reference import Reference
from refimpl.oracle import conform, replay
from refimpl.oracle.cases import Case, load_cases, save_case
from refimpl.oracle.values import random_blocks


class WideRows(Reference):
    """Forgets the last column of rows longer than 8."""

    def rms_norm(self, x, weight, eps):
        y = super().rms_norm(x, weight, eps)
        if x.shape[-1] > 8:
            y[..., -1] = 0
        return y


def wide_rows():
    return Composed(WideRows(), name="wide rows")


def test_the_first_counterexample_is_shrunk_saved_and_replays(tmp_path):
    report = conform(wide_rows(), ops=("L2/rms_norm",), examples=60, save_in=tmp_path)
    (row,) = report.rows
    assert "component [0, 8] is 0.0" in row.failure
    (file,) = tmp_path.glob("*.json")
    document = json.loads(file.read_text())
    assert document["schema"] == "refimpl/conformance/1"
    assert document["cases"][0]["authority"] == "the definition in refimpl/ops"
    tensors = load_file(file.with_suffix(".safetensors"))
    case = document["cases"][0]
    expected, bound = (tensors[case[name]["tensor"]] for name in ("expected", "bound"))
    assert expected[0, 8] != 0 and 0 < bound[0, 8] < 1e-5
    x = load_cases(file)[0].arguments["args"][0]
    assert x.shape == (1, 9)  # the smallest there is
    assert not replay(wide_rows(), file).ok
    assert replay(ReferenceBackend(), file).ok


def test_the_command_says_so_with_its_exit_status(tmp_path):
    factory = "tests.conformance.test_counterexamples:wide_rows"
    argv = ["conform", "--backend", factory, "--op", "L2/rms_norm", "--save", str(tmp_path)]
    found = CliRunner().invoke(main, argv)
    assert found.exit_code == 1
    assert "FAILED: rms_norm leaves its bound" in found.stdout
    (file,) = tmp_path.glob("*.json")
    again = ["conform", "--replay", str(file), "--json", "--backend"]
    assert CliRunner().invoke(main, [*again, factory]).exit_code == 1
    passed = CliRunner().invoke(main, [*again, "numpy"])
    assert passed.exit_code == 0
    assert json.loads(passed.stdout)["ok"] is True


def test_arguments_survive_the_file_whatever_they_are(tmp_path):
    given = {
        "args": [np.float16([[1, 2]]), random_blocks(block_type("Q4_K"), (3, 512), 7), None, 2.5],
        "options": {"window": 3, "nested": [{"x": np.int32([4])}, "half"]},
    }
    save_case(Case(check="L2/linear", arguments=given), tmp_path / "a.json")
    (back,) = load_cases(tmp_path / "a.json")
    half, packed, none, number = back.arguments["args"]
    assert half.dtype == np.float16 and half.tolist() == [[1, 2]]
    assert isinstance(packed, Packed) and packed.type.name == "Q4_K"
    assert np.array_equal(packed[...], given["args"][1][...])
    assert (none, number) == (None, 2.5)
    assert back.arguments["options"]["nested"][0]["x"].tolist() == [4]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("{", FormatError),
        ('{"schema": "refimpl/other/1", "cases": []}', InputError),
        ('{"schema": "refimpl/conformance/1", "cases": [{"check": "L2/add"}]}', FormatError),
        (
            '{"schema": "refimpl/conformance/1", "cases": [{"check": "L2/add", "authority": "x", '
            '"arguments": {"args": [{"tensor": "t0"}]}}]}',
            FormatError,
        ),
    ],
)
def test_a_file_that_is_no_case_is_refused_by_name(tmp_path, text, error):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(error):
        load_cases(tmp_path / "a.json")


def test_a_backend_that_raises_is_a_failure_and_not_a_crash():
    class Broken(Reference):
        def add(self, a, b):
            raise MemoryError("out of registers")

    report = conform(Composed(Broken()), ops=("add",), examples=3)
    assert [row.failure for row in report.rows] == ["MemoryError: out of registers"] * 2
    assert replace(report, rows=[]).ok


def test_what_a_backend_refuses_is_skipped_and_says_so():
    class Small(Reference):
        def soft_cap(self, x, cap):
            raise UnsupportedError("no soft caps here")

    report = conform(Composed(Small()), ops=("L2/soft_cap", "L2/add"), examples=3)
    assert [row.verdict for row in report.rows] == ["ok", "skipped: no soft caps here"]
    assert report.ok
