"""The switches of bench/gpu_knobs.py, without a GPU: each turns something that is there."""

import doctest
from pathlib import Path

import pytest

from backends.cupy import compile as compiler
from backends.cupy import launch
from backends.cupy.compile import architecture, flags, source
from backends.cupy.nvrtc import compile_cubin, library
from backends.cupy.variants import variants
from bench import gpu_counters, gpu_knobs, gpu_trial
from bench.gpu_knobs import SWITCHES, turned
from refimpl.errors import UnsupportedError

MODULES = (gpu_counters, gpu_knobs, gpu_trial)


@pytest.mark.parametrize("switch", SWITCHES, ids=lambda switch: switch.name)
def test_a_switch_changes_what_it_names_and_no_longer_than_asked(switch):
    before = dict(vars(launch)), {name: source(name) for name, _, _ in switch.lines}
    with turned(switch):
        for name, value in switch.values.items():
            assert before[0][name] != value == getattr(launch, name)
        for name, text in before[1].items():
            assert compiler.source(name) != text
    assert dict(vars(launch)) == before[0]
    assert all(compiler.source(name) == text for name, text in before[1].items())


@pytest.mark.parametrize("switch", [s for s in SWITCHES if s.lines], ids=lambda switch: switch.name)
def test_rewritten_lines_compile(switch):
    try:
        library()
    except UnsupportedError as error:
        pytest.skip(str(error))
    with turned(switch):
        for name in {name for name, _, _ in switch.lines}:
            found = [defines for kernel, defines in variants() if kernel == name]
            one = next((defines for defines in found if "NORM" in defines), found[0])
            text = compiler.source(name)
            assert compile_cubin(text, name, flags(one), architecture(90))


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_the_examples_of_the_trial_are_right(module):
    results = doctest.testmod(module)
    assert results.attempted and not results.failed


def test_every_file_of_tests_for_a_device_is_a_part_of_the_record():
    pytest.importorskip("numba")  # without it there is nothing to share work with
    told = " ".join(word for job in gpu_trial.tests() for word in job.args)
    assert [f.name for f in Path("tests/device").glob("test_*.py") if f.name not in told] == []
