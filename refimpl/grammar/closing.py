"""Ending in time: how many bytes a text still needs, and which tokens leave room for them.

A generation that stops at `max_tokens` in the middle of a document has produced nothing.  So a
request may ask that its text be complete by then: a token is allowed only if what it leaves open
can still be closed with the tokens that remain.

`rest(state)` is a text that completes a state: leave the innermost part in as few bytes as
possible, then the part around it, and so on.  Its first byte leads to a state whose own rest is one
byte shorter.  So while the rest has no more bytes than there are tokens left, and every byte is a
token, some token keeps it so: once a text can be closed in time, it will be.

The grammar keeps the number of states to look at small (`hurried`): the members that are required
must all be written, in whatever order, so looking at one order is enough to know the length.

>>> from refimpl.grammar.gbnf import grammar
>>> machine = Machine(grammar('root ::= "(" root ")" | "x"'))
>>> state = machine.advance(machine.start, b"((")
>>> Closing(machine).rest(state)
b'x))'
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator

import numpy as np
from jaxtyping import Int32
from numpy import ndarray

from refimpl.errors import InputError, UnsupportedError
from refimpl.grammar.charset import ALL
from refimpl.grammar.constraint import Constraint
from refimpl.grammar.json_states import Text
from refimpl.grammar.machine import FIRST_SPECIAL, PUSH, Machine, State
from refimpl.grammar.masks import Mask, is_plain, is_utf8, pack, unpack

MAX_STEPS = 20_000
NEVER = 1 << 30
Ends = dict[int, bytes]  # results of a part, and a text that leads to each


class Closing:
    """Shortest ends of the parts of one machine's texts."""

    def __init__(self, machine: Machine):
        self.machine, self.grammar = machine, machine.grammar
        self._ends: dict[tuple[int, int], Ends] = {}
        self._open: dict[tuple[int, int], None] = {}
        self._skipped = 0
        self._rests: dict[State, bytes] = {}

    def rest(self, state: State) -> bytes:
        """A text that completes this state, empty if it is complete."""
        if state not in self._rests:
            self._rests[state] = self._rest(state)
        return self._rests[state]

    def _rest(self, state: State) -> bytes:
        if self.machine.accepts(state):
            return b""
        ends = self.ends(state.local, self.machine.frame_of[state.stack])
        if state.stack == 0:
            return _shortest(ends.values())
        return _shortest(
            text + self.rest(self._around(state, result, text)) for result, text in ends.items()
        )

    def _around(self, state: State, result: int, text: bytes) -> State:
        """The state after the innermost part ended with this text and result."""
        machine, stack = self.machine, state.stack
        below, offset, read = machine.parent[stack], machine.offset[stack], b""
        if state.text is not None and offset >= 0:
            read = state.text[offset:] + text
        local = self._resumed(machine.frame_of[stack], result, read)
        kept = machine.records[below] and state.text is not None
        return State(local, below, state.text + text if kept and state.text is not None else None)

    def _resumed(self, frame: int, result: int, read: bytes) -> int:
        machine = self.machine
        local = self.grammar.resume(machine.frames[frame], machine.results[result], read)
        assert local is not None, "every result that a part can have leads on"
        return machine.local(local)

    def ends(self, local: int, frame: int) -> Ends:
        """The results with which a part can end soonest, and how.

        An end that goes through another such part is longer than that part's own; so a part that
        is being searched already is passed over, and what was found that way is not remembered.
        """
        key = (local, frame)
        if key in self._ends:
            return self._ends[key]
        if key in self._open:
            self._skipped += 1
            return {}
        self._open[key] = None
        skipped = self._skipped
        found = self._search(local, frame)
        del self._open[key]
        if not self._open or skipped == self._skipped:
            self._ends[key] = found
        return found

    def _search(self, start: int, frame: int) -> Ends:
        """Dijkstra's search over the local states of a part; a nested part is one edge."""
        queue: dict[int, list[tuple[int, bytes]]] = defaultdict(list)
        pops: dict[int, Ends] = defaultdict(dict)
        start = self._hurried(start, frame)
        best = {start: 0}
        queue[0].append((start, b""))
        length = 0
        while queue or pops:
            found = pops.pop(length, {})
            for local, text in queue.pop(length, []):
                if best[local] < length:
                    continue
                done = self.grammar.result(self.machine.locals[local])
                if done is not None:
                    found.setdefault(self.machine.result(done), text)
                for more, after, result in self._edges(local):
                    longer = text + more
                    if result >= 0:
                        pops[len(longer)].setdefault(result, longer)
                        continue
                    after = self._hurried(after, frame)
                    if best.get(after, NEVER) > len(longer):
                        best[after] = len(longer)
                        queue[len(longer)].append((after, longer))
            if found:
                return found
            if len(best) > MAX_STEPS:
                raise UnsupportedError("closing in time where this much may come next")
            length += 1
        return {}

    def _edges(self, local: int) -> Iterator[tuple[bytes, int, int]]:
        """Ways on from a local state: (text, next local state, -1) or (text, -1, result)."""
        machine = self.machine
        machine.code(local, 0)
        codes, bytes_ = np.unique(machine.table[local], return_index=True)
        for code, byte in zip(codes.tolist(), bytes_.tolist(), strict=True):
            text = bytes((byte,))
            if code >= 0:
                yield text, code, -1
            elif code <= FIRST_SPECIAL:
                kind, a, b, inside = machine.specials[FIRST_SPECIAL - code]
                if kind != PUSH:
                    if not b:
                        yield text, -1, a
                    continue
                for result, end in self.ends(b, a).items():
                    read = (text if inside else b"") + end
                    yield text + end, self._resumed(a, result, read), -1

    def _hurried(self, local: int, frame: int) -> int:
        machine = self.machine
        return machine.local(self.grammar.hurried(machine.locals[local], machine.frames[frame]))


