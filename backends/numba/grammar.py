"""Token masks of a machine by compiled code: the walk of `refimpl.grammar.masks`, in every bit.

The walk notes the entries that the machine's tables lack; Python fills them and the walk is
repeated, until nothing is missing.

Slice.  Inside a string nearly every token is allowed, and it is the same set each time: tokens
without a quote, a backslash or a control character.  Where the grammar says that any such
characters may follow (`is_open`), that set is copied and only the other tokens are walked.
"""

import numpy as np
from jaxtyping import Int32, UInt32
from numpy import ndarray

from backends.numba.grammar_machine import MAX_NEEDS, RECORDS, walk_machine
from backends.numba.grammar_vocabulary import CompiledTries
from refimpl.grammar.machine import END, Machine, State
from refimpl.grammar.masks import Mask, Masks, Vocabulary

__all__ = ["CompiledTries", "NumbaMasks"]


class NumbaMasks(Masks):
    """`Masks` with the walk compiled.  Share one `CompiledTries` per vocabulary."""

    def __init__(self, machine: Machine, vocabulary: Vocabulary, tries: CompiledTries):
        super().__init__(machine, vocabulary)
        self.tries = tries
        reach = vocabulary.trie.longest + 2
        self._path = (*np.zeros((3, reach), np.int32), np.zeros(2 * reach, np.int32))
        self._needs = np.zeros((MAX_NEEDS, 3), np.int32)
        self._specials = np.zeros((64, 4), np.int32)
        self._records = np.zeros(64, bool)
        self._known = [0, 0]  # how many specials and frames are in the arrays
        first, twin = vocabulary.trie.twins.T
        self._twins = (first >> 5, (first & 31).astype(np.uint32),
                       twin >> 5, (twin & 31).astype(np.uint32))  # fmt: skip

    def walk(self, state: State) -> tuple[Mask, int]:
        if state.text is not None:
            return super().walk(state)
        depth = self.machine.depth[state.stack]
        frame, above = self._stack_of(state.stack, depth)
        machine, reach = self.machine, self.vocabulary.trie.longest
        is_open = state.local != END and machine.grammar.is_open(machine.locals[state.local], reach)
        trie = self.tries.rest if is_open else self.tries.whole
        while True:
            mask = self.tries.slice.copy() if is_open else np.zeros_like(self.tries.slice)
            status, lowest, n = self._run(state.local, frame, above, depth, trie, mask)
            if status == RECORDS:
                return super().walk(state)
            if not n:
                break
            self._answer(n)
        self._finish(mask, state)
        return mask, max(depth - lowest, 1)

    def _run(
        self,
        local: int,
        frame: Int32[ndarray, " stack"],
        above: Int32[ndarray, " stack"],
        depth: int,
        trie: Int32[ndarray, "nodes 4"],
        mask: UInt32[ndarray, " words"],
    ) -> tuple[int, int, int]:
        m = self.machine
        self._refresh()
        out = walk_machine(
            m.table, self._specials, m.resumed, self._records, frame, above, depth, local,
            trie, mask, *self._path, self._needs,
        )  # fmt: skip
        status, lowest, n = map(int, out)
        return status, lowest, n

    def _refresh(self) -> None:
        """Copies what the machine has learnt since the last walk."""
        m, (n, k) = self.machine, self._known
        if n < len(m.specials):
            self._specials = _room(self._specials, len(m.specials))
            self._specials[n : len(m.specials)] = m.specials[n:]
        if k < len(m.frames):
            self._records = _room(self._records, len(m.frames))
            self._records[k : len(m.frames)] = [
                bool(f) and not isinstance(f, str) and f.record for f in m.frames[k:]
            ]
        self._known = [len(m.specials), len(m.frames)]

    def _stack_of(
        self, stack: int, depth: int
    ) -> tuple[Int32[ndarray, " stack"], Int32[ndarray, " stack"]]:
        """The frames from the bottom (index 0) up, with room for what a token can push."""
        frame = np.zeros(depth + self.vocabulary.trie.longest + 2, np.int32)
        above = np.arange(-1, len(frame) - 1, dtype=np.int32)
        if depth:
            frame[1 : depth + 1] = self.machine.top(stack, depth)[::-1]
        return frame, above

    def _answer(self, n: int) -> None:
        """Fills the table entries that the walk missed."""
        for kind, a, b in dict.fromkeys(map(tuple, self._needs[:n].tolist())):
            if kind == 0:
                self.machine.code(a, b)
            else:
                self.machine.resume(a, b)

    def _finish(self, mask: Mask, state: State) -> None:
        word, bit, twin_word, twin_bit = self._twins
        np.bitwise_or.at(mask, twin_word, (mask[word] >> bit & np.uint32(1)) << twin_bit)
        if self.machine.accepts(state):
            for stop in self.vocabulary.stops:
                mask[stop >> 5] |= np.uint32(1 << (stop & 31))
        mask.flags.writeable = False


def _room(array: ndarray, n: int) -> ndarray:
    """The array, doubled until it has room for n rows."""
    while len(array) < n:
        array = np.concatenate([array, np.zeros_like(array)])
    return array
