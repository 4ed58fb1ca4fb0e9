"""A pushdown machine over bytes: local states, a stack of frames, and nothing that is ever undone.

A grammar says what one byte does to a local state: `Go` to another one, `Push` a frame and begin a
nested part, or `Pop` with a result, after which the frame on top says where to go on.  Local states
and frames are interned, stacks are linked nodes, and a state is a small immutable tuple; so keeping
an old state is all there is to rolling back, and copying it all there is to forking.

Some frames need the text that was read above them (the value of an item that must be unique); they
are marked `record`, and the state then carries that text.  Without it, a state stands for all those
that differ in their texts alone (`unread`); what is read from there on is known again.

Glossary: again, a pop that did not use the byte (a number ends at the comma behind it); END, the
local state after the whole text.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np


@dataclass(frozen=True)
class Go:
    local: Hashable


@dataclass(frozen=True)
class Push:
    frame: "Frame"
    local: Hashable
    inside: bool  # whether this byte already belongs to the nested part


@dataclass(frozen=True)
class Pop:
    result: Hashable
    again: bool = False


Action = Go | Push | Pop


Row = list[tuple[int, int, Action | None]]  # (first byte, last byte, what they do)
Ways = list[tuple[bytes, Action]]


@runtime_checkable
class Frame(Protocol):
    @property
    def record(self) -> bool: ...

    def __hash__(self) -> int: ...


@runtime_checkable
class Grammar(Protocol):
    """What the machine runs.  Only states that can be completed are ever returned."""

    def start(self) -> Hashable: ...

    def row(self, local: Any) -> "Row":
        """What each byte does; bytes in no range are dead, and a later range wins."""
        ...

    def resume(self, frame: Any, result: Any, text: bytes | None) -> Hashable | None:
        """Where a frame goes on; a text that is None has been forgotten (`unread`)."""
        ...

    def result(self, local: Any) -> Hashable | None:
        """The result if this part may end here without another byte, else None."""
        ...

    def is_open(self, local: Any, reach: int) -> bool:
        """Whether this is inside a JSON string where any `reach` plain characters may follow.

        Plain are all but the quote, the backslash and the controls below U+0020.
        """
        ...

    def alike(self, local: Any, reach: int) -> Hashable:
        """A local state that allows the same texts of at most `reach` bytes."""
        ...

    def ways(self, local: Any, frame: Any) -> "Ways | None":
        """Texts and what they do, enough for every shortest end (`closing`); None: every byte."""
        ...


class State(NamedTuple):
    local: int
    stack: int = 0
    text: bytes | None = None


END = 0
DEAD, UNKNOWN, FIRST_SPECIAL = -1, -2, -3
PUSH, POP = 0, 1


class Machine:
    """Runs a grammar, and remembers every local step it has taken.

    `table[local, byte]` is the next local state, or DEAD, or UNKNOWN until somebody asks, or
    FIRST_SPECIAL - k for the k-th push or pop in `specials`: (PUSH, frame, local, inside) or
    (POP, result, again, 0), all numbers.  `resumed[frame, result]` is where a pop goes on, in the
    same code; frames that record are not in it, since their text matters too.
    """

    def __init__(self, grammar: Grammar):
        self.grammar = grammar
        self.locals: list[Any] = ["end"]
        self.frames: list[Any] = ["bottom"]
        self.results: list[Any] = []
        self.specials: list[tuple[int, int, int, int]] = []
        self._ids: dict[tuple[int, Hashable], int] = {}
        self.table = np.full((64, 256), UNKNOWN, np.int32)
        self.table[END] = DEAD
        self.resumed = np.full((16, 8), UNKNOWN, np.int32)
        self.parent, self.frame_of, self.depth = [0], [0], [0]
        self.offset, self.records = [-1], [False]
        self._stacks: dict[tuple[int, int, int], int] = {}
        self.lowest = 0
        self.start = State(self.local(grammar.start()))

    # --- numbers for things

    def _intern(self, kind: int, thing: Hashable, things: list[Any]) -> int:
        key = (kind, thing)
        if key not in self._ids:
            self._ids[key] = len(things)
            things.append(thing)
        return self._ids[key]

    def local(self, local: Hashable) -> int:
        n = self._intern(0, local, self.locals)
        if n >= len(self.table):
            self.table = np.concatenate([self.table, np.full_like(self.table, UNKNOWN)])
        return n

    def frame(self, frame: Hashable) -> int:
        n = self._intern(1, frame, self.frames)
        if n >= len(self.resumed):
            self.resumed = np.concatenate([self.resumed, np.full_like(self.resumed, UNKNOWN)])
        return n

    def result(self, result: Hashable) -> int:
        n = self._intern(2, result, self.results)
        if n >= self.resumed.shape[1]:
            more = np.full_like(self.resumed, UNKNOWN)
            self.resumed = np.concatenate([self.resumed, more], axis=1)
        return n

    def special(self, entry: tuple[int, int, int, int]) -> int:
        return FIRST_SPECIAL - self._intern(3, entry, self.specials)

    def push(self, stack: int, frame: int, offset: int) -> int:
        key = (stack, frame, offset)
        if key not in self._stacks:
            self._stacks[key] = len(self.parent)
            self.parent.append(stack)
            self.frame_of.append(frame)
            self.depth.append(self.depth[stack] + 1)
            self.offset.append(offset)
            self.records.append(self.records[stack] or offset >= 0)
        return self._stacks[key]

    # --- steps

    def code(self, local: int, byte: int) -> int:
        """What `table` says, worked out if nobody asked before."""
        code = int(self.table[local, byte])
        return self.fill(local, byte) if code == UNKNOWN else code

    def fill(self, local: int, byte: int) -> int:
        """Asks the grammar for all steps of a local state."""
        codes = np.full(256, DEAD, np.int32)
        for first, last, action in self.grammar.row(self.locals[local]):
            codes[first : last + 1] = self.lower(action)
        self.table[local] = codes
        return int(codes[byte])

    def lower(self, action: Action | None) -> int:
        match action:
            case Go(local):
                return self.local(local)
            case Push(frame, local, inside):
                return self.special((PUSH, self.frame(frame), self.local(local), int(inside)))
            case Pop(result, again):
                return self.special((POP, self.result(result), int(again), 0))
        return DEAD

    def resume(self, frame: int, result: int) -> int:
        """The local state after a pop to a frame that does not record."""
        code = int(self.resumed[frame, result])
        if code == UNKNOWN:
            after = self.grammar.resume(self.frames[frame], self.results[result], b"")
            code = DEAD if after is None else self.local(after)
            self.resumed[frame, result] = code
        return code

    def step(self, state: State, byte: int) -> State | None:
        """The state after one more byte; None if no completion begins that way."""
        local, stack, text = state
        if text is not None:
            text += bytes((byte,))
        while (code := self.code(local, byte)) != DEAD:
            if code >= 0:
                return State(code, stack, text)
            kind, a, b, inside = self.specials[FIRST_SPECIAL - code]
            if kind == PUSH:
                return self._push(stack, text, a, b, bytes((byte,)) if inside else b"")
            self.lowest = min(self.lowest, self.depth[stack] - 1)
            if stack == 0:
                return None if b else State(END)
            local = self._pop(stack, a, text, b)
            if local == DEAD:
                return None
            if self.offset[stack] == 0:  # what was known of the text began with this part
                text = None
            stack = self.parent[stack]
            if not b:
                return State(local, stack, text)
        return None

    def _push(self, stack: int, text: bytes | None, frame: int, local: int, begun: bytes) -> State:
        if not self.frames[frame].record:
            return State(local, self.push(stack, frame, -1), text)
        text = begun if text is None else text
        return State(local, self.push(stack, frame, len(text) - len(begun)), text)

    def _pop(self, stack: int, result: int, text: bytes | None, again: int) -> int:
        frame, offset = self.frame_of[stack], self.offset[stack]
        if offset < 0:
            return self.resume(frame, result)
        read = None if text is None else text[offset : len(text) - again]
        after = self.grammar.resume(self.frames[frame], self.results[result], read)
        return DEAD if after is None else self.local(after)

    def advance(self, state: State, data: bytes) -> State | None:
        for byte in data:
            after = self.step(state, byte)
            if after is None:
                return None
            state = after
        return state

    def accepts(self, state: State) -> bool:
        """Whether the text may end here."""
        if state.local == END:
            return True
        return state.stack == 0 and self.grammar.result(self.locals[state.local]) is not None

    def top(self, stack: int, n: int) -> tuple[int, ...]:
        """The n topmost frames; 0 stands below the last one."""
        out: list[int] = []
        for _ in range(n):
            out.append(self.frame_of[stack])
            stack = self.parent[stack]
        return tuple(out)
