"""Keys that patterns tell apart, as tables: the states of a `KeyAutomaton`, all of them.

Each state knows which name it is, which names and which labels of unnamed keys it can still become.
"""

from numpy import ndarray

from backends.numba import grammar_layout as g
from backends.numba.grammar_arrays import Growing
from backends.numba.grammar_layout import DEAD
from backends.numba.grammar_texts import Pieces, stays
from refimpl.grammar.keys import KeyAutomaton, KeyState, Label

MAX_KEY_STATES = 2000


class KeyTables:
    """The automata of one schema."""

    def __init__(self) -> None:
        self.rows = Pieces()
        self.states = Growing(g.KEY_COLUMNS)
        self.starts: dict[KeyAutomaton, int] = {}

    def start(self, automaton: KeyAutomaton) -> int:
        """The first state, or DEAD if there are too many."""
        if automaton not in self.starts:
            states = reachable(automaton)
            self.starts[automaton] = self.add(automaton, states) if states else DEAD
        return self.starts[automaton]

    def add(self, automaton: KeyAutomaton, states: list[KeyState]) -> int:
        base = self.states.size
        ids = {state: base + k for k, state in enumerate(states)}
        labels: dict[Label, int] = {label: k for k, label in enumerate(automaton.supply)}
        reach = reached_labels(automaton, states, labels)
        for state in states:
            part, _ = state
            label = automaton.label(state)
            name = part[0] if part and isinstance(label, str) else -1
            row = with_surrogates([(p, ids[t]) for p, t in automaton.row(state)])
            pieces = self.rows.put(ids[state], row, True)
            lo, hi = part[:2] if part else (0, 0)
            other = -1 if isinstance(label, str) else labels[label]
            back = stays(ids[state], row)
            own = (name, lo, hi, other, reach[state], back, base, len(states))
            self.states.add((*pieces, *own))
        return base

    def places(self) -> dict[int, ndarray]:
        return {
            g.KEY_STATES: self.states.array, g.KEY_ASCII: self.rows.ascii,
            g.KEY_PIECES: self.rows.pieces.array, g.KEY_FIRST: self.rows.first,
        }  # fmt: skip


def reachable(automaton: KeyAutomaton) -> list[KeyState]:
    """All states, the start first; none if there are too many."""
    seen = {automaton.start: None}
    for state in (todo := [automaton.start]):
        for _, target in automaton.row(state):
            if target not in seen:
                seen[target] = None
                todo.append(target)
        if len(todo) > MAX_KEY_STATES:
            return []
    return todo


def reached_labels(
    automaton: KeyAutomaton, states: list[KeyState], labels: dict[Label, int]
) -> dict[KeyState, int]:
    """The labels of unnamed keys that each state can become, as bits."""
    back: dict[KeyState, list[KeyState]] = {s: [] for s in states}
    reach: dict[KeyState, int] = {}
    for s in states:
        label = automaton.label(s)
        reach[s] = 0 if isinstance(label, str) else 1 << labels[label]
        for _, t in automaton.row(s):
            back[t].append(s)
    todo = list(states)
    while todo:
        t = todo.pop()
        for s in back[t]:
            if reach[t] & ~reach[s]:
                reach[s] |= reach[t]
                todo.append(s)
    return reach


def with_surrogates(row: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same row, dead where there are no characters."""
    before = [(p, t) for p, t in row if p < 0xD800]
    after = [(p, t) for p, t in row if p >= 0xE000]
    if not after or after[0][0] > 0xE000:
        after.insert(0, (0xE000, before[-1][1]))
    return [*before, (0xD800, DEAD), *after]
