"""What the suite found: one row for each check.

>>> row = Row(level="L2", check="add", cases=20, worst=0.25)
>>> print(Report(backend="mine", rows=[row]).table())
level  check  cases  worst  verdict
L2     add       20   0.25  ok
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import groupby
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Row:
    """One check.  `worst` is the largest fraction of the bound that any case used."""

    level: str
    check: str
    cases: int
    worst: float
    failure: str | None = None
    case: str | None = None
    """The first counterexample, shrunk: its shapes, or the file it was saved in."""
    skipped: str | None = None

    @property
    def verdict(self) -> str:
        if self.failure:
            return f"FAILED: {self.failure}"
        return f"skipped: {self.skipped}" if self.skipped else "ok"


@dataclass(frozen=True, kw_only=True)
class Report:
    """All rows, in the order of the suite."""

    backend: str
    rows: list[Row] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not any(row.failure for row in self.rows)

    @property
    def failed(self) -> list[Row]:
        return [row for row in self.rows if row.failure]

    def table(self, *, forms: bool = False) -> str:
        """Fixed-width text; the forms of a weight share a row unless asked for, or failed."""
        rows = self.rows if forms else list(joined(self.rows))
        cells = [("level", "check", "cases", "worst", "verdict")]
        cells += [
            (row.level, row.check, str(row.cases), fraction_text(row), verdict_text(row))
            for row in rows
        ]
        widths = [max(len(line[i]) for line in cells) for i in range(4)]
        aligned: list[Callable[[str, int], str]] = [str.ljust, str.ljust, str.rjust, str.rjust]
        return "\n".join(
            "  ".join([*(aligned[i](line[i], widths[i]) for i in range(4)), line[4]]).rstrip()
            for line in cells
        )

    def as_json(self) -> dict[str, Any]:
        rows = [{**asdict(row), "worst": finite(row.worst)} for row in self.rows]
        return {"backend": self.backend, "ok": self.ok, "rows": rows}


def joined(rows: list[Row]) -> Iterator[Row]:
    """Runs of passing rows of one operation as one row: linear[Q4_0], linear[Q4_1] ..."""

    def kind(row: Row) -> tuple[str, str, bool]:
        return row.level, row.check.split("[")[0], row.verdict == "ok"

    for (level, check, ok), same in groupby(rows, kind):
        run = list(same)
        if not ok or len(run) == 1:
            yield from run
            continue
        yield Row(
            level=level,
            check=f"{check} ({len(run)} forms)",
            cases=sum(row.cases for row in run),
            worst=max(row.worst for row in run),
        )


def finite(x: float) -> float | None:
    """JSON knows no infinity."""
    return x if x < float("inf") else None


def fraction_text(row: Row) -> str:
    """L0 and L1 are equal or not; there is no fraction of nothing."""
    if row.skipped or row.level in ("L0", "L1"):
        return "-"
    return f"{row.worst:.2g}" if row.worst < 1000 else f"{row.worst:.0e}"


def verdict_text(row: Row) -> str:
    return row.verdict + (f"\n       {row.case}" if row.failure and row.case else "")
