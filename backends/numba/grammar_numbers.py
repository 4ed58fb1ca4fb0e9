"""Sets of numbers as tables, shared by all schemas of a vocabulary: digits lead on.

A state is what `JsonGrammar.digits` keeps: threads (place in the family, set) and a text.  Its row
has a column for each byte a number can hold, and one with the result if the number ends here.
Integers and unrestricted numbers are ready from the start, the first rows of others when a schema
names them; the rest is made when somebody asks.
"""

import re

import numpy as np

from backends.numba.grammar_layout import DEAD, N_DONE, NUMBER_COLUMNS, UNKNOWN
from refimpl.grammar.json_states import NUMBER_BYTES
from refimpl.grammar.number_intervals import fits, interval_of
from refimpl.grammar.number_sets import INTEGERS, NUMBERS, NumberSet
from refimpl.grammar.number_settle import digits_alike, settle, smallest_alike
from refimpl.grammar.number_texts import NUMBER, is_complete

Threads = tuple[tuple[int, NumberSet], ...]
READY_ROWS = 24
_EXPONENT, _FRACTION = re.compile("[eE]"), re.compile(r"\.(\d*[1-9]|00)")


class NumberTables:
    """All number sets that any schema has used so far."""

    def __init__(self) -> None:
        self.states: list[tuple[Threads, str]] = []
        self.ids: dict[tuple[Threads, str], int] = {}
        self.targets: dict[tuple[Threads, str], int] = {}
        self.table = np.full((256, NUMBER_COLUMNS), UNKNOWN, np.int32)
        for ready in (NUMBERS, INTEGERS):
            self.start(((0, ready),))

    def start(self, threads: Threads) -> int:
        """The state before a number, with the first rows."""
        if (threads, "") not in self.ids:
            quick = all(interval_of(part) or part.only for _, s in threads for part in s.parts)
            self.explore(self.state(threads, ""), READY_ROWS if quick else 1)
        return self.ids[threads, ""]

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
        alike = {} if _EXPONENT.search(text) else digits_alike([s for _, s in threads])
        row: dict[str, int] = {}
        for byte in map(chr, NUMBER_BYTES):
            same = row.get(alike.get(byte, byte.lower()))
            row[byte] = self.after(threads, text + byte) if same is None else same
        self.table[state, :N_DONE] = list(row.values())

    def after(self, threads: Threads, text: str) -> int:
        """The state after one more byte; texts that compare alike with all bounds share it."""
        if not NUMBER.fullmatch(text):
            return DEAD
        key = (threads, smallest_alike([s for _, s in threads], text.replace("E", "e")))
        if key not in self.targets:
            self.targets[key] = self._after(*key)
        return self.targets[key]

    def _after(self, threads: Threads, text: str) -> int:
        alive = tuple((i, s) for i, s in threads if fits(s, text))
        if not alive:
            return DEAD
        if len({s for _, s in alive}) == 1:
            settled, text = settle(alive[0][1], text)
            alive = tuple((i, settled) for i, _ in alive)
        else:
            text = smallest_alike([s for _, s in alive], text)
        return self.state(alive, text)

    def explore(self, start: int, rows: int) -> None:
        """Makes the first rows that can be reached, nearest first."""
        seen = {start: None}
        for state in (todo := [start]):
            if self.table[state, 0] == UNKNOWN:
                self.fill(state)
                rows -= 1
            if not rows:
                break
            for t in self.table[state, :N_DONE].tolist():
                if t >= 0 and t not in seen and self.is_common(*self.states[t]):
                    seen[t] = None
                    todo.append(t)

    @staticmethod
    def is_common(threads: Threads, text: str) -> bool:
        """Whether documents often come here: exponents are rare, so is an integer's 1.25."""
        whole = all(s.step is not None and s.step.denominator == 1 for _, s in threads)
        return not (_EXPONENT.search(text) or (whole and _FRACTION.search(text)))
