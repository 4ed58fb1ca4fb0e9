"""How a text can end soonest: the shortest bytes that complete a state.

A generation that stops at `max_tokens` in the middle of a document has produced nothing.  `rest`
says how many bytes a state still needs, and which; `in_time` then allows only tokens that leave
room for them.

A part (a value, a key) ends with a result, and what follows depends on the result alone.  So the
ends of each part are searched once, in the order of their length and no further than somebody asks
(Dijkstra's algorithm; a nested part is an edge to each of its results, as in the pushdown summaries
of Reps, Horwitz and Sagiv, 1995).  A nested part begins after at least one byte; so it is asked for
shorter ends than the part around it, and recursion comes to a halt.

The grammar keeps the search small (`ways`): of all spellings of a character the shortest, of all
orders of the members that are required one.

The result is the shortest where the future depends on results alone.  Where it depends on the text
itself (items that must differ, members that are counted and told apart by their names) each part is
the shortest by itself, and the whole a known completion.  There the search is made for a state that
has forgotten the text, and its end is taken if the text agrees with it (`unread`); only otherwise
is the state searched by itself.

A text that can be closed stays so, byte by byte: a state on the way knows the rest of the way,
noted when the end was searched (`_note_the_way`), or when it is followed (`keep`).

>>> from refimpl.grammar.gbnf import grammar
>>> machine = Machine(grammar('root ::= "(" root ")" | "x"'))
>>> state = machine.advance(machine.start, b"((")
>>> Closing(machine).rest(state)
b'x))'
"""

from collections import defaultdict
from collections.abc import Generator
from typing import Any

import numpy as np

from refimpl.grammar.json_states import ItemFrame, Key, MemberFrame
from refimpl.grammar.json_ways import alternatives
from refimpl.grammar.machine import DEAD, FIRST_SPECIAL, PUSH, Machine, State
from refimpl.grammar.unread import Home, home, unread

MAX_STEPS = 20_000
MAX_BYTES = 1 << 16
Edge = tuple[bytes, int]  # a text, and a code as in the machine's table
Search = Generator[State, bytes | None, bytes | None]


class Ends:
    """The results of one part: `of_length[n]` are those that n bytes lead to, and no fewer."""

    def __init__(self, closing: "Closing", local: int, frame: int):
        self.closing, self.frame = closing, frame
        self.of_length: dict[int, list[tuple[int, bytes]]] = defaultdict(list)
        self.length = -1  # all ends of at most so many bytes are found
        self._alternatives = alternatives(closing.machine.locals[local])
        self._covered: frozenset[Any] = frozenset()
        self._best = {local: 0}
        self._queue: dict[int, list[tuple[int, bytes]]] = {0: [(local, b"")]}
        self._pops: dict[int, list[tuple[int, bytes]]] = {}
        self._nested: list[tuple[bytes, int, Ends, bool]] = []

    @property
    def is_done(self) -> bool:
        """Whether there are no longer ends; also said when too much may come next."""
        return not (self._queue or self._pops or self._nested)

    def grow(self, length: int) -> None:
        while self.length < length and not self.is_done:
            self._settle(self.length + 1)
            self.length += 1

    def _settle(self, n: int) -> None:
        """Everything that exactly n bytes lead to."""
        for text, frame, nested, inside in self._nested:
            nested.grow(n - len(text))
            for result, end in nested.of_length.get(n - len(text), ()):
                read = (text[-1:] if inside else b"") + end
                self._reach(self.closing.resumed(frame, result, read), text + end)
        for result, text in self._pops.pop(n, ()):
            self._end(result, text)
        for local, text in self._queue.pop(n, ()):
            if self._best[local] == n and not self._is_covered(local):
                self._expand(local, text)
        if len(self._best) > MAX_STEPS:
            self._stop()

    def _expand(self, local: int, text: bytes) -> None:
        machine = self.closing.machine
        done = machine.grammar.result(machine.locals[local])
        if done is not None:
            self._end(machine.result(done), text)
        for more, code in self.closing.edges(local, self.frame):
            if code >= 0:
                self._reach(code, text + more)
                continue
            kind, a, b, inside = machine.specials[FIRST_SPECIAL - code]
            if kind == PUSH:
                self._nested.append((text + more, a, self.closing.ends(b, a), bool(inside)))
            elif not b:  # a pop that leaves its byte to others ends without it: `result`
                self._pops.setdefault(len(text + more), []).append((a, text + more))

    def _is_covered(self, local: int) -> bool:
        """Whether nothing new can come of a local state."""
        here = alternatives(self.closing.machine.locals[local])
        return self._alternatives is not None and here is not None and here <= self._covered

    def _reach(self, local: int, text: bytes) -> None:
        if self._best.get(local, MAX_BYTES) > len(text):
            self._best[local] = len(text)
            self._queue.setdefault(len(text), []).append((local, text))

    def _end(self, result: int, text: bytes) -> None:
        """Notes a result unless each of its alternatives was reached in fewer bytes."""
        value = self.closing.machine.results[result]
        new = frozenset(value if isinstance(value, tuple) else (value,))
        if not new <= self._covered:
            self._covered |= new
            self.of_length[len(text)].append((result, text))
        if self._alternatives is not None and self._alternatives <= self._covered:
            self._stop()

    def _stop(self) -> None:
        self._queue, self._pops, self._nested = {}, {}, []


