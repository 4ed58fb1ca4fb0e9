"""vLLM's prefix cache: a full block is named by a hash of everything before it and in it.

The keys and values of a token depend on that token and on all tokens before it.  So the name of a
block is a hash of its own tokens chained to the name of the block before:

    tokens    [a b c d]  [e f g h]  [i j k .]        . = not full: no name, never shared
    names     h0 = H(root, abcd)    h1 = H(h0, efgh)

    root = H(extra keys)      the salt of a tenant, the adapter of a request: what changes the keys
                              and values without being a token, or must never be shared

Two requests with the same first n blocks have the same first n names, and a lookup walks the names
until one is missing.  Names are SHA-256: a collision would hand one user another user's cache.

A kept block that nobody reads is idle.  Idle blocks wait in the order in which they lost their last
reader, and the one waiting longest is evicted first.  A table gives up its last block first, so in
a chain the tail goes before its head.  (vLLM keeps this queue as a hand-written doubly linked list;
`OrderedDict` is that list with an index into it, so taking a block out of the middle is O(1) too.)

Two requests that compute the same block at the same time leave two blocks with one name.  Tables
are append-only, so both stay, and either serves a later hit.

Invariant: a block has a name if and only if the pool keeps it; it is idle if and only if it is kept
and has no reader.

Source: vLLM's design note "Automatic Prefix Caching" (docs/design/prefix_caching.md).

A 15-token prompt at block size 4 takes four blocks, three of them cached; a second request of 14
tokens that shares the first 10 hits 8:

>>> from refimpl.kv.blocks import BlockPool, BlockTable
>>> pool = BlockPool(n_blocks=8, block_size=4)
>>> cache = PrefixCache(pool)
>>> first, names = BlockTable(pool), BlockNames(list(range(15)), block_size=4)
>>> first.grow(15), len(first.blocks)
([], 4)
>>> for block, name in zip(first.blocks, names.upto(15)):
...     cache.keep(block, name)
>>> sum(pool.kept)
3
>>> names = BlockNames([*range(10), 90, 91, 92, 93], block_size=4)
>>> hits = cache.match(names.upto(14))
>>> hits, len(hits) * 4
([0, 1], 8)

The first request leaves.  Its unnamed block is free, the others are idle, tail first:

>>> first.release()
>>> pool.n_free, list(cache.waiting)
(5, [2, 1, 0])
"""

import hashlib
import struct
from collections import OrderedDict
from collections.abc import Sequence

from refimpl.kv.blocks import BlockPool, OutOfBlocksError

Name = bytes


def root_name(extra: Sequence[str]) -> Name:
    """The name every chain with these extra keys starts from.

    Each key is preceded by its length: ("ab", "c") and ("a", "bc") are different tenants.
    """
    keys = [key.encode() for key in extra]
    return hashlib.sha256(b"".join(struct.pack("<q", len(k)) + k for k in keys)).digest()


def next_name(parent: Name, tokens: Sequence[int]) -> Name:
    """The name of a block with these tokens after the block called `parent`."""
    return hashlib.sha256(parent + struct.pack(f"<{len(tokens)}q", *tokens)).digest()


class BlockNames:
    """The names of one sequence's full blocks, hashed once each as the sequence grows.

    `tokens` is the sequence's own list, which the engine appends to.
    """

    def __init__(self, tokens: list[int], *, block_size: int, extra: Sequence[str] = ()) -> None:
        self.tokens = tokens
        self.block_size = block_size
        self._root = root_name(extra)
        self._names: list[Name] = []

    def upto(self, n_tokens: int) -> list[Name]:
        """The names of the full blocks among the first n_tokens."""
        n_full = n_tokens // self.block_size
        while len(self._names) < n_full:
            self._append()
        return self._names[:n_full]

    def __getitem__(self, i: int) -> Name:
        while len(self._names) <= i:
            self._append()
        return self._names[i]

    def _append(self) -> None:
        parent = self._names[-1] if self._names else self._root
        start = len(self._names) * self.block_size
        self._names.append(next_name(parent, self.tokens[start : start + self.block_size]))


class PrefixCache:
    """Which kept block has which name, and which of them wait to be evicted."""

    def __init__(self, pool: BlockPool) -> None:
        self.pool = pool
        self.name_of: dict[int, Name] = {}
        self.blocks_of: dict[Name, dict[int, None]] = {}  # a dict for its order: oldest first
        self.waiting: OrderedDict[int, None] = OrderedDict()
        pool.keeper = self

    def match(self, names: Sequence[Name]) -> list[int]:
        """The longest run of cached blocks from the start.  Pure: touches no order, no count."""
        blocks = []
        for name in names:
            if name not in self.blocks_of:
                break
            blocks.append(next(iter(self.blocks_of[name])))
        return blocks

    def keep(self, block: int, name: Name) -> None:
        """From now on `block`, full and computed, is found under `name`."""
        if block not in self.name_of:
            self.pool.keep(block)
            self.name_of[block] = name
            self.blocks_of.setdefault(name, {})[block] = None

    @property
    def n_idle(self) -> int:
        return len(self.waiting)

    def evict(self, n: int) -> None:
        """Give up the n blocks that have waited longest."""
        if n > len(self.waiting):
            raise OutOfBlocksError(f"{n} blocks to evict, {len(self.waiting)} are idle")
        for _ in range(n):
            block, _ = self.waiting.popitem(last=False)
            self._unname(block)
            self.pool.forget(block)

    def busy(self, block: int) -> None:
        del self.waiting[block]

    def idle(self, block: int) -> None:
        self.waiting[block] = None

    def _unname(self, block: int) -> None:
        name = self.name_of.pop(block)
        del self.blocks_of[name][block]
        if not self.blocks_of[name]:
            del self.blocks_of[name]

    def check(self) -> None:
        kept = {block for block, kept in enumerate(self.pool.kept) if kept}
        assert kept == set(self.name_of), "kept without a name, or named without being kept"
        assert all(b in self.blocks_of[name] for b, name in self.name_of.items()), "index is stale"
        assert sum(map(len, self.blocks_of.values())) == len(self.name_of), "a name without a block"
        idle = {block for block in kept if not self.pool.refs[block]}
        assert idle == set(self.waiting), "the queue is not exactly the idle blocks"
