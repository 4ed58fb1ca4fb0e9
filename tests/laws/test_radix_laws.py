"""Laws 23 and 25 for the radix tree, played against a model: a dict from prefix to page."""

from collections.abc import Iterator

import hypothesis.strategies as st
import pytest
from hypothesis import given
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from refimpl.kv.blocks import OutOfBlocksError
from refimpl.kv.eviction import POLICIES
from refimpl.kv.radix import Lock, RadixTree, common_prefix, path

STORY = [0, 1, 0, 0, 1, 1, 0, 1, 0, 0, 1, 1]
TOKENS = st.builds(  # most sequences share a start with others, and part from them anywhere
    lambda n, end: STORY[:n] + end,
    st.integers(0, len(STORY)),
    st.lists(st.integers(0, 1), min_size=1, max_size=4),
)
NAMESPACE = st.sampled_from([(), ("tenant",)])
Prefix = tuple[tuple[str, ...], tuple[int, ...]]


class Radix(RuleBasedStateMachine):
    """The model knows, for every cached prefix of whole pages, the page that ends it."""

    locks = Bundle("locks")

    @initialize(page_size=st.sampled_from([1, 2, 3]), policy=st.sampled_from(sorted(POLICIES)))
    def start(self, page_size: int, policy: str) -> None:
        self.size = page_size
        self.policy = POLICIES[policy]()
        self.tree = RadixTree(page_size=page_size, policy=self.policy)
        self.model: dict[Prefix, int] = {}
        self.held: dict[Lock, Prefix] = {}
        self.next_page = 0

    def prefixes(self, namespace: tuple[str, ...], tokens: list[int]) -> Iterator[Prefix]:
        for end in range(self.size, len(tokens) + 1, self.size):
            yield namespace, tuple(tokens[:end])

    def cached(self, namespace: tuple[str, ...], tokens: list[int]) -> list[int]:
        pages = []
        for prefix in self.prefixes(namespace, tokens):
            if prefix not in self.model:
                break
            pages.append(self.model[prefix])
        return pages

    @rule(tokens=TOKENS, namespace=NAMESPACE, priority=st.integers(0, 2))
    def insert(self, tokens: list[int], namespace: tuple[str, ...], priority: int) -> None:
        known = self.cached(namespace, tokens)
        pages = list(range(self.next_page, self.next_page + len(tokens) // self.size))
        self.next_page += len(pages)
        n = self.tree.insert(tokens, pages, namespace, priority=priority)
        assert n == len(known) * self.size
        for prefix, page in zip(self.prefixes(namespace, tokens), pages, strict=True):
            self.model.setdefault(prefix, page)

    @rule(tokens=TOKENS, namespace=NAMESPACE)
    def match_is_pure_and_longest(self, tokens: list[int], namespace: tuple[str, ...]) -> None:
        before = self.everything()
        found = self.tree.match(tokens, namespace)
        assert self.everything() == before
        assert found.pages == self.cached(namespace, tokens)
        assert found.n_tokens == len(found.pages) * self.size

    def everything(self) -> tuple:
        nodes = [
            (n.id, n.tokens, tuple(n.pages), n.locks, n.last_used, n.hits)
            for n in self.tree.nodes()
        ]
        return nodes, self.tree.clock, self.tree.n_evictable, list(self.tree.roots)

    @rule(target=locks, tokens=TOKENS, namespace=NAMESPACE)
    def lock(self, tokens: list[int], namespace: tuple[str, ...]) -> Lock:
        found = self.tree.match(tokens, namespace)
        held = self.tree.lock(found)
        self.held[held] = (namespace, tuple(tokens[: found.n_tokens]))
        return held

    @rule(lock=consumes(locks))
    def unlock(self, lock: Lock) -> None:
        self.tree.unlock(lock)
        del self.held[lock]

    @rule(n=st.integers(1, 6))
    def evict(self, n: int) -> None:
        if n > self.tree.n_evictable:
            before = self.everything()
            with pytest.raises(OutOfBlocksError):
                self.tree.evict(n)
            assert self.everything() == before
            return
        leaves = [node for node in self.tree.nodes() if not node.children and not node.locks]
        first = min(leaves, key=lambda leaf: (self.policy.key(leaf), leaf.id))
        gone = self.tree.evict(n)
        assert len(gone) >= n and gone[: len(first.pages)] == first.pages
        self.model = {prefix: page for prefix, page in self.model.items() if page not in gone}

    @invariant()
    def law_23_what_is_locked_stays_and_tails_go_first(self) -> None:
        if not hasattr(self, "tree"):
            return
        self.tree.check()
        in_tree = {page for node in self.tree.nodes() for page in node.pages}
        assert in_tree == set(self.model.values())
        for namespace, prefix in self.model:
            shorter = prefix[: -self.size]
            assert not shorter or (namespace, shorter) in self.model, "a head went before its tail"
        for held, (namespace, prefix) in self.held.items():
            assert self.cached(namespace, list(prefix)) == held.pages
            assert sum(len(node.tokens) for node in path(held.node)) == held.n_tokens

    def teardown(self) -> None:
        """At drain everything can be evicted."""
        if hasattr(self, "tree"):
            for held in self.held:
                self.tree.unlock(held)
            assert self.tree.n_evictable == self.tree.n_pages
            self.tree.evict(self.tree.n_pages)
            assert not list(self.tree.nodes()) and not self.tree.roots


TestRadix = Radix.TestCase


def hits_when_served_by_longest_prefix(prompts: list[list[int]], capacity: int) -> int:
    """One prompt at a time, the one with the longest cached prefix first; LRU."""
    tree, free, n_hits = RadixTree(page_size=1), list(range(capacity)), 0
    todo = list(prompts)
    while todo:
        prompt = max(todo, key=lambda p: tree.match(p).n_tokens)
        todo.remove(prompt)
        held = tree.lock(tree.match(prompt))
        n_hits += held.n_tokens
        needed = len(prompt) - held.n_tokens
        if needed > len(free):
            free += tree.evict(needed - len(free))
        tree.insert(prompt, held.pages + [free.pop() for _ in range(needed)])
        tree.unlock(held)
        tree.check()
    return n_hits


PROMPTS = st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=8), min_size=1, max_size=20)


