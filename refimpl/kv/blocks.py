"""Paged memory: blocks of a fixed size, a table for each sequence, a count of who reads each block.

A sequence's keys and values live in blocks of `block_size` slots, anywhere in the pool.  Its block
table says where, as a page table says where a process's pages are.  Memory is taken when a token
needs it and not before, so a sequence wastes at most the rest of its last block.

    token       0  1  2  3     4  5  6  7     8  9 10
              +--+--+--+--+  +--+--+--+--+  +--+--+--+--+
    contents  |a  b  c  d |  |e  f  g  h |  |i  j  k  . |     . = a slot with no token yet
              +--+--+--+--+  +--+--+--+--+  +--+--+--+--+
    table      block 7        block 1        block 3

    slot of token t  =  table[t // block_size] * block_size  +  t % block_size

A block is in one of three states, and the pool counts all of them:

               take                     drop, by its last reader
      FREE  ----------->  REFERENCED  ----------------------------->  FREE       nobody keeps it
       ^                   ^       |
       |             share |       | drop, by its last reader
       | evict             |       v
       +-----------------  CACHED                                                a cache keeps it

Two ways to share a prompt among n samples, since the field has both:

- `COPY_ON_WRITE`, the 2023 paper's: a fork shares every block, also the partial last one; whoever
  writes into a block that another still reads first gets a copy of it;
- `APPEND_ONLY`, vLLM's since V1: a fork shares the full blocks only and computes the partial one
  again.  A table only ever grows at its end, no block is copied, and two blocks may hold the same
  tokens.

Invariant: free + referenced + cached = all blocks, and a block's count is the number of tables that
name it.  Free blocks are reused oldest first; a table gives its blocks back last block first.

Sources: Kwon et al., Efficient Memory Management for LLM Serving with PagedAttention (SOSP 2023),
sections 4.2-4.4; vLLM's design note on automatic prefix caching for the append-only tables.

Two samples of a 7-token prompt share both its blocks.  The first to write copies the partial one;
the other then reads it alone and writes in place:

>>> pool = BlockPool(n_blocks=8, block_size=4)
>>> first = BlockTable(pool)
>>> first.grow(7), list(first.blocks)
([], [0, 1])
>>> second = first.fork(Sharing.COPY_ON_WRITE, n_tokens=7)
>>> first.grow(1), second.grow(1)
([Copy(src=1, dst=2)], [])
>>> list(first.blocks), list(second.blocks), pool.refs[:3]
([0, 2], [0, 1], [2, 1, 1])
"""

from array import array
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from enum import Enum
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int32
from numpy import ndarray

from refimpl.errors import InputError, RefimplError


class OutOfBlocksError(RefimplError):
    """The pool has fewer blocks to give than were asked for.  Nothing was taken."""


class Copy(NamedTuple):
    """A block the backend must copy before it writes into `dst`."""

    src: int
    dst: int


class Sharing(Enum):
    """What a fork shares with its parent."""

    COPY_ON_WRITE = "copy_on_write"
    APPEND_ONLY = "append_only"


@runtime_checkable
class Keeper(Protocol):
    """A cache that wants blocks to outlive their readers; the pool tells it who comes and goes."""

    @property
    def n_idle(self) -> int:
        """How many blocks it keeps that nobody reads: what `evict` could give up."""

    def evict(self, n: int) -> None:
        """Make the pool `forget` at least n idle blocks."""

    def busy(self, block: int) -> None:
        """A kept block has a reader again."""

    def idle(self, block: int) -> None:
        """A kept block has lost its last reader."""


class KeepNothing:
    """No cache: a block is free as soon as nobody reads it."""

    n_idle = 0

    def evict(self, n: int) -> None:
        raise OutOfBlocksError(f"{n} more blocks are needed, and no cache holds any")

    def busy(self, block: int) -> None:
        raise AssertionError("nothing is kept")

    idle = busy


