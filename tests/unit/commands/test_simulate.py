"""`refimpl simulate`: each table, each way out of it, and what is said when a trace is missing."""

import csv
import io
import json
import xml.etree.ElementTree as ET

import pytest
from click.testing import CliRunner

from cli import main
from tests.laws.engines import shapes_unchecked


@pytest.fixture(autouse=True, scope="module")
def fast():
    with shapes_unchecked():
        yield


def run(*args):
    return CliRunner().invoke(main, ["simulate", *map(str, args)])


SMALL = {
    "waste": ("--requests", 12),
    "sharing": ("--requests", 2),
    "hits": ("--scale", 0.005),
    "starvation": ("--passes", 30, "--shared", 64),
}


@pytest.mark.parametrize("name", sorted(SMALL))
def test_a_table_and_its_plot(name, tmp_path):
    told = run(name, *SMALL[name], "--json", "--plot", tmp_path / "plot.svg")
    assert told.exit_code == 0, told.output
    assert json.loads(told.stdout)["rows"]
    assert ET.parse(tmp_path / "plot.svg").getroot().tag.endswith("svg")


def test_a_table_as_text_and_as_csv():
    whole = json.loads(run("sharing", *SMALL["sharing"], "--json").stdout)
    rows = list(csv.reader(io.StringIO(run("sharing", *SMALL["sharing"], "--csv").stdout)))
    assert len(rows) - 1 == len(whole["rows"]) and rows[0] == list(whole["rows"][0])
    text = run("sharing", *SMALL["sharing"]).stdout
    assert text.startswith(whole["title"]) and whole["notes"][0] in text


def test_a_table_of_a_real_trace(tmp_path):
    lines = [json.dumps({"hash_ids": [0, 1, i]}) for i in (2, 3, 2)]
    (tmp_path / "my_trace.jsonl").write_text("\n".join(lines))
    told = json.loads(run("traces", "--traces", tmp_path, "--json").stdout)
    assert told["rows"][0]["hit rate %"] == pytest.approx(100 * 5 / 9)
    (tmp_path / "AzureLLMInferenceTrace_x.csv").write_text("ContextTokens,GeneratedTokens\n9,3\n")
    told = run("waste", "--lengths", "azure", "--traces", tmp_path, "--requests", 4)
    assert told.exit_code == 0 and "paged, 16" in told.stdout


def test_a_plot_that_cannot_be_is_refused_before_the_work():
    told = run("hits", "--plot", "x.png")
    assert told.exit_code == 2 and "x.png should end in .svg" in told.stderr


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("traces",), "give --traces DIR with *trace*.jsonl"),
        (("traces", "--traces", "/no/such"), "is no folder"),
        (("waste", "--lengths", "azure"), "AzureLLMInferenceTrace"),
        (("sharing", "--requests", 1, "--plot", "/no/such/x.svg"), "cannot be written"),
    ],
)
def test_what_is_missing_is_said_in_one_line(args, says):
    told = run(*args)
    assert told.exit_code == 1 and says in told.stderr and told.stderr.count("\n") == 1