class Closing:
    """Shortest ends of one machine's texts."""

    def __init__(self, machine: Machine):
        self.machine = machine
        self._ends: dict[tuple[int, int], Ends] = {}
        self._edges: dict[tuple[int, int], list[Edge]] = {}
        self._rests: dict[State, bytes | None] = {}
        self._homes: dict[tuple[State, bool], Home] = {}

    def rest(self, state: State) -> bytes | None:
        """A text that completes this state, empty if it is complete; None if too hard to find.

        A part asks for the rest of what is around it, and so on to the outermost: `_rest` yields
        the states it asks about, and a list stands for the stack of calls, as deep as texts nest.
        """
        asked, answer = [self._rest(state)], None
        while asked:
            try:
                wanted = asked[-1].send(answer)
            except StopIteration as end:
                asked.pop()
                answer = end.value
            else:
                asked.append(self._rest(wanted))
                answer = None
        return answer

    def keep(self, state: State, rest: bytes) -> None:
        """Notes a text that completes this state, unless one as short is known."""
        known = self.rest(state)
        if known is None or len(known) > len(rest):
            self._rests[state] = rest

    def suits(self, state: State, read: bytes, after: State) -> bool:
        """Whether the rest of `after` ends this text too.

        `after` is where these bytes lead once the recorded text is forgotten.
        """
        rest = self.rest(after)
        if state.text is None or rest is None:
            return True
        if after.text is None and after.stack == state.stack:  # the same part goes on
            now = State(after.local, after.stack, state.text + read)
            return self._home(now, after, rest).holds(self.machine, now)
        return home(self.machine, state, read + rest).holds(self.machine, state)

    def whatever_was_read(self, state: State) -> State | None:
        """The state that speaks for all that differ from this one in their recorded text alone."""
        easier = State(state.local, state.stack)
        rest = self.rest(easier)
        return None if rest is None or self._home(state, easier, rest).parts else easier

    def _home(self, state: State, easier: State, rest: bytes) -> Home:
        key = (easier, state.text is None)
        if key not in self._homes:
            self._homes[key] = home(self.machine, state, rest)
        return self._homes[key]

    def _note_the_way(self, state: State, rest: bytes) -> None:
        for i, byte in enumerate(rest, 1):
            after = self.machine.step(state, byte)
            assert after is not None, "what completes a state can be read from it"
            known = self._rests.get(after)
            if self._has_forgotten(after) or (known is not None and len(known) <= len(rest) - i):
                return
            self._rests[after] = rest[i:]
            state = after

    def _rest(self, state: State) -> Search:
        if state not in self._rests:
            easier = unread(self.machine, state)
            if easier is not None:
                rest = yield easier
                if rest is not None and self._home(state, easier, rest).holds(self.machine, state):
                    return rest
            self._rests[state] = rest = yield from self._searched(state)
            if rest is not None and not self._has_forgotten(state):
                self._note_the_way(state, rest)
        return self._rests[state]

    def _has_forgotten(self, state: State) -> bool:
        """Whether this stands for states with any recorded text; no byte is read from these."""
        return state.text is None and self.machine.records[state.stack]

    def _searched(self, state: State) -> Search:
        """Yields states whose rest it needs, and is sent it."""
        if self.machine.accepts(state):
            return b""
        ends, best, length = self.ends(state.local, self.machine.frame_of[state.stack]), None, 0
        least = yield from self._least(state)
        while best is None or length + least < len(best):
            ends.grow(length)
            for result, text in ends.of_length.get(length, ()):
                whole = yield from self._whole(state, result, text)
                if whole is not None and (best is None or len(whole) < len(best)):
                    best = whole
                if self._is_everything(state, result):
                    return best
            if ends.is_done and length >= ends.length:
                return best
            length += 1
        return best

    def _whole(self, state: State, result: int, text: bytes) -> Search:
        """This end of the innermost part, and the rest of what is around it."""
        if state.stack == 0:
            return text
        after = yield self._around(state, result, text)
        return None if after is None else text + after

    def _is_everything(self, state: State, result: int) -> bool:
        """Whether no other result of the innermost part could lead to a shorter text."""
        frame = self.machine.frames[self.machine.frame_of[state.stack]]
        if not isinstance(frame, MemberFrame | ItemFrame):
            return state.stack == 0
        return len(self.machine.results[result]) == len(frame.nexts)

    def _least(self, state: State) -> Generator[State, bytes | None, int]:
        """At least so many bytes come after the innermost part, whatever its result."""
        machine, stack = self.machine, state.stack
        frame = machine.frames[machine.frame_of[stack]]
        if not isinstance(frame, MemberFrame | ItemFrame) or frame.record:
            return machine.depth[stack]  # every frame takes a byte to leave
        if len(frame.nexts) < 2:
            return 0
        everything = machine.result(tuple(range(len(frame.nexts))))
        after = yield self._around(State(state.local, stack), everything, b"")  # for any text
        return machine.depth[stack] if after is None else len(after)

    def _around(self, state: State, result: int, text: bytes) -> State:
        """The state after the innermost part ended with this text and result."""
        machine, stack = self.machine, state.stack
        offset, whole = machine.offset[stack], None if state.text is None else state.text + text
        read = whole if whole is None or offset < 0 else whole[offset:]
        local = self.resumed(machine.frame_of[stack], result, read)
        return State(local, machine.parent[stack], None if offset == 0 else whole)

    def resumed(self, frame: int, result: int, read: bytes | None) -> int:
        machine = self.machine
        local = machine.grammar.resume(machine.frames[frame], machine.results[result], read)
        assert local is not None, "every result that a part can have leads on"
        return machine.local(local)

    def ends(self, local: int, frame: int) -> Ends:
        """Of the part that goes on in this local state; only a key asks what is around it."""
        key = (local, frame if isinstance(self.machine.locals[local], Key) else 0)
        if key not in self._ends:
            self._ends[key] = Ends(self, local, key[1])
        return self._ends[key]

    def edges(self, local: int, frame: int) -> list[Edge]:
        """Ways on from a local state, enough for every shortest text."""
        if (local, frame) not in self._edges:
            self._edges[local, frame] = self._edges_of(local, frame)
        return self._edges[local, frame]

    def _edges_of(self, local: int, frame: int) -> list[Edge]:
        machine = self.machine
        ways = machine.grammar.ways(machine.locals[local], machine.frames[frame])
        if ways is not None:
            return [(text, machine.lower(action)) for text, action in ways]
        machine.code(local, 0)
        codes, bytes_ = np.unique(machine.table[local], return_index=True)
        pairs = zip(codes.tolist(), bytes_.tolist(), strict=True)
        return [(bytes((byte,)), code) for code, byte in pairs if code != DEAD]
