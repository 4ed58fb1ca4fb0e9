"""Who catches a mutant: the suite's checks on a backend that has it, a test, or a doctest.

- `conform L2/rope`: a float32 backend is put together from the reference, and every call to it is
  made while the bug is planted; the reference it is compared with has none.  A word in brackets
  chooses a named mode: `conform L2/paged_attention (cache=float16)`.
- `tests/unit/kv/test_blocks.py::test_slots_follow_the_table`: called as it stands, with the bug
  planted; `[Q4_0]` after it picks one of its parameters.
- `doctest refimpl.kv.blocks`: the examples in a file's docstrings.
"""

import doctest
import re
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from itertools import product

import pytest
from hypothesis import HealthCheck, Phase, Verbosity, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from refimpl.backend import Composed
from refimpl.ops.reference import Reference
from refimpl.oracle.checks import checks
from refimpl.oracle.suite import run_check
from tests.meta.planting import Mutant, planted

QUICK = settings(
    max_examples=60,
    derandomize=True,
    database=None,
    deadline=None,
    phases=(Phase.explicit, Phase.generate),
    verbosity=Verbosity.quiet,
    report_multiple_bugs=False,
    print_blob=False,
    suppress_health_check=list(HealthCheck),
)
settings.register_profile("meta", QUICK)
MACHINES = settings(QUICK, max_examples=500, stateful_step_count=30)  # they stop at the first bug
EXAMPLES = 40


def is_caught(mutant: Mutant) -> bool:
    """Does the one who should catch it do so?"""
    catcher = mutant.caught_by
    if catcher.startswith("conform "):
        return suite_fails(mutant, catcher.removeprefix("conform "))
    call = doctests if catcher.startswith("doctest ") else call_test
    with planted(mutant):
        try:
            call(catcher.removeprefix("doctest "))
        except pytest.skip.Exception:
            raise
        except (Exception, pytest.fail.Exception, doctest.DocTestFailure):
            return True
    return False


def suite_fails(mutant: Mutant, wanted: str) -> bool:
    """One check of the suite on a backend that has the bug."""
    name, _, mode = wanted.partition(" (")
    modes = dict(pair.split("=") for pair in mode.rstrip(")").split(",") if pair)
    backend = WithBug(mutant, Reference(**modes))
    return run_check(backend, check(name), EXAMPLES, shrink=False).failure is not None


@cache
def all_checks():
    return {one.id: one for one in checks()}


def check(name):
    return all_checks()[name]


class WithBug:
    """The reference as a float32 backend; whatever it is asked to do, it does with the bug."""

    def __init__(self, mutant, reference):
        self.inner = Composed(reference, reference=reference)
        self.mutant = mutant
        self.name = mutant.name
        self.reference = reference
        self.bound = self.inner.bound
        self.ops = Calls(reference, mutant)

    def __getattr__(self, name):
        return getattr(Calls(self.inner, self.mutant), name)


class Calls:
    """An object whose methods run with the bug planted, and so do the functions they return."""

    def __init__(self, target, mutant):
        self.target, self.mutant = target, mutant

    def __getattr__(self, name):
        return self.wrapped(getattr(self.target, name))

    def wrapped(self, function):
        def call(*args, **options):
            with planted(self.mutant):
                result = function(*args, **options)
            return self.wrapped(result) if callable(result) else result

        return call


def doctests(module: str) -> None:
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    runner = doctest.DebugRunner(optionflags=flags)
    for test in doctest.DocTestFinder(exclude_empty=True).find(import_module(module)):
        runner.run(test)


def call_test(node: str) -> None:
    """A test function with each of its parameters, or a state machine."""
    path, name, only = re.fullmatch(r"(.+)\.py::(\w+)(?:\[(.+)\])?", node).groups()
    test = getattr(import_module(path.replace("/", ".")), name)
    if isinstance(test, type) and issubclass(test, RuleBasedStateMachine):
        run_state_machine_as_test(test, settings=MACHINES)
        return
    found = list(parameters(test, only))
    assert found, f"{node} has no such parameter"
    with quickly(test):
        for arguments in found:
            test(**arguments)


@contextmanager
def quickly(test):
    """A property test that some other test module has imported before keeps its own settings."""
    before = getattr(test, "_hypothesis_internal_use_settings", None)
    if before is not None:
        n = max(QUICK.max_examples, before.max_examples)
        test._hypothesis_internal_use_settings = settings(QUICK, max_examples=n)
    try:
        yield
    finally:
        if before is not None:
            test._hypothesis_internal_use_settings = before


def parameters(test, only):
    """What `parametrize` would call the test with."""
    marks = [m for m in getattr(test, "pytestmark", []) if m.name == "parametrize"]
    choices = []
    for mark in marks:
        names = mark.args[0]
        names = [n.strip() for n in names.split(",")] if isinstance(names, str) else list(names)
        values = [getattr(v, "values", v) if hasattr(v, "marks") else v for v in mark.args[1]]
        rows = [
            v if len(names) > 1 or (isinstance(v, tuple) and len(v) == 1) else (v,) for v in values
        ]
        choices.append([dict(zip(names, row, strict=True)) for row in rows])
    for combination in product(*choices):
        arguments = {name: value for part in combination for name, value in part.items()}
        told = {str(getattr(value, "name", value)) for value in arguments.values()}
        if only is None or only in told:
            yield arguments
