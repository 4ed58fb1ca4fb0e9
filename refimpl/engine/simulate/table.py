"""A result: rows under named columns, which print, save, and draw themselves.

>>> table = Table(title="Squares", columns=("n", "n squared"), rows=[(1, 1), (2, 4)])
>>> print(table)
Squares
n  n squared
1          1
2          4
>>> table.csv()
'n,n squared\n1,1\n2,4\n'
"""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from refimpl.engine.simulate.plot import Line, line_chart
from refimpl.errors import InputError

Cell = str | int | float | None


@dataclass(frozen=True, kw_only=True)
class Table:
    """`x`, `y` and `by` name the columns of the plot: a line for each value of `by`."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[Cell, ...]]
    notes: tuple[str, ...] = ()
    x: str = ""
    y: str = ""
    by: str = ""
    log_x: bool = False
    options: dict[str, Cell] = field(default_factory=dict)

    def column(self, name: str) -> list[Cell]:
        place = self.columns.index(name)
        return [row[place] for row in self.rows]

    def __str__(self) -> str:
        cells = [self.columns, *([shown(cell) for cell in row] for row in self.rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        left = [all(isinstance(c, str) for c in column) for column in zip(*self.rows, strict=True)]
        lines = [
            "  ".join(
                cell.ljust(width) if flush else cell.rjust(width)
                for cell, width, flush in zip(row, widths, left, strict=True)
            ).rstrip()
            for row in cells
        ]
        return "\n".join([self.title, *lines, *self.notes])

    def csv(self) -> str:
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows(self.rows)
        return out.getvalue()

    def json(self) -> str:
        rows = [dict(zip(self.columns, row, strict=True)) for row in self.rows]
        whole = {"title": self.title, "options": self.options, "rows": rows, "notes": self.notes}
        return json.dumps(whole, indent=1)

    def svg(self) -> str:
        """The plot."""
        lines: dict[str, list[tuple[float, float]]] = {}
        place = [self.columns.index(name) for name in (self.by, self.x, self.y)]
        for row in self.rows:
            name, x, y = (row[p] for p in place)
            if isinstance(x, int | float) and isinstance(y, int | float):
                lines.setdefault(str(name), []).append((x, y))
        return line_chart(
            [Line(name=name, points=points) for name, points in lines.items()],
            title=self.title,
            x=self.x,
            y=self.y,
            log_x=self.log_x,
        )

    def save(self, path: Path) -> None:
        """As .csv, .json or .svg, by the name."""
        kinds = {".csv": self.csv, ".json": self.json, ".svg": self.svg}
        if path.suffix not in kinds:
            raise InputError(f"{path} should end in {', '.join(kinds)}")
        path.write_text(kinds[path.suffix]())


def shown(cell: Cell) -> str:
    if cell is None:
        return "-"
    return f"{cell:.1f}" if isinstance(cell, float) else str(cell)
