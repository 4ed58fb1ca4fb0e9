"""Chapter one: a regular expression as a finite-state machine, small enough to look at.

Everything later in this package is lazy; here the whole machine is built and made as small as it
can be, so that it can be drawn and a generation can be followed through it with a finger.  States
are numbered in the order of first arrival from the start, which makes the minimal machine of a
language unique: two patterns mean the same if and only if their machines are equal.

Minimisation is Moore's (1956): begin with accepting and not, split until every byte agrees.

>>> fsm = minimal(Regexes(), "(ab|ac)*")
>>> fsm.start, fsm.accepting, fsm.moves
(0, frozenset({0}), (((97, 97, 1),), ((98, 99, 0),)))
>>> fsm == minimal(Regexes(), "(a[bc])*")
True
"""

from dataclasses import dataclass

from refimpl.errors import UnsupportedError
from refimpl.grammar.charset import MAX_CODE_POINT
from refimpl.grammar.regex import Node, Regexes
from refimpl.grammar.regex_dialects import ECMA, Dialect
from refimpl.grammar.regex_language import full_match

MAX_STATES = 5000
Moves = tuple[tuple[int, int, int], ...]  # (first character, last character, next state)


@dataclass(frozen=True)
class Fsm:
    """Deterministic, without dead states: a missing move means that nothing can follow."""

    start: int
    accepting: frozenset[int]
    moves: tuple[Moves, ...]

    def step(self, state: int, character: str) -> int | None:
        c = ord(character)
        return next((t for lo, hi, t in self.moves[state] if lo <= c <= hi), None)

    def path(self, text: str) -> list[int]:
        """The states passed while reading, as far as it goes."""
        states = [self.start]
        for character in text:
            after = self.step(states[-1], character)
            if after is None:
                break
            states.append(after)
        return states


def minimal(regexes: Regexes, pattern: str, dialect: Dialect = ECMA) -> Fsm:
    """The smallest machine for the texts that match from beginning to end."""
    return minimise(regexes, full_match(regexes, pattern, dialect))


def minimise(regexes: Regexes, node: Node) -> Fsm:
    if not regexes.is_live(node, MAX_STATES):
        return Fsm(0, frozenset(), ((),))
    states = _explore(regexes, node)
    block = {s: int(s.nullable) for s in states}
    while True:
        signatures: dict[object, int] = {}
        after = {}
        for s in states:
            signature = (block[s], _named(regexes, s, block))
            after[s] = signatures.setdefault(signature, len(signatures))
        if len(signatures) == len(set(block.values())):
            break
        block = after
    return _numbered(regexes, states, block)


def _explore(regexes: Regexes, start: Node) -> list[Node]:
    states = {start: None}
    for node in (todo := [start]):
        for _, after in regexes.row(node):
            if after not in states and regexes.is_live(after, MAX_STATES):
                states[after] = None
                todo.append(after)
        if len(states) > MAX_STATES:
            raise UnsupportedError(f"a machine of more than {MAX_STATES} states; use the lazy one")
    return todo


def _named(regexes: Regexes, node: Node, name: dict[Node, int]) -> Moves:
    """The moves of a state, with neighbouring ranges to the same target joined."""
    row = regexes.row(node)
    out: list[tuple[int, int, int]] = []
    for i, (lo, after) in enumerate(row):
        hi = row[i + 1][0] - 1 if i + 1 < len(row) else MAX_CODE_POINT
        if after in name:
            if out and out[-1][2] == name[after] and out[-1][1] == lo - 1:
                lo = out.pop()[0]
            out.append((lo, hi, name[after]))
    return tuple(out)


def _numbered(regexes: Regexes, states: list[Node], block: dict[Node, int]) -> Fsm:
    first: dict[int, Node] = {}
    for s in states:
        first.setdefault(block[s], s)
    order = {block[states[0]]: 0}
    moves: list[Moves] = []
    for b in (todo := [block[states[0]]]):
        named = _named(regexes, first[b], block)
        for _, _, t in named:
            if t not in order:
                order[t] = len(order)
                todo.append(t)
        moves.append(tuple((lo, hi, order[t]) for lo, hi, t in named))
    accepting = frozenset(order[b] for b in order if first[b].nullable)
    return Fsm(0, accepting, tuple(moves))
