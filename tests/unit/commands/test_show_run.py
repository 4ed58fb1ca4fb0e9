"""`refimpl show`: a recorded run or the demonstration becomes a page."""

import json

import pytest
from click.testing import CliRunner

from cli import main
from refimpl.engine.llm import LLM
from refimpl.engine.show.record import save
from refimpl.oracle.models import random_model
from refimpl.sampling import SamplingParams
from tests.laws.engines import shapes_unchecked


def run(*args):
    return CliRunner().invoke(main, ["show", *map(str, args)])


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    llm = LLM(random_model("llama", seed=0), n_blocks=8, block_size=4, cache="radix", record=True)
    llm.generate([[1, 2, 3], [1, 2, 4]], SamplingParams(max_tokens=3))
    path = tmp_path_factory.mktemp("runs") / "run.jsonl"
    save(llm.log, path)
    return path


@pytest.mark.parametrize("view", ["blocks", "radix", "schedule"])
def test_a_recorded_run_becomes_a_page(view, log, tmp_path):
    told = run(view, log, "-o", tmp_path / "page.html")
    assert told.exit_code == 0 and "arrow keys" in told.stderr and not told.stdout
    html = (tmp_path / "page.html").read_text()
    assert html == run(view, log, "-o", "-").stdout
    assert f'"view": "{view}"' in html


def test_without_a_log_the_embedded_model_is_shown():
    with shapes_unchecked():
        html = run("schedule", "-o", "-").stdout
    data = html.split('id="data">')[1].split("</script>")[0]
    assert json.loads(data)["header"]["words"]["0"] == "<|endoftext|>"


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("blocks", "/no/such.jsonl"), "cannot be read"),
        (("blocks", __file__), "line 1 of the log is not JSON"),
        (("blocks", "LOG", "-o", "/no/such/page.html"), "cannot be written"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(args, says, log):
    told = run(*(log if arg == "LOG" else arg for arg in args))
    assert told.exit_code == 1 and says in told.stderr and told.stderr.count("\n") == 1


def test_an_unknown_picture_is_refused():
    assert run("stars").exit_code == 2
