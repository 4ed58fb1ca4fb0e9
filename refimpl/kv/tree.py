"""SGLang's way to share prompts: a memory whose computed tokens are kept in a radix tree.

The regions of a running request, in tokens:

    0             n_locked            n_computed         n_tokens
    |-------------|-------------------|------------------|
    |  in the tree, on a path this    |  scheduled:      |
    |  lease has locked: shared with  |  room is taken,  |
    |  others, safe from eviction     |  not computed    |
                  |  its own pages,   |
                  |  not in the tree  |

After each chunk of a prompt the lease inserts what is computed and moves its lock to the end of it,
so that others can share a long prompt while it is still being read.  Decoded tokens stay its own
until it finishes (SGLang's cache_unfinished_req and cache_finished_req).

Two requests that computed the same tokens at the same time both insert them; the tree keeps the
first one's pages, and the second's table is changed to name those (its own are freed).  The bits
are the same: which page a token lives in changes nothing.

Invariant: a page is locked in the tree as often as tables name it.

>>> memory = RadixMemory(BlockPool(n_blocks=32, block_size=1))
>>> first, second = memory.lease([1, 2, 3, 4]), memory.lease([1, 2, 3, 9])
>>> for lease in (first, second):           # both start before either is computed
...     lease.open(lease.match(), 4)
>>> list(first.table.blocks), list(second.table.blocks)
([0, 1, 2, 3], [4, 5, 6, 7])
>>> first.commit(4), second.commit(4)
(None, None)
>>> list(first.table.blocks), list(second.table.blocks)
([0, 1, 2, 3], [0, 1, 2, 7])
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from refimpl.kv.blocks import BlockPool, Sharing
from refimpl.kv.eviction import EvictionPolicy
from refimpl.kv.lease import Hit, Lease, Memory, SwapIn
from refimpl.kv.radix import Lock, Match, RadixTree, path


@dataclass(frozen=True, kw_only=True, eq=False)
class RadixHit(Hit):
    """A hit and the match it came from."""

    match: Match


class RadixLease(Lease):
    """A lease that holds on to a path of the tree."""

    def __init__(
        self, memory: "RadixMemory", tokens: list[int], extra: Sequence[str], priority: int
    ) -> None:
        super().__init__(memory, tokens, extra, priority)
        self.tree = memory.tree
        self.lock: Lock | None = None
        self.n_seen = 0  # tokens computed when `commit` was last called

    @property
    def n_locked(self) -> int:
        return self.lock.n_tokens if self.lock else 0

    def match(self) -> RadixHit:
        found = self.tree.match(self.tokens[:-1], self.extra)
        return RadixHit(n_tokens=found.n_tokens, blocks=found.pages, match=found)

    def hold(self, hit: Hit) -> None:
        if isinstance(hit, RadixHit):
            self.lock = self.tree.lock(hit.match)
        self.n_seen = hit.n_tokens

    def commit(self, n_computed: int, *, finished: bool = False) -> None:
        is_chunk = n_computed - self.n_seen > 1  # a step of one token is a decode
        self.n_seen = n_computed
        if is_chunk or finished:
            self._insert(self.tokens[:n_computed])

    def _insert(self, tokens: list[int]) -> None:
        """Offer the tree our pages, take over its own where it had them first, lock the path."""
        known = self.tree.insert(tokens, self.table.blocks, self.extra, priority=self.priority)
        found = self.tree.match(tokens, self.extra)
        size = self.tree.page_size
        self.table.exchange(found.pages[: known // size], start=self.n_locked // size)
        for page in found.pages[known // size :]:
            self.table.pool.keep(page)
        self._lock_instead(found)

    def _lock_instead(self, found: Match) -> None:
        """Lock the new path before the old one is let go: no moment without protection."""
        old, self.lock = self.lock, self.tree.lock(found)
        if old is not None:
            self.tree.unlock(old)

    def fork(self, tokens: list[int], sharing: Sharing, *, n_computed: int) -> "RadixLease":
        """Insert first: full pages that two tables name must be in the tree, locked by both."""
        self._insert(self.tokens[: self.n_seen])
        child = super().fork(tokens, sharing, n_computed=n_computed)
        assert isinstance(child, RadixLease)
        child.lock = self.tree.lock(self.tree.match(tokens[:n_computed], self.extra))
        child.n_seen = child.table.n_tokens
        return child

    def close(self) -> None:
        super().close()
        if self.lock is not None:
            self.tree.unlock(self.lock)
        self.lock, self.n_seen = None, 0

    def swap_in(self, n: int) -> list[SwapIn]:
        moves = super().swap_in(n)
        self.n_seen = self.table.n_tokens - n
        return moves

    def check(self) -> None:
        super().check()
        if self.lock is not None:
            n_pages = self.n_locked // self.tree.page_size
            held = [page for node in path(self.lock.node) for page in reversed(node.pages)]
            assert held[::-1] == list(self.table.blocks[:n_pages]), "the table left its locked path"


class RadixMemory(Memory):
    """Pages with SGLang's radix cache.  It is the pool's keeper: the tree decides what goes."""

    def __init__(
        self,
        pool: BlockPool,
        *,
        host: BlockPool | None = None,
        policy: EvictionPolicy | None = None,
    ) -> None:
        super().__init__(pool, host=host)
        self.tree = RadixTree(page_size=pool.block_size, policy=policy)
        pool.keeper = self

    def lease(self, tokens: list[int], extra: Sequence[str] = (), priority: int = 0) -> RadixLease:
        return RadixLease(self, tokens, extra, priority)

    @property
    def n_idle(self) -> int:
        return self.tree.n_evictable

    def evict(self, n: int) -> None:
        for page in self.tree.evict(n):
            self.pool.forget(page)

    def busy(self, block: int) -> None:
        """Nothing to do: the lock says so already."""

    idle = busy

    def check(self, leases: Iterable[Lease]) -> None:
        super().check(leases)
        self.tree.check()
        for node in self.tree.nodes():
            for page in node.pages:
                assert self.pool.kept[page], "a page of the tree is not kept"
                assert self.pool.refs[page] == node.locks, "locks and tables disagree"
        assert sum(self.pool.kept) == self.tree.n_pages, "a kept page is not in the tree"
