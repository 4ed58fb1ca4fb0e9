"""The README says what is so: its facts are generated, and its commands are the ones CI runs."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")


def test_the_transcript_and_the_reading_path_are_up_to_date():
    # the transcript's commands must run this checkout, whatever `refimpl` is installed
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    check = [sys.executable, "docs/make_readme.py", "--check"]
    told = subprocess.run(check, cwd=ROOT, env={**os.environ, "PATH": path}, check=False)
    assert told.returncode == 0, "run: python docs/make_readme.py"


def test_every_path_it_names_exists():
    targets = re.findall(r"\]\((?!#|http)([^)#]+)\)", README) + re.findall(
        r"`(tests/[^`]+)`", README
    )
    assert len(targets) > 30
    missing = [target for target in targets if not (ROOT / target).exists()]
    assert not missing


@pytest.mark.parametrize("start", ["python3 -m venv", 'pip install -q -e ".[test]"'])
def test_ci_takes_its_commands_from_here(start):
    assert len([line for line in README.splitlines() if line.startswith(start)]) == 1
    assert start.split(".[")[0].split(' "')[0] in (ROOT / ".ci" / "run").read_text()


def test_every_option_it_names_exists():
    for option in set(re.findall(r"`(--[a-z-]+)`", README)):
        told = [
            subprocess.run(
                [sys.executable, "cli.py", command, "--help"],
                cwd=ROOT,
                capture_output=True,
                text=True,
            ).stdout
            for command in ("generate", "chat")
        ]
        assert any(option in text for text in told)
