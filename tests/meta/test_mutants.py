"""Tests of the tests: every planted bug is caught by the one who should catch it."""

import subprocess
import sys

import pytest
from hypothesis import settings
from jaxtyping import config as jaxtyping_config

from tests.meta.catching import is_caught
from tests.meta.mutants import MUTANTS
from tests.meta.planting import ROOT, sources


@pytest.fixture(autouse=True, scope="module")
def quick():
    """Few examples, no shrinking, no shape checks: a bug must not be caught by its shape."""
    before = settings._current_profile if hasattr(settings, "_current_profile") else "default"
    settings.load_profile("meta")
    jaxtyping_config.update("jaxtyping_disable", True)
    yield
    jaxtyping_config.update("jaxtyping_disable", False)
    settings.load_profile(before)


def test_there_are_enough_and_no_two_are_the_same():
    assert len(MUTANTS) >= 60
    assert len({m.name for m in MUTANTS}) == len(MUTANTS)
    assert len({(m.file, m.old, m.new) for m in MUTANTS}) == len(MUTANTS)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m.name)
def test_it_is_caught(mutant):
    sources(mutant)
    assert is_caught(mutant), f"{mutant.caught_by} did not notice {mutant.new!r}"


def test_the_page_is_current():
    run = subprocess.run([sys.executable, "docs/make_mutants.py", "--check"], cwd=ROOT)
    assert run.returncode == 0, "docs/mutants.md is old: run `python docs/make_mutants.py`"
