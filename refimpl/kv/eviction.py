"""Which leaf of the radix tree goes first: one small class per policy, one method each.

`key` orders the leaves that nobody uses; the smallest goes, and among equals the oldest node.  Time
is the tree's logical clock, one tick per operation, so a run can be replayed.  A policy never sees
an inner node or a locked one: what it may choose from is the tree's business.

`EvictionQueue` finds the smallest without looking at every leaf: a heap whose entries are allowed
to go stale.  A leaf is pushed again whenever its key may have changed; an entry that no longer
tells the truth about its leaf is dropped when it comes to the top.

Source: SGLang's `evict_policy.py`, which has the same list (it builds the heap anew on each call).

>>> old = Leaf(id=1, created=1, last_used=9, hits=5, priority=0)
>>> new = Leaf(id=2, created=7, last_used=8, hits=0, priority=1)
>>> for name, policy in POLICIES.items():
...     print(name, "old" if min((old, new), key=policy().key) is old else "new")
lru new
lfu new
fifo old
mru old
priority old
"""

import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar, runtime_checkable


@dataclass(eq=False, kw_only=True)
class Leaf:
    """What a policy may look at.  Times are ticks of the tree's clock."""

    id: int
    created: int = 0
    last_used: int = 0
    hits: int = 0
    priority: int = 0


@runtime_checkable
class EvictionPolicy(Protocol):
    def key(self, leaf: Leaf) -> tuple[int, ...]:
        """The leaf with the smallest key is evicted first."""


class LRU:
    """Least recently used."""

    def key(self, leaf: Leaf) -> tuple[int, ...]:
        return (leaf.last_used,)


class LFU:
    """Least frequently used; among those, the least recently used."""

    def key(self, leaf: Leaf) -> tuple[int, ...]:
        return (leaf.hits, leaf.last_used)


class FIFO:
    """First in, first out."""

    def key(self, leaf: Leaf) -> tuple[int, ...]:
        return (leaf.created,)


class MRU:
    """Most recently used first: better than LRU when a loop over the prompts exceeds the cache."""

    def key(self, leaf: Leaf) -> tuple[int, ...]:
        return (-leaf.last_used,)


class ByPriority:
    """Lowest priority first; among those, the least recently used."""

    def key(self, leaf: Leaf) -> tuple[int, ...]:
        return (leaf.priority, leaf.last_used)


POLICIES: dict[str, type[EvictionPolicy]] = {
    "lru": LRU,
    "lfu": LFU,
    "fifo": FIFO,
    "mru": MRU,
    "priority": ByPriority,
}

L = TypeVar("L", bound=Leaf)


class EvictionQueue(Generic[L]):
    """The leaves that may be evicted, smallest key first; `evictable` says whether one may."""

    def __init__(self, policy: EvictionPolicy, evictable: Callable[[L], bool]) -> None:
        self.policy = policy
        self.evictable = evictable
        self._heap: list[tuple[tuple[int, ...], int, L]] = []

    def offer(self, leaf: L) -> None:
        """This leaf may be evicted from now on, or has a new key."""
        if self.evictable(leaf):
            heapq.heappush(self._heap, (self.policy.key(leaf), leaf.id, leaf))

    def pop(self) -> L:
        """The leaf to evict now.  There must be one."""
        while True:
            key, _, leaf = heapq.heappop(self._heap)
            if self.evictable(leaf) and key == self.policy.key(leaf):
                return leaf

    def tidy(self, n_nodes: int) -> None:
        """Rebuild when most entries are stale, so that the heap stays of the order of the tree."""
        if len(self._heap) > 2 * n_nodes + 64:
            self._heap = [e for e in self._heap if self.evictable(e[2])]
            self._heap = [e for e in self._heap if e[0] == self.policy.key(e[2])]
            heapq.heapify(self._heap)

    def check(self, leaves: Iterable[L]) -> None:
        """Every leaf that may be evicted has an entry that tells the truth."""
        entries = {(key, id_) for key, id_, _ in self._heap}
        for leaf in leaves:
            if self.evictable(leaf):
                assert (self.policy.key(leaf), leaf.id) in entries, f"leaf {leaf.id} is unreachable"