def distinct_prefixes(prompts: list[list[int]]) -> int:
    return len({tuple(p[:n]) for p in prompts for n in range(1, len(p) + 1)})


@given(prompts=PROMPTS, spare=st.integers(0, 10))
def test_law_25_longest_prefix_first_reaches_the_bound_offline(prompts, spare):
    """SGLang, Theorem 3.1: each distinct prefix is computed once if the longest prompt fits."""
    capacity = max(map(len, prompts)) + spare
    n_total = sum(map(len, prompts))
    n_hits = hits_when_served_by_longest_prefix(prompts, capacity)
    assert n_hits == n_total - distinct_prefixes(prompts)


@given(prompts=PROMPTS, spare=st.integers(0, 10), policy=st.sampled_from(sorted(POLICIES)))
def test_law_25_no_order_and_no_policy_exceeds_the_bound(prompts, spare, policy):
    tree = RadixTree(page_size=1, policy=POLICIES[policy]())
    free = list(range(max(map(len, prompts)) + spare))
    n_hits = 0
    for prompt in prompts:
        held = tree.lock(tree.match(prompt))
        needed = len(prompt) - held.n_tokens
        if needed > len(free):
            free += tree.evict(needed - len(free))
        n_hits += tree.insert(prompt, held.pages + [free.pop() for _ in range(needed)])
        tree.unlock(held)
    assert n_hits <= sum(map(len, prompts)) - distinct_prefixes(prompts)


@given(a=st.lists(st.integers(0, 1)), b=st.lists(st.integers(0, 1)))
def test_common_prefix_equals_walking_along(a, b):
    n = 0
    while n < min(len(a), len(b)) and a[n] == b[n]:
        n += 1
    assert common_prefix(tuple(a), tuple(b)) == n
