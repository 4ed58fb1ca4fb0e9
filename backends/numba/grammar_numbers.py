"""Sets of numbers as tables, shared by all schemas: digits lead from state to state.

A state is a set and a text as `refimpl.grammar.number_sets.settle` leaves them; its row has a
column for each byte a number can hold, and one that says whether the number may end.  Integers and
unrestricted numbers are ready from the start; other rows are made when somebody asks.
"""

import numpy as np

from backends.numba.grammar_spelling import DEAD
from backends.numba.grammar_steps import N_DONE, NUMBER_COLUMNS, UNKNOWN
from refimpl.grammar.json_states import NUMBER_BYTES
from refimpl.grammar.number_sets import INTEGERS, NumberSet, can_complete, is_complete, settle


class NumberTables:
    """All number sets that any schema has used so far."""

    def __init__(self) -> None:
        self.states: list[tuple[NumberSet, str]] = []
        self.ids: dict[tuple[NumberSet, str], int] = {}
        self.table = np.full((256, NUMBER_COLUMNS), UNKNOWN, np.int32)
        for ready in (NumberSet(), INTEGERS):
            self.explore(self.start(ready), 40)

    def start(self, numbers: NumberSet) -> int:
        return self.state(numbers, "")

    def state(self, numbers: NumberSet, text: str) -> int:
        key = (numbers, text)
        if key not in self.ids:
            n = self.ids[key] = len(self.states)
            self.states.append(key)
            if n >= len(self.table):
                self.table = np.concatenate([self.table, np.full_like(self.table, UNKNOWN)])
            self.table[n, N_DONE] = is_complete(numbers, text)
        return self.ids[key]

    def fill(self, state: int) -> None:
        """Makes the row of a state."""
        numbers, text = self.states[state]
        for column, byte in enumerate(NUMBER_BYTES):
            longer = text + chr(byte)
            alive = can_complete(numbers, longer)
            target = self.state(*settle(numbers, longer)) if alive else DEAD
            self.table[state, column] = target

    def explore(self, start: int, rows: int) -> None:
        """Makes the first rows that can be reached, nearest first."""
        todo = [start]
        for state in todo:
            if self.table[state, 0] == UNKNOWN:
                self.fill(state)
                todo += [t for t in self.table[state, :N_DONE].tolist() if t >= 0]
                rows -= 1
            if not rows:
                break