def _shortest(texts: Iterable[bytes]) -> bytes:
    return min(texts, key=lambda text: (len(text), text))


class InTime:
    """A constraint whose texts are complete after `limit` tokens: a state is (state, tokens left).

    It looks at the state after every allowed token, once for each state: slower than a mask.
    """

    def __init__(self, constraint: Constraint, limit: int):
        self.constraint, self.closing = constraint, Closing(constraint.machine)
        tokens = constraint.vocabulary.tokens
        if len({t for t in tokens if len(t) == 1}) < 256:
            raise UnsupportedError("closing in time needs a vocabulary with every byte as a token")
        need = len(self.closing.rest(constraint.start))
        if need > limit:
            raise InputError(f"this constraint needs {need} tokens; max_tokens leaves {limit}")
        self.start = (constraint.start, limit)
        self.plain = np.array([bool(t) and is_plain(t) and is_utf8(t, whole=True) for t in tokens])
        self._needs: dict[State, Int32[ndarray, " tokens"]] = {}

    def mask(self, state: tuple[State, int]) -> Mask:
        inner, left = state
        mask = self.constraint.mask(inner)
        if inner not in self._needs:
            self._needs[inner] = self._needed(inner, mask)
        in_time = self._needs[inner] <= left - 1
        in_time[list(self.constraint.vocabulary.stops)] = True
        out: Mask = mask & pack(in_time)
        return out

    def _needed(self, state: State, mask: Mask) -> Int32[ndarray, " tokens"]:
        """How many bytes each allowed token leaves to be written."""
        vocabulary, machine = self.constraint.vocabulary, self.constraint.machine
        out = np.full(len(vocabulary.tokens), NEVER, np.int32)
        allowed = unpack(mask, out.size)
        if self._is_steady(state):
            out[self.plain] = len(self.closing.rest(state))
            allowed &= ~self.plain
        for token in np.flatnonzero(allowed).tolist():
            after = machine.advance(state, vocabulary.tokens[token])
            out[token] = NEVER if after is None else len(self.closing.rest(after))
        return out

    def _is_steady(self, state: State) -> bool:
        """Inside a string of any text: plain characters lead back to the same state."""
        machine = self.constraint.machine
        local = machine.locals[state.local]
        return (
            isinstance(local, Text)
            and not local.position
            and state.text is None
            and all(
                node.kind == "repeat" and node.args[0].args == (ALL,) and not lo and hi is None
                for _, node, lo, hi in local.threads
            )
        )

    def advance(self, state: tuple[State, int], token: int) -> tuple[State, int]:
        inner, left = state
        return self.constraint.advance(inner, token), left - 1
