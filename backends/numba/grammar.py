"""Token masks by compiled code: the walk of `refimpl.grammar.masks`, equal to it in every bit.

The machine's tables are plain integer arrays, so one loop can walk the trie depth first, pushing
and popping on a small array.  Where a table entry is still unknown the loop notes it and goes on;
Python fills the noted entries and the walk is repeated, until nothing is missing.

Slice.  Inside a string nearly every token is allowed, and it is the same set each time: tokens
without a quote, a backslash or a control character.  Where the grammar says that any such
characters may follow (`is_open`), that set is copied and only the other tokens are walked.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int32, UInt8, UInt32
from numba import njit
from numpy import ndarray

from backends.numba import grammar_steps as s
from backends.numba import grammar_walk as w
from backends.numba.grammar_numbers import NumberTables
from refimpl.grammar.machine import DEAD, END, FIRST_SPECIAL, PUSH, UNKNOWN, Machine, State
from refimpl.grammar.masks import Mask, Masks, Vocabulary, is_plain, is_utf8

_MAX_NEEDS = 1024
_FITS, _RECORDS = 0, 1
_jit: Any = njit(cache=True)


@dataclass(frozen=True, kw_only=True, eq=False)
class FlatTrie:
    """A trie in depth-first order: after a dead node go on at `skip`."""

    byte: UInt8[ndarray, " nodes"]
    depth: Int32[ndarray, " nodes"]
    skip: Int32[ndarray, " nodes"]
    token: Int32[ndarray, " nodes"]

    @classmethod
    def of(cls, tokens: dict[bytes, int]) -> "FlatTrie":
        words = sorted(tokens)
        text = np.frombuffer(b"".join(words), np.uint8)
        ends = np.cumsum([len(word) for word in words], dtype=np.int64)
        ids = np.array([tokens[word] for word in words], np.int32)
        size = int(ends[-1]) if words else 0
        byte = np.zeros(size, np.uint8)
        depth, skip, token = np.zeros((3, size), np.int32)
        n = _flatten(text, ends, ids, byte, depth, skip, token) if words else 0
        return cls(byte=byte[:n], depth=depth[:n], skip=skip[:n], token=token[:n])

    def table(self) -> Int32[ndarray, "nodes 4"]:
        """The four side by side, as the walk meets them."""
        columns = (self.byte.astype(np.int32), self.depth, self.skip, self.token)
        return np.ascontiguousarray(np.stack(columns, axis=1))


@_jit
def _flatten(
    text: ndarray, ends: ndarray, ids: ndarray,
    byte: ndarray, depth: ndarray, skip: ndarray, token: ndarray,
) -> int:  # fmt: skip
    """Fills the arrays from sorted words; returns the number of nodes."""
    path = np.zeros(text.size + 1, np.int64)
    n, before, start = 0, 0, 0
    for k in range(ends.size):
        length = ends[k] - start
        common = 0
        while common < min(before, length) and byte[path[common]] == text[start + common]:
            common += 1
        for d in range(common, before):
            skip[path[d]] = n
        for d in range(common, length):
            path[d], byte[n], depth[n], token[n] = n, text[start + d], d, -1
            n += 1
        token[path[length - 1]] = ids[k]
        before, start = length, ends[k]
    for d in range(before):
        skip[path[d]] = n
    return n


@_jit
def _walk(
    table: ndarray, specials: ndarray, resumed: ndarray, records: ndarray,
    frame: ndarray, above: ndarray, base: int, start: int,
    byte: ndarray, depth: ndarray, skip: ndarray, token: ndarray,
    mask: ndarray, local: ndarray, stack: ndarray, top: ndarray, needs: ndarray,
) -> tuple[int, int, int]:  # fmt: skip
    """Sets the bits of allowed tokens; returns (status, lowest depth looked at, needs noted)."""
    lowest, n_needs, i = base, 0, 0
    local[0], stack[0], top[0] = start, base, base + 1
    while i < byte.size:
        d, b = depth[i], byte[i]
        q, sp, end, dead = local[d], stack[d], top[d], False
        while True:
            code = table[q, b]
            if code >= 0:
                q = code
                break
            if code in (DEAD, UNKNOWN):
                if code == UNKNOWN and n_needs < _MAX_NEEDS:
                    needs[n_needs, 0], needs[n_needs, 1], needs[n_needs, 2] = 0, q, b
                    n_needs += 1
                dead = True
                break
            k = FIRST_SPECIAL - code
            if specials[k, 0] == PUSH:
                f = specials[k, 1]
                if records[f]:
                    return _RECORDS, lowest, n_needs
                frame[end], above[end] = f, sp
                sp, q = end, specials[k, 2]
                end += 1
                break
            result, again = specials[k, 1], specials[k, 2]
            if sp <= base:
                lowest = min(lowest, sp - 1)
            if sp == 0:
                dead, q = again == 1, END
                break
            q = resumed[frame[sp], result]
            if q < 0:
                if q == UNKNOWN and n_needs < _MAX_NEEDS:
                    needs[n_needs, 0], needs[n_needs, 1], needs[n_needs, 2] = 1, frame[sp], result
                    n_needs += 1
                dead = True
                break
            sp = above[sp]
            if not again:
                break
        if dead:
            i = skip[i]
            continue
        local[d + 1], stack[d + 1], top[d + 1] = q, sp, end
        t = token[i]
        if t >= 0:
            mask[t >> 5] |= np.uint32(1) << np.uint32(t & 31)
        i += 1
    return _FITS, lowest, n_needs


class CompiledTries:
    """What a vocabulary needs once: the whole trie, the slice's mask, and the trie of the rest."""

    def __init__(self, vocabulary: Vocabulary):
        first: dict[bytes, int] = {}
        for t, b in enumerate(vocabulary.tokens):
            if b:
                first.setdefault(b, t)
        self.whole = FlatTrie.of(first)
        plain = {b: t for b, t in first.items() if is_plain(b)}
        self.rest = FlatTrie.of({b: t for b, t in first.items() if b not in plain})
        self.slice = np.zeros(-(-len(vocabulary.tokens) // 32), np.uint32)
        for t in plain.values():
            self.slice[t >> 5] |= np.uint32(1 << (t & 31))
        self.numbers = NumberTables()
        self.places, self.facts = self._places(vocabulary, first)

    def _places(
        self, vocabulary: Vocabulary, first: dict[bytes, int]
    ) -> tuple[dict[int, ndarray], ndarray]:
        """What `grammar_walk` reads of a vocabulary."""
        text = np.frombuffer(b"".join(vocabulary.tokens) or b" ", np.uint8)
        starts = np.cumsum([0, *map(len, vocabulary.tokens)]).astype(np.int32)
        tails, tokens = _tails(first)
        places = {
            w.TAILS: tails.table(), w.TAIL_TOKENS: tokens, w.WHOLE: self.whole.table(),
            w.REST: self.rest.table(), w.PLAIN: self.slice,
            w.TWINS: np.ascontiguousarray(vocabulary.trie.twins, np.int32),
            w.STOPS: np.array(vocabulary.stops, np.int32), w.TEXT: text, w.STARTS: starts,
        }  # fmt: skip
        facts = np.zeros(w.FACTS_SIZE, np.int64)
        facts[s.LONGEST] = vocabulary.trie.longest
        facts[w.N_WHOLE], facts[w.N_REST] = len(self.whole.byte), len(self.rest.byte)
        facts[w.N_WORDS], facts[w.N_TWINS] = len(self.slice), len(vocabulary.trie.twins)
        facts[w.N_TAILS] = len(tails.byte)
        facts[w.N_STOPS] = len(vocabulary.stops)
        return places, facts


def _tails(tokens: dict[bytes, int]) -> tuple[FlatTrie, Int32[ndarray, " n"]]:
    """The tails of tokens that are not plain, after whole plain characters.

    The trie numbers the tails; the tokens of tail k are out[out[k]:out[k + 1]].
    """
    groups: dict[bytes, list[int]] = {}
    for b, t in tokens.items():
        cut = next((i for i, x in enumerate(b) if x < 0x20 or x in b'"\\'), None)
        if cut is not None and is_utf8(b[:cut], whole=True):
            groups.setdefault(b[cut:], []).append(t)
    tails = sorted(groups)
    ends = np.cumsum([0, *(len(groups[x]) for x in tails)]) + len(tails) + 1
    flat = [t for x in tails for t in groups[x]]
    trie = FlatTrie.of({x: k for k, x in enumerate(tails)})
    return trie, np.concatenate([ends, np.array(flat, np.int64)]).astype(np.int32)


class NumbaMasks(Masks):
    """`Masks` with the walk compiled.  Share one `CompiledTries` per vocabulary."""

    def __init__(self, machine: Machine, vocabulary: Vocabulary, tries: CompiledTries):
        super().__init__(machine, vocabulary)
        self.tries = tries
        reach = vocabulary.trie.longest + 2
        self._path = tuple(np.zeros(reach, np.int32) for _ in range(3))
        self._needs = np.zeros((_MAX_NEEDS, 3), np.int32)
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
            if status == _RECORDS:
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
        trie: FlatTrie,
        mask: UInt32[ndarray, " words"],
    ) -> tuple[int, int, int]:
        m = self.machine
        self._refresh()
        out = _walk(
            m.table, self._specials, m.resumed, self._records, frame, above, depth, local,
            trie.byte, trie.depth, trie.skip, trie.token, mask, *self._path, self._needs,
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
