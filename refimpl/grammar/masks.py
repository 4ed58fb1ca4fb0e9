"""Which tokens may come next: the bytes of each are tried on the automaton, sharing prefixes.

The mask of a state holds exactly the tokens whose bytes the automaton can take from it, and the
end-of-sequence tokens exactly where the text may end; nothing else is assumed about the vocabulary.
Special tokens are never text.  A mask is packed: bit t % 32 of word t // 32, uint32.

A mask looks at the local state and at those frames that some token's bytes pop, and at nothing
else.  So it is cached under the two, and shared between all stacks that agree on them.

`Vocabulary` bytes come from the tokeniser; a token may hold half a character, which needs no care,
since the automaton reads bytes.
"""

import codecs
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Int32, UInt32
from numpy import ndarray

from refimpl.errors import InputError
from refimpl.grammar.machine import DEAD, END, Machine, State
from refimpl.grammar.trie import Level, Trie

MAX_RECENT = 4096
Mask = UInt32[ndarray, " words"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Vocabulary:
    """`tokens[t]` are the bytes of token t, empty for special ones; `stops` end a sequence."""

    tokens: tuple[bytes, ...]
    stops: tuple[int, ...]
    trie: Trie

    @classmethod
    def of(cls, tokens: Sequence[bytes], stops: Sequence[int]) -> "Vocabulary":
        if not stops or not all(0 <= s < len(tokens) for s in stops):
            raise InputError("a vocabulary needs end-of-sequence tokens that are in it")
        text = tuple(b"" if t in stops else b for t, b in enumerate(tokens))
        return cls(tokens=text, stops=tuple(stops), trie=Trie.of(text))

    @cached_property
    def first_bytes(self) -> Int32[ndarray, " tokens"]:
        """The first byte of every token, -1 for those that are no text."""
        return np.array([b[0] if b else -1 for b in self.tokens], np.int32)

    @cached_property
    def byte_tokens(self) -> dict[int, int]:
        """Of each byte that is a token by itself, the token."""
        return {b[0]: t for t, b in enumerate(self.tokens) if len(b) == 1}


def pack(allowed: Bool[ndarray, " tokens"]) -> Mask:
    """Booleans as little-endian bits of uint32 words."""
    padded = np.zeros(-(-allowed.size // 32) * 32, bool)
    padded[: allowed.size] = allowed
    return np.packbits(padded, bitorder="little").view("<u4")


def unpack(mask: Mask, size: int) -> Bool[ndarray, " tokens"]:
    return np.unpackbits(mask.view(np.uint8), bitorder="little")[:size].astype(bool)


def is_plain(token: bytes) -> bool:
    """Text inside a JSON string: no quote, backslash or control, perhaps cut inside a character."""
    return not any(b < 0x20 or b in b'"\\' for b in token) and is_utf8(token, whole=False)


def is_utf8(text: bytes, *, whole: bool) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(text, whole)
    except UnicodeDecodeError:
        return False
    return True


def brute_force(machine: Machine, state: State, vocabulary: Vocabulary) -> Mask:
    """The definition: every token by itself.  `Masks` must equal it."""
    allowed = [bool(b) and machine.advance(state, b) is not None for b in vocabulary.tokens]
    for stop in vocabulary.stops:
        allowed[stop] = machine.accepts(state)
    return pack(np.array(allowed, bool))


class Masks:
    """Masks of one machine over one vocabulary, found by walking the trie, and remembered."""

    def __init__(self, machine: Machine, vocabulary: Vocabulary):
        self.machine, self.vocabulary = machine, vocabulary
        self._cache: dict[tuple[int, tuple[int, ...]], Mask] = {}
        self._looked: dict[int, list[int]] = {}
        self._alike: dict[int, int] = {}
        self._recent: dict[State, Mask] = {}
        self.misses = 0

    def mask(self, state: State) -> Mask:
        """The packed mask of a state.  Read it only: it is shared."""
        found = self._recent.get(state)
        if found is None:
            found = self._recent[state] = self._find(state)
            if len(self._recent) > MAX_RECENT:
                self._recent.clear()
        return found

    def _find(self, state: State) -> Mask:
        if state.text is not None:
            return self.walk(state)[0]
        local = self._alike.get(state.local)
        if local is None:
            local = self.alike(state.local)
        for n in self._looked.get(local, ()):
            found = self._cache.get((local, self.machine.top(state.stack, n)))
            if found is not None:
                return found
        self.misses += 1
        mask, n = self.walk(State(local, state.stack))
        looked = self._looked.setdefault(local, [])
        if n not in looked:
            looked.append(n)
        self._cache[local, self.machine.top(state.stack, n)] = mask
        return mask

    def alike(self, local: int) -> int:
        """The state that stands for all whose masks must be equal to this one's."""
        machine, reach = self.machine, self.vocabulary.trie.longest
        other = (
            local
            if local == END
            else machine.local(machine.grammar.alike(machine.locals[local], reach))
        )
        self._alike[local] = other
        return other

    def walk(self, state: State) -> tuple[Mask, int]:
        """The mask, and how many frames from the top it depends on (at least one)."""
        machine, trie = self.machine, self.vocabulary.trie
        depth = machine.lowest = machine.depth[state.stack]
        allowed = np.zeros(trie.size, bool)
        walk = Walk(machine, state)
        at, context = np.array([state.local], np.int32), np.zeros(1, np.int32)
        for level in trie.levels:
            at, context = walk.descend(at, context, level)
            live = at >= 0
            if not live.any():
                break
            reached = level.token[live]
            allowed[reached[reached >= 0]] = True
        allowed[trie.twins[:, 1]] = allowed[trie.twins[:, 0]]
        allowed[list(self.vocabulary.stops)] = machine.accepts(state)
        mask = pack(allowed)
        mask.flags.writeable = False
        return mask, max(depth - machine.lowest, 1)


class Walk:
    """One descent.  Each node has a local state (or DEAD) and a context, its stack and text.

    Almost every byte changes the local state alone, which `machine.table` knows for all nodes of a
    level at once; the few that push, pop or are new are stepped one by one.  A recorded text is
    noted only where a context begins; what was read since is the path to the node.
    """

    def __init__(self, machine: Machine, start: State):
        self.machine = machine
        self.path: list[Level] = []
        self.contexts: list[tuple[int, bytes | None, int]] = [(start.stack, start.text, 0)]
        self.ids = {self.contexts[0]: 0}
        self.recording = [start.text is not None]

    def descend(
        self, at: Int32[ndarray, " above"], context: Int32[ndarray, " above"], level: Level
    ) -> tuple[Int32[ndarray, " nodes"], Int32[ndarray, " nodes"]]:
        """The local states and contexts of a level, from those of the level above."""
        after, context = at[level.parent], context[level.parent]
        live = np.flatnonzero(after >= 0)
        rows, bytes_, owner = after[live], level.byte[live], context[live]
        codes = self.machine.table[rows, bytes_]
        slow = np.flatnonzero(codes < DEAD)
        if slow.size:
            node = np.where(np.array(self.recording)[owner[slow]], live[slow], -1)
            keys = np.stack([rows[slow], bytes_[slow], owner[slow], node], axis=1)
            unique, inverse = np.unique(keys, axis=0, return_inverse=True)
            self.path.append(level)
            targets = np.array([self._step(*map(int, key)) for key in unique], np.int32)
            self.path.pop()
            codes[slow], owner[slow] = targets[inverse.reshape(-1)].T
        self.path.append(level)
        after[live], context[live] = codes, owner
        return after, context

    def _step(self, local: int, byte: int, context: int, node: int) -> tuple[int, int]:
        stack, text, begun = self.contexts[context]
        if text is not None:
            text += self._read(node, begun)
        target = self.machine.step(State(local, stack, text), byte)
        if target is None:
            return DEAD, context
        key = (target.stack, target.text, 0 if target.text is None else len(self.path))
        if key not in self.ids:
            self.ids[key] = len(self.contexts)
            self.contexts.append(key)
            self.recording.append(target.text is not None)
        return target.local, self.ids[key]

    def _read(self, node: int, begun: int) -> bytes:
        """The bytes on the path above a node of the current level, from level `begun` on."""
        out: list[int] = []
        for level in reversed(self.path):
            out.append(int(level.byte[node]))
            node = int(level.parent[node])
        return bytes(out[:0:-1])[begun:]
