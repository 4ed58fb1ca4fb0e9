"""`refimpl bench throughput` counts what it served."""

import json

import pytest
from click.testing import CliRunner

from cli import main


def run(*args):
    return CliRunner().invoke(main, ["bench", "throughput", *map(str, args)])


@pytest.mark.parametrize("more", [(), ("--overlap",), ("--cache", "radix", "--block-size", "1")])
def test_throughput_counts_tokens(more):
    args = ("--requests", 3, "--prompt-length", 40, "--output-length", 2, "--shared", 32)
    told = run(*args, "--json", *more)
    assert told.exit_code == 0, told.output
    rows = {row["what"]: row["value"] for row in json.loads(told.stdout)["rows"]}
    assert rows["prompts"] == 3 and rows["prompt tokens"] == 120 and rows["tokens out"] == 6
    assert rows["tokens out a second"] == pytest.approx(6 / rows["seconds"])


def test_what_does_not_fit_the_context_is_said():
    told = run("--prompt-length", 4000)
    assert told.exit_code == 1 and "do not fit a context of 1024" in told.stderr
