"""A result: rows under named columns, which print, save, and draw themselves.

>>> table = Table(title="Squares", columns=("n", "n squared"), rows=[(1, 1), (2, 4)])
>>> print(table)
Squares
n  n squared
1          1
2          4
>>> table.csv().splitlines()
['n,n squared', '1,1', '2,4']
"""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from refimpl.engine.simulate.plot import Line, Number, bar_chart, line_chart
from refimpl.errors import InputError

Cell = str | int | float | None


@dataclass(frozen=True, kw_only=True)
class Table:
    """`x`, `y` and `by` name the columns of the plot.

    Where x is a number: a line for each value of `by`.  Where it is a word: a bar for each row.
    """

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
        plot = {"x": self.x, "y": self.y, "by": self.by, "log_x": self.log_x}
        whole = {"title": self.title, "options": self.options, "rows": rows, "notes": self.notes}
        return json.dumps(whole | {"plot": plot}, indent=1)

    @staticmethod
    def of(told: dict[str, Any]) -> "Table":
        """The table that `json` told of."""
        rows = told["rows"]
        return Table(
            title=told["title"],
            columns=tuple(rows[0]),
            rows=[tuple(row.values()) for row in rows],
            notes=tuple(told["notes"]),
            options=told["options"],
            **told["plot"],
        )

    def svg(self) -> str:
        """The plot."""
        names = self.column(self.by) if self.by else [self.y] * len(self.rows)
        points = list(zip(map(str, names), self.column(self.x), self.column(self.y), strict=True))
        if any(isinstance(x, str) for _, x, _ in points):
            known = [(name, str(x), float(y)) for name, x, y in points if y is not None]
            bars = [(f"{name}, {x}" if self.by else x, y) for name, x, y in known]
            order = list(dict.fromkeys(x for _, x, _ in known))
            kinds = [order.index(x) for _, x, _ in known] if self.by else ()
            return bar_chart(bars, title=self.title, x=self.y, kinds=kinds)
        lines: dict[str, list[tuple[Number, Number]]] = {}
        for name, x, y in points:
            if isinstance(x, int | float) and isinstance(y, int | float):
                lines.setdefault(name, []).append((x, y))
        drawn = [Line(name=name, points=points) for name, points in lines.items()]
        return line_chart(drawn, title=self.title, x=self.x, y=self.y, log_x=self.log_x)

    def save(self, path: Path) -> None:
        """As .csv, .json or .svg, by the name."""
        kinds = {".csv": self.csv, ".json": self.json, ".svg": self.svg}
        if path.suffix not in kinds:
            raise InputError(f"{path} should end in {', '.join(kinds)}")
        try:
            path.write_text(kinds[path.suffix]())
        except OSError as error:
            raise InputError(f"{path} cannot be written: {error.strerror}") from None


def shown(cell: Cell) -> str:
    if cell is None:
        return "-"
    return f"{cell:.1f}" if isinstance(cell, float) else str(cell)
