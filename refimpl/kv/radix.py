"""SGLang's prefix cache: a tree of token sequences, each edge a run of tokens and where they live.

Every sequence ever inserted is a path from a root.  Sequences that start alike share the start of
their paths, so finding the longest cached prefix of a prompt is a walk down:

        root                                     insert [1 2 3]        a node  1 2 3
         |  1 2                                  insert [1 2 4 5]      split it after 1 2
         +-----------+                           insert [1 2 4 5 6 7]  a node below  4 5
         |  3        |  4 5
         o           o
                     |  6 7
                     o

`match` is pure.  What the match of a real tree also does - cut a node where the match ends - is the
separate act `split`, done when a request holds on to the match (`lock`) or branches off (`insert`).
A lock protects the whole path up to the root; nothing locked is ever evicted, and a node is evicted
only as a leaf, so a tail goes before its head.

Pages: with page_size > 1 all edges are whole pages, and sequences part at page boundaries.
Namespaces (a salt, an adapter) are separate roots: nothing is shared across them.

Invariants, asserted by `check`: the children of a node start with different pages, which are their
keys; every node but a root has tokens, as many as its pages hold; a node has at least as many locks
as all its children together; no page is in the tree twice; the counters agree with the tree.

Sources: Zheng et al., SGLang: Efficient Execution of Structured Language Model Programs (NeurIPS
2024), section 3 and appendix A; SGLang's `radix_cache.py`.

>>> tree = RadixTree(page_size=1)
>>> pages = iter(range(100))
>>> [tree.insert(tokens, [next(pages) for _ in tokens])
...  for tokens in ([1, 2, 3], [1, 2, 3], [1, 2, 4, 5], [1, 2, 4, 5, 6, 7])]
[0, 3, 2, 4]
>>> found = tree.match([1, 2, 4, 9])
>>> found.n_tokens, found.pages
(3, [0, 1, 8])
>>> print(tree)
1 2
  3
  4 5
    6 7
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from refimpl.errors import InputError
from refimpl.kv.blocks import OutOfBlocksError
from refimpl.kv.eviction import LRU, EvictionPolicy, EvictionQueue, Leaf

Namespace = tuple[str, ...]


@dataclass(eq=False, kw_only=True)
class Node(Leaf):
    """The edge into this node: a run of tokens, the pages that hold them, and who uses it."""

    namespace: Namespace
    parent: "Node | None"
    tokens: tuple[int, ...] = ()
    pages: list[int] = field(default_factory=list)
    children: dict[tuple[int, ...], "Node"] = field(default_factory=dict)
    locks: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class Match:
    """The longest cached prefix of some tokens, good until the tree next changes (its `version`).

    It ends inside `node`, after `inside` of its tokens (all of them if it ends on a node).
    """

    n_tokens: int
    pages: list[int]
    node: Node
    inside: int
    version: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Lock:
    """A held path: from the root to `node`.  Give it back with `RadixTree.unlock`."""

    node: Node
    n_tokens: int
    pages: list[int]


class RadixTree:
    """Cached sequences by prefix.  It knows page numbers; who owns the pages is up to others."""

    def __init__(self, *, page_size: int, policy: EvictionPolicy | None = None) -> None:
        if page_size < 1:
            raise InputError(f"a page of {page_size} tokens holds nothing")
        self.page_size = page_size
        self.roots: dict[Namespace, Node] = {}
        self.clock = 0
        self.version = 0
        self.n_nodes = 0
        self.n_pages = 0
        self.n_evictable = 0
        self._last_id = 0
        self._queue: EvictionQueue[Node] = EvictionQueue(policy or LRU(), _is_evictable)

    def match(self, tokens: Sequence[int], namespace: Namespace = ()) -> Match:
        """The longest cached prefix, in whole pages."""
        node = self.roots.get(namespace) or Node(id=0, namespace=namespace, parent=None)
        pages: list[int] = []
        n = inside = 0
        while child := node.children.get(self._page_at(tokens, n)):
            common = common_prefix(child.tokens, tuple(tokens[n : n + len(child.tokens)]))
            inside = common - common % self.page_size
            pages += child.pages[: inside // self.page_size]
            node, n = child, n + inside
            if inside < len(child.tokens):
                break
        return Match(n_tokens=n, pages=pages, node=node, inside=inside, version=self.version)

    def insert(
        self,
        tokens: Sequence[int],
        pages: Sequence[int],
        namespace: Namespace = (),
        *,
        priority: int = 0,
    ) -> int:
        """Add a path; returns how many of its tokens were there before.

        The tree takes over the pages beyond those; the first ones, which duplicate what it has,
        stay the caller's.  Tokens after the last whole page are left out.
        """
        tokens = tokens[: len(tokens) - len(tokens) % self.page_size]
        if not tokens:
            return 0
        if namespace not in self.roots:
            self.roots[namespace] = Node(id=0, namespace=namespace, parent=None)
        found = self.match(tokens, namespace)
        node = self.split(found)
        if found.n_tokens < len(tokens):
            new = pages[found.n_tokens // self.page_size : len(tokens) // self.page_size]
            node = self._add(node, tuple(tokens[found.n_tokens :]), list(new))
            self.n_pages += len(node.pages)
            self.n_evictable += len(node.pages)
        self._touch(node, priority)
        return found.n_tokens

    def split(self, match: Match) -> Node:
        """Cut the node in which the match ends, so that the match ends on a node: that node."""
        assert match.version == self.version, "the tree has changed since this match"
        lower, at = match.node, match.inside
        if lower.parent is None or at == len(lower.tokens):
            return lower
        upper = self._add(lower.parent, lower.tokens[:at], lower.pages[: at // self.page_size])
        upper.created, upper.last_used, upper.hits = lower.created, lower.last_used, lower.hits
        upper.priority, upper.locks = lower.priority, lower.locks
        lower.tokens, lower.pages = lower.tokens[at:], lower.pages[at // self.page_size :]
        lower.parent = upper
        upper.children[self._page_at(lower.tokens, 0)] = lower
        return upper

    def lock(self, match: Match) -> Lock:
        """Hold on to a match: it is cut to end on a node, and its path is not evicted."""
        node = self.split(match)
        self._touch(node)
        for step in path(node):
            if step.locks == 0:
                self.n_evictable -= len(step.pages)
            step.locks += 1
        return Lock(node=node, n_tokens=match.n_tokens, pages=match.pages)

    def unlock(self, lock: Lock) -> None:
        for step in path(lock.node):
            step.locks -= 1
            if step.locks == 0:
                self.n_evictable += len(step.pages)
        self._queue.offer(lock.node)
        self._queue.tidy(self.n_nodes)

    def evict(self, n_pages: int) -> list[int]:
        """Remove unlocked leaves, in the policy's order, until n pages are free; returns them.

        Leaves go whole, as in SGLang, so more than n may be freed.
        """
        if n_pages > self.n_evictable:
            raise OutOfBlocksError(f"{n_pages} pages to evict, {self.n_evictable} are unlocked")
        freed: list[int] = []
        while len(freed) < n_pages:
            freed += self._remove(self._queue.pop())
        return freed

    def _remove(self, leaf: Node) -> list[int]:
        parent = leaf.parent
        assert parent is not None, "a root is not evicted"
        del parent.children[self._page_at(leaf.tokens, 0)]
        leaf.parent = None
        self.version += 1
        self.n_nodes -= 1
        self.n_pages -= len(leaf.pages)
        self.n_evictable -= len(leaf.pages)
        self._queue.offer(parent)
        if parent.parent is None and not parent.children:
            del self.roots[parent.namespace]
        return leaf.pages

    def _add(self, parent: Node, tokens: tuple[int, ...], pages: list[int]) -> Node:
        self.version += 1
        self.n_nodes += 1
        self._last_id += 1
        node = Node(
            id=self._last_id,
            namespace=parent.namespace,
            parent=parent,
            tokens=tokens,
            pages=pages,
            created=self.clock + 1,
        )
        parent.children[self._page_at(tokens, 0)] = node
        return node

    def _touch(self, node: Node, priority: int = 0) -> None:
        """One tick of the clock: this path was used now."""
        self.clock += 1
        for step in path(node):
            step.last_used = self.clock
            step.hits += 1
            step.priority = max(step.priority, priority)
        self._queue.offer(node)
        self._queue.tidy(self.n_nodes)

    def _page_at(self, tokens: Sequence[int], start: int) -> tuple[int, ...]:
        """The key of a child: its first page.  (A page cut short by the end is nobody's key.)"""
        return tuple(tokens[start : start + self.page_size])

    def nodes(self) -> Iterator[Node]:
        """Every node but the roots, parents first, in a stated order: as inserted."""
        todo = [child for root in self.roots.values() for child in root.children.values()]
        while todo:
            node = todo.pop()
            yield node
            todo += node.children.values()

    def check(self) -> None:
        nodes = list(self.nodes())
        for node in nodes:
            assert node.tokens, "a node without tokens"
            assert len(node.tokens) == len(node.pages) * self.page_size, "tokens without a page"
            below = sum(child.locks for child in node.children.values())
            assert node.locks >= below, "a lock does not protect its whole path"
            for key, child in node.children.items():
                assert child.parent is node and key == self._page_at(child.tokens, 0), (
                    "a wrong link"
                )
                assert child.last_used <= node.last_used, "a path was touched in part"
        pages = [page for node in nodes for page in node.pages]
        assert len(set(pages)) == len(pages) == self.n_pages, "a page is in the tree twice"
        assert len(nodes) == self.n_nodes, "the node count is wrong"
        unlocked = sum(len(node.pages) for node in nodes if not node.locks)
        assert unlocked == self.n_evictable, "the evictable count is wrong"
        assert all(root.children for root in self.roots.values()), "an empty namespace was kept"
        self._queue.check(nodes)

    def __str__(self) -> str:
        def draw(node: Node, depth: int) -> Iterator[str]:
            for child in node.children.values():
                yield "  " * depth + " ".join(map(str, child.tokens))
                yield from draw(child, depth + 1)

        return "\n".join(line for root in self.roots.values() for line in draw(root, 0))


def path(node: Node) -> Iterator[Node]:
    """From a node up to, and without, its root."""
    while node.parent is not None:
        yield node
        node = node.parent


def common_prefix(a: tuple[int, ...], b: tuple[int, ...]) -> int:
    """How many tokens two sequences share at their start.

    Bisection over slice comparisons: every token is compared O(1) times, at the speed of C.
    """
    low, high = 0, min(len(a), len(b)) + 1  # the first `low` are equal; the first `high` are not
    while high - low > 1:
        middle = (low + high) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle
    return low


def _is_evictable(node: Node) -> bool:
    return node.parent is not None and not node.children and not node.locks