class BlockPool:
    """`n_blocks` blocks, how many tables name each, and which are kept by a cache."""

    def __init__(self, *, n_blocks: int, block_size: int) -> None:
        if n_blocks < 1 or block_size < 1:
            raise InputError(f"a pool of {n_blocks} blocks of {block_size} slots holds nothing")
        self.n_blocks = n_blocks
        self.block_size = block_size
        self.refs = [0] * n_blocks
        self.kept = [False] * n_blocks
        self.keeper: Keeper = KeepNothing()
        self._free = deque(range(n_blocks))

    @property
    def n_free(self) -> int:
        return len(self._free)

    @property
    def n_available(self) -> int:
        """Blocks that `take` could hand out: the free ones and those a cache can give up."""
        return len(self._free) + self.keeper.n_idle

    def blocks_for(self, n_tokens: int) -> int:
        return -(-n_tokens // self.block_size)

    def can_take(self, n: int) -> bool:
        return n <= len(self._free) or n <= self.n_available

    def take(self, n: int) -> list[int]:
        """n blocks with one reader each, or an error and nothing changed.

        No cached block is given up while a free one is left: those hold nothing worth keeping.
        """
        if not self.can_take(n):
            raise OutOfBlocksError(f"{n} blocks asked for, {self.n_available} available")
        if n > len(self._free):
            self.keeper.evict(n - len(self._free))
        blocks = [self._free.popleft() for _ in range(n)]
        for block in blocks:
            self.refs[block] = 1
        return blocks

    def share(self, blocks: Iterable[int]) -> None:
        """One more reader for each block, which is either read already or cached."""
        for block in blocks:
            if self.refs[block] == 0:
                self.keeper.busy(block)
            self.refs[block] += 1

    def drop(self, blocks: Sequence[int]) -> None:
        """One reader fewer for each block, last block first, so that a cache evicts tails first."""
        for block in reversed(blocks):
            self.refs[block] -= 1
            if self.refs[block] == 0:
                if self.kept[block]:
                    self.keeper.idle(block)
                else:
                    self._free.append(block)

    def keep(self, block: int) -> None:
        """The cache wants this block, which somebody reads, to outlive its readers."""
        self.kept[block] = True

    def forget(self, block: int) -> None:
        """The cache lets go of this block; if nobody reads it, it is free."""
        self.kept[block] = False
        if self.refs[block] == 0:
            self._free.append(block)

    def check(self, tables: Iterable["BlockTable"]) -> None:
        """Law 19, given every live table."""
        free = set(self._free)
        referenced = {b for b in range(self.n_blocks) if self.refs[b]}
        cached = {b for b in range(self.n_blocks) if self.kept[b] and not self.refs[b]}
        assert len(free) == len(self._free), "a block is in the free list twice"
        assert not free & referenced and not free & cached, "a free block is in use"
        assert len(free) + len(referenced) + len(cached) == self.n_blocks, "a block has leaked"
        assert len(cached) == self.keeper.n_idle, "pool and cache disagree on what is idle"
        named = Counter(block for table in tables for block in table.blocks)
        assert all(self.refs[b] == named[b] for b in range(self.n_blocks)), "a wrong count"


class BlockTable:
    """Where one sequence's tokens are: its blocks in order, and how many slots of them it uses.

    `blocks` is an array of int32 and no list, so that a plan can copy hundreds of tables as bytes.
    """

    def __init__(self, pool: BlockPool) -> None:
        self.pool = pool
        self.blocks = array("i")
        self.n_tokens = 0

    def slots(self, start: int, stop: int) -> Int32[ndarray, "tokens"]:
        """The physical slots of tokens start..stop-1."""
        size = self.pool.block_size
        t = np.arange(start, stop)
        first = start // size
        blocks = np.array(self.blocks[first : self.pool.blocks_for(stop)])
        return (blocks[t // size - first] * size + t % size).astype(np.int32)

    def use_slots(self, n: int) -> bool:
        """Grow by n tokens if the blocks it has are enough, as for most decoded tokens they are."""
        start, pool = self.n_tokens, self.pool
        size = pool.block_size
        if start + n > len(self.blocks) * size:
            return False
        if start % size and pool.refs[self.blocks[-1]] > 1:  # as `_must_copy` says
            return False
        self.n_tokens = start + n
        return True

    def blocks_to_grow(self, n: int) -> int:
        """Blocks to take before n more tokens can be written: new ones, and one for a copy."""
        new = self.pool.blocks_for(self.n_tokens + n) - len(self.blocks)
        return new + self._must_copy()

    def can_grow(self, n: int) -> bool:
        return self.pool.can_take(self.blocks_to_grow(n))

    def grow(self, n: int) -> list[Copy]:
        """Slots for n more tokens, all or nothing; returns the copies to make before writing."""
        if self.use_slots(n):
            return []
        must_copy = self._must_copy()
        taken = self.pool.take(self.blocks_to_grow(n))
        copies = [self._replace_last(taken.pop(0))] if must_copy else []
        self.blocks.extend(taken)
        self.n_tokens += n
        return copies

    def _must_copy(self) -> bool:
        """Would the next token be written into a block that another table reads?"""
        pool = self.pool
        return self.n_tokens % pool.block_size != 0 and pool.refs[self.blocks[-1]] > 1

    def _replace_last(self, dst: int) -> Copy:
        src = self.blocks[-1]
        self.pool.drop([src])
        self.blocks[-1] = dst
        return Copy(src, dst)

    def adopt(self, blocks: Sequence[int]) -> None:
        """Start an empty table with full blocks that a cache found."""
        self.pool.share(blocks)
        self.blocks = array("i", blocks)
        self.n_tokens = len(blocks) * self.pool.block_size

    def exchange(self, blocks: Sequence[int], *, start: int) -> None:
        """Name these blocks, which hold the same tokens, from the start-th on; drop our own."""
        theirs, ours = blocks[start:], self.blocks[start : len(blocks)]
        self.pool.share(theirs)
        self.pool.drop(ours)
        self.blocks[start : len(blocks)] = array("i", theirs)

    def fork(self, sharing: Sharing, *, n_tokens: int) -> "BlockTable":
        """A second table over the first n_tokens: all of them, or those in full blocks.

        The partial block is shared only while this table ends there, too.  Whoever writes next then
        copies it, so no shared block ever fills up (and is cached) under its other reader.
        """
        child = BlockTable(self.pool)
        n_full = n_tokens // self.pool.block_size
        child.adopt(self.blocks[:n_full])
        if sharing is Sharing.COPY_ON_WRITE and child.n_tokens < n_tokens == self.n_tokens:
            self.pool.share(self.blocks[n_full : n_full + 1])
            child.blocks.append(self.blocks[n_full])
            child.n_tokens = n_tokens
        return child

    def truncate(self, n_tokens: int) -> None:
        """Forget the tokens from n_tokens on (rejected drafts, a step that failed)."""
        n_blocks = self.pool.blocks_for(n_tokens)
        self.pool.drop(self.blocks[n_blocks:])
        del self.blocks[n_blocks:]
        self.n_tokens = n_tokens

    def release(self) -> None:
        self.truncate(0)

    def check(self) -> None:
        size = self.pool.block_size
        assert len(self.blocks) == self.pool.blocks_for(self.n_tokens), "a block without a token"
        assert len(set(self.blocks)) == len(self.blocks), "a table names a block twice"
        assert 0 <= len(self.blocks) * size - self.n_tokens < size, "law 20: a block is wasted"
