"""A step as arrays: the only thing that crosses into a backend.

One ragged batch.  Sequences stand one after the other, without padding; where each begins is in
`seq_starts`.  A prompt's chunk and a single decoded token are the same thing, a run of tokens:

                   a: 3 tokens of a prompt   b: 1 token   c: 2 tokens of a prompt
    tokens         5     6     7             -1           9     8
    positions      0     1     2             14           32    33
    slots          4     5     6             ...          where each key and value is stored
    seq_starts     0                         3            4                          6
    context_lens   3                         15           34     keys each sequence has by now
    block_tables   [[1, -1, -1], ...                             where all of them are
    rows                       2             3                   the tokens whose logits matter

A negative token -1-j stands for "what draw j of the step before chose": it is on the device and may
not be known to the scheduler yet.

A sequence's tokens follow one another, unless `tree_parents` says otherwise: for each token, the
number among its sequence's tokens of the one it follows, -1 for the first.  Guesses at what comes
next may branch (`refimpl.sampling.verify`); a token then stands one position after its parent, and
sees the sequence's past, its ancestors and itself.  Slots are taken in the order of the tokens:

    tokens         c     d     e     x        c - d - e      x is a second guess at what follows d
    tree_parents   -1    0     1     1                 \
    positions      6     7     8     8                  x
    slots, as in   6     7     8     9        of the sequence's table

Invariant (`check`): every token has its own slot, the next one of its sequence's block table, which
in a chain is the one that the table gives for its position; a context ends with the sequence's last
token.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int32
from numpy import ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """What to compute, in int32."""

    tokens: Int32[ndarray, " tokens"]
    positions: Int32[ndarray, " tokens"]
    slots: Int32[ndarray, " tokens"]
    context_lens: Int32[ndarray, " sequences"]
    block_tables: Int32[ndarray, "sequences blocks"]
    seq_starts: Int32[ndarray, " sequences+1"]
    rows: Int32[ndarray, " rows"]
    block_size: int
    tree_parents: Int32[ndarray, " tokens"] | None = None  # None: every sequence is a chain

    def check(self) -> None:
        assert len(set(self.slots.tolist())) == len(self.slots), "two tokens share a slot"
        for s, (start, stop) in enumerate(zip(self.seq_starts, self.seq_starts[1:], strict=False)):
            places = self.context_lens[s] - (stop - start) + np.arange(stop - start)
            slots = self.block_tables[s][places // self.block_size] * self.block_size
            slots += places % self.block_size
            assert np.array_equal(slots, self.slots[start:stop]), "a slot is not in the table"
            depths = [len(self.ancestors(s, j)) for j in range(stop - start)]
            positions = places[0] - 1 + np.array(depths)
            assert np.array_equal(positions, self.positions[start:stop]), "a token stands elsewhere"

    def ancestors(self, s: int, j: int) -> list[int]:
        """The tokens that the j-th of sequence s follows, from the first on; the last is itself."""
        if self.tree_parents is None:
            return list(range(j + 1))
        parents, line = self.tree_parents[self.seq_starts[s] : self.seq_starts[s + 1]], []
        while j >= 0:
            line.append(j)
            j = int(parents[j])
        return line[::-1]

    def alone(self, s: int) -> "Plan":
        """The plan of one of its sequences, as if there were no other."""
        start, stop = self.seq_starts[s : s + 2].tolist()
        mine = slice(start, stop)
        return replace(
            self,
            tokens=self.tokens[mine],
            positions=self.positions[mine],
            slots=self.slots[mine],
            seq_starts=np.array([0, stop - start], dtype=np.int32),
            context_lens=self.context_lens[s : s + 1],
            block_tables=self.block_tables[s : s + 1],
            rows=self.rows[(self.rows >= start) & (self.rows < stop)] - np.int32(start),
            tree_parents=None if self.tree_parents is None else self.tree_parents[mine],
        )

    def after(self, chosen: Int32[ndarray, " sequences"]) -> "Plan":
        """One token more for every sequence; its table has room for it already."""
        n, where = len(chosen), self.context_lens // self.block_size
        blocks = self.block_tables[np.arange(n), where]
        return Plan(
            tokens=chosen,
            positions=self.context_lens,
            slots=blocks * np.int32(self.block_size) + self.context_lens % self.block_size,
            context_lens=self.context_lens + np.int32(1),
            block_tables=self.block_tables,
            seq_starts=np.arange(n + 1, dtype=np.int32),
            rows=np.arange(n, dtype=np.int32),
            block_size=self.block_size,
        )

    def sequences(self) -> Iterator[tuple[slice, Int32[ndarray, " context"]]]:
        """For each run of tokens that see the same: which they are, and the slots of what they see.

        In the order of positions, up to the run's last token.  A sequence is one run; in a tree the
        tokens before the first branch are, and every other token is one by itself.
        """
        for s, n in enumerate(self.context_lens.tolist()):
            t = np.arange(n)
            blocks = self.block_tables[s, t // self.block_size]
            slots = (blocks * self.block_size + t % self.block_size).astype(np.int32)
            start, stop = self.seq_starts[s : s + 2].tolist()
            n_past, n_chain = n - (stop - start), self.n_chain(start, stop)
            yield slice(start, start + n_chain), slots[: n_past + n_chain]
            for j in range(n_chain, stop - start):
                own = n_past + np.array(self.ancestors(s, j))
                yield slice(start + j, start + j + 1), np.append(slots[:n_past], slots[own])

    def n_chain(self, start: int, stop: int) -> int:
        """How many of these tokens, from the first on, follow one another."""
        if self.tree_parents is None:
            return stop - start
        ordinary = self.tree_parents[start:stop] == np.arange(-1, stop - start - 1)
        return int(np.argmin(ordinary)) if not ordinary.all() else stop - start
