"""The conformance suite: does a backend compute what the reference defines?

Hypothesis looks for a counterexample to each of the `checks` and shrinks it; the smallest is saved
as a case that `replay` measures again.  Everything follows from the seed.  What a backend refuses
with `UnsupportedError` it does not claim: that row is skipped, and says so.

>>> from refimpl.backend import ReferenceBackend
>>> conform(ReferenceBackend(), ops=["L2/add"], examples=5).rows[0].verdict
'ok'
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from refimpl.backend import Backend
from refimpl.errors import InputError, UnsupportedError
from refimpl.oracle.cases import Case, load_cases, save_case
from refimpl.oracle.checks import Check, checks, select
from refimpl.oracle.comparison import ContractError
from refimpl.oracle.report import Report, Row

EXAMPLES, DEEP = 25, 500
"""Cases of a check, by default and with `deep`."""

Progress = Callable[[str, int, int], None]


def conform(
    backend: Backend,
    *,
    ops: Sequence[str] = (),
    deep: bool = False,
    examples: int | None = None,
    seed: int = 0,
    save_in: Path | None = None,
    progress: Progress | None = None,
) -> Report:
    """Run the checks whose names match one of `ops` (all, by default; wildcards allowed)."""
    chosen = select(ops)
    rows = []
    for i, check in enumerate(chosen):
        if progress:
            progress(check.id, i, len(chosen))
        n = examples or (DEEP if deep else EXAMPLES)
        n = max(2, n // check.cost)
        rows.append(run_check(backend, check, n, seed, deep=deep, save_in=save_in))
    return Report(backend=backend.name, rows=rows)


def run_check(
    backend: Backend,
    check: Check,
    examples: int,
    seed: int = 0,
    *,
    deep: bool = False,
    shrink: bool = True,
    save_in: Path | None = None,
) -> Row:
    """Look for a counterexample; what hypothesis reports last is the smallest one."""
    search = Search(backend, check)
    try:
        search.run(examples, seed, deep, shrink)
    except Exception as error:  # a backend may raise anything
        if search.last is None:
            raise
        return refuted(search, first(error), save_in)
    return row_of(search)


def row_of(search: "Search", **more: Any) -> Row:
    return Row(
        level=search.check.level,
        check=search.check.name,
        cases=search.cases,
        worst=search.worst,
        **more,
    )


def refuted(search: "Search", error: Exception, save_in: Path | None) -> Row:
    """What a backend refuses it does not claim; what it gets wrong is saved."""
    if isinstance(error, UnsupportedError):
        return row_of(search, skipped=str(error))
    where = saved(search.backend, search.check, search.last, save_in)
    return row_of(search, failure=reason(error), case=where)


def saved(backend: Backend, check: Check, arguments: Any, folder: Path | None) -> str:
    """Where a counterexample was written, or, without a folder, what it is like."""
    case = Case(check=check.id, arguments=arguments)
    if folder is None:
        return case.describe()
    if check.answer is not None:
        with suppress(Exception):  # the very call that failed may be part of it
            case = replace(case, answer=check.answer(backend, **arguments))
    path = folder / f"{check.id.replace('/', '-').replace('[', '-').rstrip(']')}.json"
    save_case(case, path)
    return str(path)


def first(error: Exception) -> Exception:
    """The first of a group."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


def reason(error: Exception) -> str:
    """A violation speaks for itself; anything else names its type, too."""
    text = str(error).split("\n")[0]
    return text if isinstance(error, ContractError) else f"{type(error).__name__}: {text}"


class Search:
    """Hypothesis at work on one check."""

    def __init__(self, backend: Backend, check: Check) -> None:
        self.backend = backend
        self.check = check
        self.cases = 0
        self.worst = 0.0
        self.last: Any = None
        self.failed = False

    def look(self, arguments: Any) -> None:
        from hypothesis import target

        self.last = arguments
        if not self.failed:
            self.cases += 1
        try:
            used = self.check.measure(self.backend, **arguments)
        except Exception:
            self.failed = True
            raise
        self.worst = max(self.worst, used)
        if self.check.level == "L2":
            target(used)

    def run(self, examples: int, seed: int, deep: bool, shrink: bool) -> None:
        from hypothesis import HealthCheck, Phase, Verbosity, given, settings
        from hypothesis import seed as seeded

        phases = [Phase.generate] + [Phase.target] * deep + [Phase.shrink] * shrink
        chosen: Any = settings(
            max_examples=examples,
            database=None,
            deadline=None,
            phases=phases,
            verbosity=Verbosity.quiet,
            report_multiple_bugs=False,
            print_blob=False,
            suppress_health_check=list(HealthCheck),
        )
        looking: Any = given(self.check.arguments)
        repeatable: Any = seeded(seed)
        repeatable(chosen(looking(self.look)))()


def replay(backend: Backend, path: Path) -> Report:
    """Measure the cases of a file again."""
    by_id = {check.id: check for check in checks()}
    rows = []
    for case in load_cases(path):
        check = by_id.get(case.check)
        if check is None:
            raise InputError(f"{path} names the check {case.check!r}, which this version has not")
        worst, failure = 0.0, None
        try:
            worst = check.measure(backend, **case.arguments)
        except Exception as error:  # a backend may raise anything
            failure = reason(error)
        rows.append(
            Row(
                level=check.level,
                check=check.name,
                cases=1,
                worst=worst,
                failure=failure,
                case=case.describe(),
            )
        )
    return Report(backend=backend.name, rows=rows)
