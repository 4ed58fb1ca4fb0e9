"""The arrays of a compiled constraint that grow while documents are read: stacks, pairs, masks.

Each has room for so many rows; compiled code says when it is used up, and Python makes more.  What
is in use keeps its number.
"""

from typing import Any

import numpy as np
from numpy import ndarray

from backends.numba import grammar_layout as g
from backends.numba.grammar_known import hash_masks
from backends.numba.grammar_masks import hash_inside
from backends.numba.grammar_rows import hash_rows
from backends.numba.grammar_stacks import hash_nodes
from backends.numba.grammar_unique import hash_pairs
from backends.numba.grammar_vocabulary import CompiledTries, Shared
from refimpl.grammar.masks import Mask

State = tuple[int, int, int]
READY_MASKS, MAX_MASKS, MAX_STATES = 512, 1 << 16, 1 << 16
_WORD_BYTES = np.frombuffer(b"ull\0rue\0alse\0", np.uint8).copy()


class Storage:
    """The header of a constraint, and the arrays that are its own."""

    def __init__(self, tries: CompiledTries):
        self.shared: Shared = tries.current()
        self.header = h = tries.new_header()
        self.address = h.address
        self.facts = tries.facts.copy()
        self.shared.constraints += 1
        self.facts[g.SERIAL] = self.shared.constraints
        reach = int(self.facts[g.LONGEST])
        self.spare = g.NEW_NODES * (reach + 2)
        h[g.FACTS], h[g.WORDS] = self.facts, _WORD_BYTES
        h[g.PATH] = np.zeros((reach + 3, g.PATH_COLUMNS), np.int64)
        h[g.NEEDS] = np.zeros((g.MAX_NEEDS, 3), np.int32)
        self.room: dict[int, Any] = {
            place: np.zeros(64, kind)
            for place, kind in (
                (g.MEANING, np.int64), (g.ALIKE, np.int64), (g.FINAL, np.uint8),
                (g.OPEN, np.uint8), (g.RECORDS, np.uint8), (g.RESULT_BITS, np.int32),
            )
        }  # fmt: skip
        self.room[g.SPECIALS] = np.zeros((64, 4), np.int32)
        self.room[g.RESULT_IDS] = np.zeros((64, 2), np.int32)
        for place, array in self.room.items():
            h[place] = array
        self.make_nodes(256)
        self.make_pairs(64)
        self.forget_masks()

    def share(self) -> None:
        """Takes the shared arrays as they are now."""
        if self.rows is not self.shared.masks.rows:  # they began anew: numbers mean other rows
            self.forget_masks()
        self.inside_rows = self.shared.inside.rows  # kept, since only its addresses are taken
        for place, array in self.shared.places().items():
            self.header[place] = array

    def roomy(self, place: int, n: int) -> ndarray:
        array: ndarray = self.room[place]
        while len(array) < n:
            array = np.concatenate([array, np.zeros_like(array)])
        self.room[place] = self.header[place] = array
        return array

    def make_nodes(self, room: int) -> None:
        """Stacks for `room` lasting frames, and behind them the temporary ones."""
        h, n = self.header, int(self.facts[g.N_NODES])
        columns = {g.PARENT: 1, g.DEPTH: 1, g.TAG: 1, g.BITS: g.SET_WORDS}
        for place, width in columns.items():
            kind = np.int64 if place in (g.TAG, g.BITS) else np.int32
            array = np.zeros((room + self.spare, width), kind)
            if n:
                array[:n] = h[place][:n]
            h[place] = array
        self.facts[g.SCRATCH] = room
        self.facts[g.N_NODES] = n or 1  # the bottom
        buckets = np.full(2 * room, -1, np.int32)
        h[g.NODE_TABLE] = buckets
        self.facts[g.NODE_BUCKETS] = len(buckets)
        hash_nodes(self.address)

    def make_pairs(self, room: int) -> None:
        """Room for the strings and sets of `grammar_unique`; number 0 is the empty ones."""
        h, n = self.header, int(self.facts[g.N_PAIRS])
        pairs = np.zeros((room, 2), np.int64)
        if n:
            pairs[:n] = h[g.PAIRS][:n]
        h[g.PAIRS], h[g.PAIR_TABLE] = pairs, np.zeros(2 * room, np.int32)
        self.facts[g.N_PAIRS], self.facts[g.PAIR_ROOM] = n or 1, room
        self.facts[g.PAIR_BUCKETS] = 2 * room
        hash_pairs(self.address)

    def forget_masks(self) -> None:
        """No state's mask is known; rows that somebody still holds stay as they are."""
        self.rows = self.shared.masks.rows
        self.lately: dict[State, Mask] = {}  # masks of states: many come again, token after token
        self.facts[g.N_MASKS] = self.facts[g.MASK_ROOM] = 0
        self.header[g.SHAPES] = np.zeros((g.ARRAY_AFTER + 1, g.SHAPE_COLUMNS), np.int64)
        self.more_masks()

    def more_room(self) -> None:
        if self.facts[g.N_MASKS] < self.facts[g.MASK_ROOM]:
            self.more_shared()
        elif self.facts[g.N_MASKS] >= MAX_MASKS:
            self.forget_masks()
        else:
            self.more_masks()

    def more_shared(self) -> None:
        """Room for what is shared, unless another constraint has just made it."""
        shared = self.shared
        for store, put_all in ((shared.inside, hash_inside), (shared.masks, hash_rows)):
            if store.is_full:
                store.more()
                self.share()
                put_all(self.address)
        self.share()

    def more_masks(self) -> None:
        h, n = self.header, int(self.facts[g.N_MASKS])
        room = max(2 * n, READY_MASKS)
        entries = np.zeros((room, g.ENTRY_COLUMNS), np.int64)
        if n:
            entries[:n] = h[g.ENTRIES][:n]
        buckets = 1 << (2 * room).bit_length()
        h[g.ENTRIES], h[g.MASK_TABLE] = entries, np.full(buckets, -1, np.int32)
        self.facts[g.MASK_ROOM], self.facts[g.MASK_BUCKETS] = room, buckets
        hash_masks(self.address)
