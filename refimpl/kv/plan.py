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

Invariant (`check`): every token has its own slot, the one that its sequence's block table gives for
its position; a context ends with the sequence's last token.
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

    def check(self) -> None:
        assert len(set(self.slots.tolist())) == len(self.slots), "two tokens share a slot"
        for s, (start, stop) in enumerate(zip(self.seq_starts, self.seq_starts[1:], strict=False)):
            positions = self.positions[start:stop]
            assert positions[-1] + 1 == self.context_lens[s], "a context ends with its last token"
            table = self.block_tables[s]
            slots = table[positions // self.block_size] * self.block_size
            slots += positions % self.block_size
            assert np.array_equal(slots, self.slots[start:stop]), "a slot is not in the table"

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
        )

    def sequences(self) -> Iterator[tuple[slice, Int32[ndarray, " context"]]]:
        """For each sequence: which tokens of the batch are its, and the slots of its context."""
        for s, n in enumerate(self.context_lens.tolist()):
            t = np.arange(n)
            blocks = self.block_tables[s, t // self.block_size]
            slots = (blocks * self.block_size + t % self.block_size).astype(np.int32)
            yield slice(self.seq_starts[s], self.seq_starts[s + 1]), slots
