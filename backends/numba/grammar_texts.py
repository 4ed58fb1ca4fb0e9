"""String languages as tables, shared by all schemas of a vocabulary: characters lead on.

A state is the threads of a string (`JsonGrammar.text_row`): place in the family, expression of the
regex algebra, bounds on the length still to come.  Its row is made when somebody asks, the first
rows when a schema names it: 128 targets for ASCII, and (first character, target) pieces beyond.
Every target has its number at once, so a row can be read before the rows it leads to are made.
Arrays that are full are replaced all together.  So a constraint that still reads the old ones finds
them as they were, with every row that was not made yet, and asks.
"""

import numpy as np
from jaxtyping import Int32, Int64
from numpy import ndarray

from backends.numba.grammar_arrays import Growing
from backends.numba.grammar_layout import (
    DEAD,
    TEXT_COLUMNS,
    UNKNOWN,
    X_OFFSET,
    X_RESULT,
    X_STAYS,
)
from refimpl.grammar.json_grammar import JsonGrammar
from refimpl.grammar.json_states import TextThread

Threads = tuple[TextThread, ...]
READY_ROWS = 8


class Pieces:
    """Rows of automata over characters, growing."""

    def __init__(self) -> None:
        self.ascii = np.full((4, 128), DEAD, np.int32)
        self.first = np.zeros((4, 4), np.int64)
        self.pieces = Growing(2)

    def put(self, state: int, row: list[tuple[int, int]], ends: bool) -> tuple[int, int]:
        """Stores (first character, target) of a state; answers where its pieces are."""
        while state >= len(self.ascii):
            self.ascii = np.concatenate([self.ascii, np.full_like(self.ascii, DEAD)])
            self.first = np.concatenate([self.first, np.zeros_like(self.first)])
        ascii_, beyond = self.ascii[state], []
        for k, (point, target) in enumerate(row):
            last = row[k + 1][0] if k + 1 < len(row) else 0x110000
            if point < 128:
                ascii_[point:last] = target
            if last > 128:
                beyond.append((max(point, 128), target))
        self.first[state] = first_bytes(ascii_, ends, any(t >= 0 for _, t in beyond))
        begin = self.pieces.extend(beyond)
        return begin, begin + len(beyond)


def first_bytes(ascii_: Int32[ndarray, "128"], ends: bool, beyond: bool) -> Int64[ndarray, "4"]:
    """The bytes that may begin the next character, or end the string, as bits."""
    alive = np.zeros(256, bool)
    alive[0x20:128] = ascii_[0x20:] >= 0
    alive[0x22], alive[0x5C] = ends, True
    alive[0xC2:0xF5] = beyond
    return np.packbits(alive, bitorder="little").view(np.int64)


def stays(state: int, row: list[tuple[int, int]]) -> bool:
    """Whether every character leads back to the state, as behind the match of a pattern."""
    return all(target == state for point, target in row if point != 0xD800)


class TextTables:
    """All string languages that any schema has used so far."""

    def __init__(self) -> None:
        self.states: list[Threads] = []
        self.ids: dict[Threads, int] = {}
        self.rows = Pieces()
        self.table = Growing(TEXT_COLUMNS)

    def start(self, threads: Threads, grammar: JsonGrammar) -> int:
        """The state before a text, with the first rows."""
        if threads not in self.ids:
            self.explore(self.state(threads), READY_ROWS, grammar)
        return self.ids[threads]

    def state(self, threads: Threads) -> int:
        if threads not in self.ids:
            self.states.append(threads)
            done = {i for i, node, lo, _ in threads if node.nullable and lo == 0}
            before = self.arrays()
            self.ids[threads] = self.table.add((UNKNOWN, 0, sum(1 << i for i in done), 0))
            self.leave(before)
        return self.ids[threads]

    def arrays(self) -> tuple[ndarray, ...]:
        return self.table.array, self.rows.ascii, self.rows.first, self.rows.pieces.array

    def leave(self, before: tuple[ndarray, ...]) -> None:
        """Leaves the other arrays too to those who read them, if one was replaced."""
        if any(a is not b for a, b in zip(self.arrays(), before, strict=True)):
            table, rows = self.table, self.rows
            table.array, rows.ascii, rows.first, rows.pieces.array = (
                a.copy() for a in self.arrays()
            )

    def explore(self, state: int, rows: int, grammar: JsonGrammar) -> None:
        """Makes the rows of a state and of some that it leads to, nearest first."""
        seen = {state: None}
        for n in (todo := [state]):
            self.fill(n, grammar)
            begin, end = self.table.array[n, :X_RESULT]
            targets = {*self.rows.ascii[n].tolist(), *self.rows.pieces.array[begin:end, 1].tolist()}
            new = [t for t in sorted(targets) if t >= 0 and t not in seen]
            seen.update(dict.fromkeys(new))
            todo += new[: rows - len(todo)]

    def fill(self, state: int, grammar: JsonGrammar) -> None:
        """Makes the row of a state."""
        if self.table.array[state, X_OFFSET] != UNKNOWN:
            return
        row: list[tuple[int, int]] = []
        for point, threads in grammar.text_row(self.states[state]):
            target = self.state(threads) if threads else DEAD
            if not row or row[-1][1] != target:
                row.append((point, target))
        ends = bool(self.table.array[state, X_RESULT])
        before = self.arrays()
        where = self.rows.put(state, row, ends)
        self.leave(before)
        self.table.array[state, :X_RESULT] = where
        self.table.array[state, X_STAYS] = stays(state, row)
