"""The radix tree by example: what a policy evicts, what a lock protects, what a page means."""

import pytest

from refimpl.errors import InputError
from refimpl.kv.blocks import OutOfBlocksError
from refimpl.kv.eviction import POLICIES
from refimpl.kv.radix import RadixTree


def tree_of(*sequences: list[int], policy: str = "lru", page_size: int = 1) -> RadixTree:
    tree = RadixTree(page_size=page_size, policy=POLICIES[policy]())
    for i, tokens in enumerate(sequences):
        tree.insert(tokens, [100 * i + j for j in range(len(tokens) // page_size)], priority=i)
    return tree


def use(tree: RadixTree, tokens: list[int]) -> None:
    tree.unlock(tree.lock(tree.match(tokens)))


@pytest.mark.parametrize(
    ("policy", "first_to_go"),
    [("lru", 2), ("mru", 3), ("fifo", 1), ("lfu", 1), ("priority", 1)],
)
def test_each_policy_evicts_what_its_name_says(policy, first_to_go):
    tree = tree_of([1], [2], [3], policy=policy)  # priorities 0, 1, 2
    for token in (2, 2, 1, 3):
        use(tree, [token])
    tree.evict(1)
    gone = {token for token in (1, 2, 3) if not tree.match([token]).n_tokens}
    assert gone == {first_to_go}


def test_lfu_breaks_ties_by_recency():
    tree = tree_of([1], [2], policy="lfu")
    use(tree, [2])
    use(tree, [1])
    tree.evict(1)
    assert tree.match([1]).n_tokens == 1 and tree.match([2]).n_tokens == 0


def test_a_cut_node_is_as_old_and_as_popular_as_it_was():
    tree = tree_of([1, 2, 3], [9], [1, 2, 4], policy="fifo")
    held = tree.lock(tree.match([9]))
    tree.evict(2)  # [3] and [4]: only leaves can go
    tree.unlock(held)
    tree.evict(1)  # [1 2] was cut after [9] had come, but it had come before
    assert str(tree) == "9"


def test_a_cut_of_a_locked_node_keeps_both_halves_locked():
    tree = tree_of([1, 2, 3, 4])
    held = tree.lock(tree.match([1, 2, 3, 4]))
    tree.insert([1, 2, 9], [50, 51, 52])
    tree.check()
    assert tree.n_evictable == 1
    with pytest.raises(OutOfBlocksError):
        tree.evict(2)
    tree.unlock(held)
    assert tree.n_evictable == 5


def test_a_lock_on_nothing_is_a_lock():
    tree = tree_of([1, 2])
    held = tree.lock(tree.match([7]))
    assert held.n_tokens == 0 and tree.n_evictable == 2
    tree.unlock(held)
    tree.check()


def test_two_locks_on_one_path_count_twice():
    tree = tree_of([1, 2])
    first, second = tree.lock(tree.match([1, 2])), tree.lock(tree.match([1]))
    tree.unlock(first)
    assert tree.n_evictable == 1  # [2] alone
    tree.unlock(second)
    assert tree.n_evictable == 2


def test_a_leaf_is_evicted_whole():
    tree = tree_of([1, 2, 3, 4])
    assert tree.evict(1) == [0, 1, 2, 3]


def test_pages_branch_only_at_page_boundaries():
    tree = tree_of([1, 2, 3, 4, 5], [1, 2, 3, 9], page_size=2)
    assert str(tree) == "1 2\n  3 4\n  3 9"  # the fifth token fills no page
    assert tree.match([1, 2, 3, 4, 5, 6]).n_tokens == 4
    assert tree.match([1, 2, 3]).n_tokens == 2


def test_a_sequence_shorter_than_a_page_is_not_kept():
    tree = tree_of([1], page_size=2)
    assert tree.n_nodes == 0 and not tree.roots


def test_namespaces_share_nothing_and_leave_nothing():
    tree = tree_of([1, 2])
    assert tree.insert([1, 2], [10, 11], ("salt",)) == 0
    assert tree.match([1, 2], ("salt",)).pages == [10, 11]
    assert tree.match([1, 2], ("other",)).n_tokens == 0
    tree.evict(4)
    assert not tree.roots


def test_a_match_is_stale_once_the_tree_has_changed():
    tree = tree_of([1, 2, 3])
    found = tree.match([1, 2])
    tree.insert([1, 9], [50, 51])
    with pytest.raises(AssertionError, match="changed since"):
        tree.lock(found)


def test_a_page_must_hold_a_token():
    with pytest.raises(InputError):
        RadixTree(page_size=0)


def test_the_queue_stays_of_the_order_of_the_tree():
    tree = tree_of([1], [2], [3])
    for i in range(1000):
        use(tree, [1 + i % 3])
    assert len(tree._queue._heap) <= 2 * tree.n_nodes + 65
    tree.check()
