"""A constraint whose state is three numbers, and whose masks and steps are one compiled call each.

It answers as `refimpl.grammar.constraint.Constraint` does, bit by bit.  Python is asked only when
a table entry is missing; the call is then repeated.  Documents that must remember text (items that
must be unique, members that are counted) stay with the machine: see `compile_json_schema`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy import ndarray

from backends.numba import grammar_steps as s
from backends.numba import grammar_walk as w
from backends.numba.grammar import CompiledTries, NumbaMasks
from backends.numba.grammar_arrays import Header
from backends.numba.grammar_spelling import DEAD
from backends.numba.grammar_tables import Tables
from refimpl.errors import InputError
from refimpl.grammar.assertions import SchemaOptions
from refimpl.grammar.constraint import Constraint
from refimpl.grammar.json_grammar import JsonGrammar
from refimpl.grammar.json_states import Layout, Text
from refimpl.grammar.machine import END, Machine
from refimpl.grammar.masks import Mask, Vocabulary
from refimpl.grammar.schema import SchemaReader

State = tuple[int, int, int]
MAX_MASKS = 4096
_WORD_BYTES = np.frombuffer(b"ull\0rue\0alse\0", np.uint8).copy()


class CompiledConstraint:
    """A JSON grammar over a vocabulary.  Share one `CompiledTries` per vocabulary."""

    def __init__(self, grammar: JsonGrammar, vocabulary: Vocabulary, tries: CompiledTries):
        self.vocabulary, self.tries, self.grammar = vocabulary, tries, grammar
        self.machine = machine = Machine(grammar)
        self.tables = Tables(grammar, machine, tries.numbers)
        self.header = h = Header(w.PLACES)
        self.address = h.address
        self.known = [0, 0, 0]  # how many locals, frames and specials are in the arrays
        self.facts = np.zeros(w.FACTS_SIZE, np.int64)
        for place, array in tries.places.items():
            h[place] = array
        self.facts[: len(tries.facts)] = tries.facts
        self.facts[s.WHITE_SPACE] = grammar.layout.white_space
        self.facts[s.ONE_RESULT] = machine.result((0,))
        h[s.FACTS], h[s.WORDS] = self.facts, _WORD_BYTES
        h[w.PATH] = np.zeros((vocabulary.trie.longest + 3, 4), np.int64)
        h[s.NEEDS] = np.zeros((s.MAX_NEEDS, 3), np.int32)
        self.room: dict[int, Any] = {
            s.MEANING: np.zeros(256, np.int64),
            s.RECORDS: np.zeros(64, np.uint8),
            s.SPECIALS: np.zeros((64, 4), np.int32),
            w.FINAL: np.zeros(256, np.uint8),
            w.OPEN: np.zeros(256, np.uint8),
            w.ALIKE: np.zeros(256, np.int64),
        }
        for place, array in self.room.items():
            h[place] = array
        self.make_nodes(256)
        self.forget_masks(64)
        self.refresh()
        q = self.tables.meaning(machine.locals[machine.start.local])
        self.refresh()
        self.start: State = (q if q >= 0 else s.FOREIGN << 48 | machine.start.local, 0, 0)

    # --- what a request asks

    def mask(self, state: State) -> Mask:
        """The tokens allowed now, packed.  Read only."""
        slot = w.mask(self.address, *state)
        while slot < 0:
            self.help(slot)
            slot = w.mask(self.address, *state)
        mask: Mask = self.masks[slot]
        return mask

    def advance(self, state: State, token: int) -> State:
        """The state after a token that the mask allows.  A stop token leaves the state as it is."""
        if self.facts[w.N_NODES] + self.spare > self.facts[s.SCRATCH]:
            self.make_nodes(2 * int(self.facts[s.SCRATCH]))
        after: State = w.advance(self.address, *state, token)
        while after[0] < 0:
            if after[0] == DEAD:
                return self.stay(state, token)
            self.help(after[0])
            after = w.advance(self.address, *state, token)
        return after if self.vocabulary.tokens[token] else self.stay(state, token)

    def stay(self, state: State, token: int) -> State:
        if token in self.vocabulary.stops and self.accepts(state):
            return state
        data = self.vocabulary.tokens[token]
        raise InputError(f"token {token} ({data!r}) is not allowed here; ask the mask first")

    def advance_and_mask(self, state: State, token: int) -> tuple[State, Mask]:
        """Both, in one compiled call where nothing is missing."""
        if self.facts[w.N_NODES] + self.spare <= self.facts[s.SCRATCH]:
            *after, slot = w.advance_and_mask(self.address, *state, token)
            if slot >= 0 and self.vocabulary.tokens[token]:
                return (after[0], after[1], after[2]), self.masks[slot]
        new = self.advance(state, token)
        return new, self.mask(new)

    def accepts(self, state: State) -> bool:
        return bool(w.accepts(self.address, state[0], state[2]))

    def state_after(self, tokens: Sequence[int]) -> State:
        state = self.start
        for token in tokens:
            state = self.advance(state, token)
        return state

    # --- what compiled code cannot do

    def help(self, status: int) -> None:
        if status == w.FULL:
            self.more_masks()
            return
        assert status == w.MISSING, "a frame that records belongs to the machine"
        needs = self.header[s.NEEDS][: self.facts[s.N_NEEDS]]
        for kind, a, b in dict.fromkeys(map(tuple, needs.tolist())):
            if kind == s.NEED_ROW:
                self.machine.code(a, b)
            elif kind == s.NEED_RESUME:
                self.machine.resume(a, b)
            else:
                self.tries.numbers.fill(a)
        self.refresh()

    def refresh(self) -> None:
        """Puts into the arrays what the machine and the tables have learnt."""
        m, h = self.machine, self.header
        self.new_locals()
        frames, specials = self.known[1:]
        records = self.roomy(s.RECORDS, len(m.frames))
        for n in range(frames, len(m.frames)):
            records[n] = not isinstance(m.frames[n], str) and m.frames[n].record
        if specials < len(m.specials):
            self.roomy(s.SPECIALS, len(m.specials))[specials : len(m.specials)] = m.specials[
                specials:
            ]
        self.known[1:] = len(m.frames), len(m.specials)
        h[s.TABLE], h[s.RESUMED], h[s.NUMBERS] = m.table, m.resumed, self.tries.numbers.table
        self.facts[s.RESULTS] = m.resumed.shape[1]
        if self.tables.changed:
            places = (s.FAMILIES, s.STRINGS, s.ARRAYS, s.PREFIXES, s.OBJECTS, s.KEYS, s.NAMES)
            for place, array in zip((*places, s.TRIE), self.tables.arrays_of(), strict=True):
                h[place] = array

    def new_locals(self) -> None:
        """A new local state may be a plain one, and a plain one may bring new local states."""
        m, reach = self.machine, self.vocabulary.trie.longest
        while self.known[0] < len(m.locals):
            n = self.known[0]
            local = m.locals[n]
            self.known[0] = n + 1
            meaning = self.tables.meaning(local)
            self.roomy(s.MEANING, n + 1)[n] = meaning
            self.roomy(w.FINAL, n + 1)[n] = n != END and self.grammar.result(local) is not None
            alike = self.grammar.alike(local, reach) if isinstance(local, Text) else local
            self.roomy(w.ALIKE, n + 1)[n] = n if n == END else m.local(alike)
            self.roomy(w.OPEN, n + 1)[n] = n != END and self.grammar.is_open(local, reach)

    def roomy(self, place: int, n: int) -> ndarray:
        array: ndarray = self.room[place]
        while len(array) < n:
            array = np.concatenate([array, np.zeros_like(array)])
        self.room[place] = self.header[place] = array
        return array

    def make_nodes(self, room: int) -> None:
        """Stacks for `room` lasting frames, and behind them the temporary ones."""
        h, n = self.header, int(self.facts[w.N_NODES])
        self.spare = s.NEW_NODES * (self.vocabulary.trie.longest + 2)
        columns = {s.PARENT: 1, s.DEPTH: 1, s.TAG: 1, s.BITS: s.SET_WORDS}
        for place, width in columns.items():
            kind = np.int64 if place in (s.TAG, s.BITS) else np.int32
            array = np.zeros((room + self.spare, width), kind)
            if n:
                array[:n] = h[place][:n]
            h[place] = array
        self.facts[s.SCRATCH] = room
        self.facts[w.N_NODES] = n or 1  # the bottom
        buckets = np.full(2 * room, -1, np.int32)
        h[w.TABLE_OF_NODES] = buckets
        self.facts[w.NODE_BUCKETS] = len(buckets)
        w.hash_nodes(self.address)

    def forget_masks(self, room: int) -> None:
        """A new, empty store; masks that somebody still holds stay as they are."""
        self.store(room, np.zeros((room, self.facts[w.N_WORDS]), np.uint32), 0)

    def more_masks(self) -> None:
        n = int(self.facts[w.N_MASKS])
        if n >= MAX_MASKS:
            self.forget_masks(n)
            return
        masks = np.zeros((4 * n, self.facts[w.N_WORDS]), np.uint32)
        masks[:n] = self.header[w.MASKS]
        self.store(4 * n, masks, n)

    def store(self, room: int, masks: ndarray, n: int) -> None:
        h, entries = self.header, np.zeros((room, w.ENTRY_COLUMNS), np.int64)
        buckets = np.full(2 * room, -1, np.int32)
        if n:
            entries[:n] = h[w.ENTRIES][:n]
        h[w.MASKS], h[w.ENTRIES], h[w.TABLE_OF_MASKS] = masks, entries, buckets
        self.facts[w.N_MASKS], self.facts[w.MASK_ROOM] = n, room
        self.facts[w.MASK_BUCKETS] = len(buckets)
        self.masks = masks.view()
        self.masks.flags.writeable = False
        w.hash_masks(self.address)


def must_record(grammar: JsonGrammar) -> bool:
    """Whether some value of the schema is judged by its text, which only the machine keeps."""
    fit = grammar.fit
    for expr in fit.known():
        u = grammar.reader.union(expr)
        if any(a.unique for a in u.arrays):
            return True
        for o in u.objects:
            if o.exists or o.lo > 1:
                return True
            if o.lo and None not in fit.plan(o).automaton.supply.values():
                return True
    return False


def compile_json_schema(
    schema: Any,
    vocabulary: Vocabulary,
    tries: CompiledTries,
    *,
    options: SchemaOptions | None = None,
    layout: Layout | None = None,
) -> CompiledConstraint | Constraint:
    """Text that is one JSON document valid under the schema."""
    grammar = JsonGrammar(SchemaReader(schema, options or SchemaOptions()), layout or Layout())
    grammar.start()
    if must_record(grammar) or not grammar.layout.escapes:
        return Constraint(grammar, vocabulary, lambda m, v: NumbaMasks(m, v, tries))
    return CompiledConstraint(grammar, vocabulary, tries)


class SchemaCompiler:
    """`compile_json_schema` for whoever has one vocabulary: its tries are made once."""

    def __init__(self) -> None:
        self.vocabulary: Vocabulary | None = None

    def __call__(
        self, schema: Any, vocabulary: Vocabulary, *, layout: Layout | None = None
    ) -> CompiledConstraint | Constraint:
        if vocabulary is not self.vocabulary:
            self.vocabulary, self.tries = vocabulary, CompiledTries(vocabulary)
        return compile_json_schema(schema, vocabulary, self.tries, layout=layout)
