"""What other engines are judged by.

    from refimpl.oracle import conform
    report = conform(backend)                the whole suite (`suite`), on any object that keeps the
    print(report.table()); report.ok         contract of `refimpl.backend`

`strategies` are the suite's arguments, for tests of your own; `models` makes small random models of
every family.  The suite needs hypothesis: `pip install -e ".[test]"`.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from refimpl.backend import Backend
from refimpl.errors import UnsupportedError

if TYPE_CHECKING:
    from refimpl.oracle.report import Report

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
) -> "Report":
    """Does this backend compute what the reference defines?  See `refimpl.oracle.suite`."""
    require_hypothesis()
    from refimpl.oracle import suite

    return suite.conform(
        backend,
        ops=ops,
        deep=deep,
        examples=examples,
        seed=seed,
        save_in=save_in,
        progress=progress,
    )


def replay(backend: Backend, path: Path) -> "Report":
    """Measure the cases of a file that `conform` saved."""
    require_hypothesis()
    from refimpl.oracle import suite

    return suite.replay(backend, path)


def require_hypothesis() -> None:
    try:
        import hypothesis
    except ImportError:
        raise UnsupportedError(
            "the conformance suite searches with hypothesis, which is not installed: "
            "pip install hypothesis"
        ) from None
    assert hypothesis
