"""Each policy by an example that only it orders so."""

import pytest

from refimpl.engine.policies import (
    Ageing,
    DfsWeight,
    Fcfs,
    HighestResponseRatio,
    LongestPrefix,
    Priority,
    VirtualTokens,
)
from refimpl.engine.request import Request
from refimpl.errors import InputError
from refimpl.kv.blocks import BlockPool
from refimpl.kv.hashed import HashedMemory
from refimpl.kv.tree import RadixMemory
from refimpl.sampling import SamplingParams


def queue(memory, *prompts, **fields):
    """Waiting requests, named after their place; `fields` are lists, one value for each."""
    requests = []
    for i, prompt in enumerate(prompts):
        mine = {name: values[i] for name, values in fields.items()}
        request = Request(id=str(i), prompt=tuple(prompt), params=SamplingParams(), **mine)
        request.lease = memory.lease(request.tokens)
        request.arrival = i
        requests.append(request)
    return requests


def empty():
    return RadixMemory(BlockPool(n_blocks=400, block_size=1))


def holding(*sequences):
    memory = empty()
    for tokens in sequences:
        lease = memory.lease(list(tokens))
        lease.open(lease.match(), len(tokens) - lease.match().n_tokens)
        lease.commit(len(tokens), finished=True)
        lease.close()
    return memory


def order(policy, requests, *, join=True):
    for request in requests if join else []:
        policy.joined(request)
    return "".join(request.id for request in policy.order(requests))


def test_fcfs_is_the_queue():
    assert order(Fcfs(), queue(empty(), [1], [2], [3])) == "012"


def test_priority_lowest_number_first():
    assert order(Priority(), queue(empty(), [1], [2], [3], priority=[2, 0, 0])) == "120"


def test_priority_keeps_its_queue_in_order_as_it_changes():
    policy = Priority()
    requests = queue(empty(), *[[i] for i in range(6)], priority=[2, 0, 1, 0, 2, 1])
    assert order(policy, requests) == "132504"
    for gone in (3, 0):
        policy.left(requests[gone])
    assert order(policy, requests, join=False) == "1254"


def test_longest_prefix_first():
    memory = holding([1, 2, 3, 4], [5, 6])
    requests = queue(memory, [9, 9], [5, 6, 7], [1, 2, 3, 4, 5])
    assert order(LongestPrefix(), requests) == "210"


def test_longest_prefix_postpones_all_but_the_first_of_a_family():
    """32 and 32 are SGLang's: little of the cache, much of one another."""
    family = list(range(100, 132))
    requests = queue(empty(), [*family, 1, 1], [*family, 2, 1], [7, 8], [*family, 3, 1])
    assert order(LongestPrefix(), requests) == "0213"
    shorter = [p.prompt[1:] for p in requests]  # 31 common tokens are not enough
    assert order(LongestPrefix(), queue(empty(), *shorter)) == "0123"


def test_longest_prefix_postpones_nobody_who_matches_the_cache_well():
    family = list(range(100, 140))
    memory = holding(family)
    assert order(LongestPrefix(), queue(memory, [7], [*family, 1, 1], [*family, 2, 1])) == "120"


def test_longest_prefix_falls_back_to_fcfs_above_128_waiting():
    memory = holding([1, 2, 3])
    assert order(LongestPrefix(), queue(memory, *[[9]] * 127, [1, 2, 3, 4])).startswith("127")
    assert order(LongestPrefix(), queue(memory, *[[9]] * 128, [1, 2, 3, 4])).startswith("0")


def test_ageing_counts_each_pass_as_tokens():
    policy = Ageing(n_tokens=2)
    memory = holding([1, 2, 3])
    cold, hot, late = queue(memory, [9, 9], [1, 2, 3, 4], [1, 2, 3, 5])
    assert order(policy, [cold]) == "0"  # a pass in which it was not admitted
    policy.joined(hot)
    assert order(policy, [cold, hot], join=False) == "10"  # 0 + 2 of age against 3
    assert order(policy, [cold, hot], join=False) == "10"  # 0 + 4 against 3 + 2
    policy.joined(late)
    assert order(policy, [cold, late], join=False) == "02"  # 0 + 6 against 3


def test_hrrn_prefers_the_long_wait_and_the_short_work():
    policy = HighestResponseRatio()
    requests = queue(empty(), [1] * 40, [2] * 4)
    policy.joined(requests[0])
    policy.served(requests[0], 20)  # 20 tokens later
    policy.joined(requests[1])
    policy.served(requests[0], 8)
    # ratios 28 / 40 and 8 / 4
    assert order(policy, requests, join=False) == "10"


def test_dfs_weight_walks_into_the_heaviest_subtree():
    memory = holding([1, 2, 3], [1, 2, 4], [5, 6])
    requests = queue(memory, [5, 6, 9], [1, 2, 3, 9], [1, 2, 9], [1, 2, 4, 9], [1, 2, 4, 8], [8, 8])
    # below 1 2 wait four: below 1 2 4 two, at 1 2 3 one, then who matches 1 2 only; then 5 6
    assert order(DfsWeight(), requests) == "341205"


def test_dfs_weight_needs_a_tree():
    memory = HashedMemory(BlockPool(n_blocks=4, block_size=1))
    with pytest.raises(InputError, match="radix"):
        order(DfsWeight(), queue(memory, [1, 2]))


def test_virtual_tokens_alternates_between_a_flood_and_a_trickle():
    requests = queue(empty(), *[[1] * 10] * 4, *[[2] * 10] * 2, client=["a"] * 4 + ["b"] * 2)
    assert order(VirtualTokens(), requests) == "041523"


def test_virtual_tokens_owes_nothing_for_the_time_away():
    policy = VirtualTokens()
    a, b = queue(empty(), [1], [2], client=["a", "b"])
    policy.joined(a)
    policy.served(a, 1000)
    policy.joined(b)
    assert policy.counts == {"a": 1000, "b": 1000}


def test_virtual_tokens_counts_outputs_double():
    policy = VirtualTokens()
    (a,) = queue(empty(), [1, 2], client=["a"])
    a.n_computed = 3
    policy.served(a, 1)
    assert policy.counts["a"] == 2
