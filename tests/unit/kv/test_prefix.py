"""The hashed prefix cache by example."""

import pytest

from refimpl.kv.blocks import BlockPool, BlockTable, OutOfBlocksError
from refimpl.kv.prefix import BlockNames, PrefixCache, next_name, root_name


def cached(cache: PrefixCache, tokens: list[int], *extra: str) -> BlockTable:
    """A table over these tokens, computed, its full blocks known to the cache."""
    table = BlockTable(cache.pool)
    table.grow(len(tokens))
    names = BlockNames(tokens, block_size=cache.pool.block_size, extra=extra)
    for block, name in zip(table.blocks, names.upto(len(tokens)), strict=False):
        cache.keep(block, name)
    return table


def small_cache(n_blocks: int = 8) -> PrefixCache:
    return PrefixCache(BlockPool(n_blocks=n_blocks, block_size=2))


def names(tokens: list[int], *extra: str) -> list[bytes]:
    return BlockNames(tokens, block_size=2, extra=extra).upto(len(tokens))


def test_a_name_depends_on_everything_before_it():
    assert names([1, 2, 3, 4])[1] != names([9, 2, 3, 4])[1]
    assert names([1, 2, 3, 4])[0] == names([1, 2, 9, 9])[0]


def test_extra_keys_separate_tenants_even_when_their_concatenation_agrees():
    assert root_name(["ab", "c"]) != root_name(["a", "bc"]) != root_name(["abc"])
    assert root_name([]) != root_name([""])
    cache = small_cache()
    cached(cache, [1, 2, 3, 4], "salt")
    assert cache.match(names([1, 2, 3, 4])) == []
    assert len(cache.match(names([1, 2, 3, 4], "salt"))) == 2


def test_names_are_a_published_function_of_the_tokens():
    """SHA-256 of the parent's name and the tokens as little-endian int64."""
    assert root_name([]).hex().startswith("e3b0c44298fc1c14")  # SHA-256 of nothing
    assert next_name(b"", []).hex() == root_name([]).hex()
    assert next_name(b"", [1]) != next_name(b"", [256])


def test_names_grow_with_the_sequence():
    tokens = [1, 2, 3]
    growing = BlockNames(tokens, block_size=2)
    assert len(growing.upto(3)) == 1
    tokens.append(4)
    assert growing[1] == names([1, 2, 3, 4])[1]


def test_two_blocks_with_one_name_serve_one_after_the_other():
    cache = small_cache()
    first, second = cached(cache, [1, 2]), cached(cache, [1, 2])
    assert cache.match(names([1, 2])) == list(first.blocks)
    first.release()
    cache.evict(1)
    assert cache.match(names([1, 2])) == list(second.blocks)
    cache.check()


def test_the_block_idle_for_longest_goes_first():
    cache = small_cache()
    first, second = cached(cache, [1, 2]), cached(cache, [3, 4])
    second.release()
    first.release()
    cache.evict(1)
    assert cache.match(names([1, 2])) and not cache.match(names([3, 4]))


def test_a_hit_takes_a_block_out_of_the_queue():
    cache = small_cache()
    cached(cache, [1, 2]).release()
    reader = BlockTable(cache.pool)
    reader.adopt(cache.match(names([1, 2])))
    assert cache.n_idle == 0
    with pytest.raises(OutOfBlocksError):
        cache.evict(1)
    cache.pool.check([reader])
