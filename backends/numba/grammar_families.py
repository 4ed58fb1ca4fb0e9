"""Families by number: what may stand at one place of a document, as `grammar_tables` lists it.

A family has its number, and an empty row, as soon as anything leads to it.
"""

import numpy as np

from backends.numba import grammar_layout as g
from backends.numba.grammar_arrays import Growing
from refimpl.grammar.json_states import Family


class Families:
    """The families of one schema; `Tables.fill` makes their rows."""

    def __init__(self) -> None:
        self.ids: dict[Family, int] = {}
        self.all: list[Family] = []
        self.rows, self.first = Growing(g.FAMILY_COLUMNS), Growing(4, np.int64)

    def number(self, family: Family) -> int:
        if family not in self.ids:
            self.ids[family] = len(self.all)
            self.all.append(family)
            self.rows.more(1)
            self.first.more(1)
        return self.ids[family]
