"""docs/conformance.md says what happens: its code is run, its commands print what it shows."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "conformance.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", PAGE, flags=re.S)
CONSOLE = [
    line for block in re.findall(r"```console\n(.*?)```", PAGE, flags=re.S) for line in [block]
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where a stranger works, with the file the page shows."""
    path = tmp_path_factory.mktemp("stranger")
    (path / "mine.py").write_text(PYTHON[0])
    return path


def run(words, folder):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    argv = [sys.executable, "-c", "from cli import main; main()", *words]
    return subprocess.run(argv, cwd=folder, env=environment, capture_output=True, text=True)


def test_the_commands_print_what_the_page_shows(folder):
    for block in CONSOLE:
        command, shown = block.split("\n", 1)
        assert command.startswith("$ refimpl ")
        told = run(command.split()[2:], folder)
        assert told.stdout.strip() == shown.strip(), told.stderr
        assert told.returncode == ("FAILED" in shown)


def test_the_library_example_runs(folder):
    told = subprocess.run(
        [sys.executable, "-c", PYTHON[1]],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert told.returncode == 0, told.stderr


def test_every_link_leads_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", PAGE):
        assert target.startswith("http") or (ROOT / "docs" / target).exists(), target
