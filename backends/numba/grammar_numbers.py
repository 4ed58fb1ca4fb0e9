"""Sets of numbers as tables, shared by all schemas of a vocabulary: digits lead on.

A state is what `JsonGrammar.digits` keeps: threads (place in the family, set) and a text.  Its row
has a column for each byte a number can hold, and one with the result if the number ends here.
Integers and unrestricted numbers are ready from the start; other rows are made when somebody asks.
"""

import numpy as np

from backends.numba.grammar_layout import DEAD, N_DONE, NUMBER_COLUMNS, UNKNOWN
from refimpl.grammar.json_states import NUMBER_BYTES
from refimpl.grammar.number_sets import INTEGERS, NumberSet, can_complete, is_complete, settle

Threads = tuple[tuple[int, NumberSet], ...]


class NumberTables:
    """All number sets that any schema has used so far."""

    def __init__(self) -> None:
        self.states: list[tuple[Threads, str]] = []
        self.ids: dict[tuple[Threads, str], int] = {}
        self.table = np.full((256, NUMBER_COLUMNS), UNKNOWN, np.int32)
        for ready in (NumberSet(), INTEGERS):
            self.explore(self.state(((0, ready),), ""), 40)

    def state(self, threads: Threads, text: str) -> int:
        key = (threads, text)
        if key not in self.ids:
            n = self.ids[key] = len(self.states)
            self.states.append(key)
            if n >= len(self.table):
                self.table = np.concatenate([self.table, np.full_like(self.table, UNKNOWN)])
            done = {i for i, s in threads if is_complete(s, text)}
            self.table[n, N_DONE] = sum(1 << i for i in done)
        return self.ids[key]

    def fill(self, state: int) -> None:
        """Makes the row of a state."""
        threads, text = self.states[state]
        for column, byte in enumerate(NUMBER_BYTES):
            target = self.after(threads, text + chr(byte))
            self.table[state, column] = target

    def after(self, threads: Threads, text: str) -> int:
        alive = tuple((i, s) for i, s in threads if can_complete(s, text))
        if not alive:
            return DEAD
        if len({s for _, s in alive}) == 1:
            settled, text = settle(alive[0][1], text)
            alive = tuple((i, settled) for i, _ in alive)
        return self.state(alive, text)

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
