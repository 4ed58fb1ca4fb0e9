"""Laws 19 to 23 for blocks, tables and the hashed prefix cache, checked after every rule."""

from collections import Counter

import hypothesis.strategies as st
import pytest
from hypothesis import given
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from refimpl.kv.blocks import BlockPool, BlockTable, OutOfBlocksError, Sharing
from refimpl.kv.prefix import BlockNames, PrefixCache, next_name, root_name

N_BLOCKS = 12
SHARING = st.sampled_from(Sharing)


class Writer:
    """A sequence that really stores its tokens in the slots it was given."""

    def __init__(self, table: BlockTable, tokens: list[int], n_computed: int = 0) -> None:
        self.table, self.tokens, self.n_computed = table, tokens, n_computed


class PagedMemory(RuleBasedStateMachine):
    """Sequences over three letters grow, fork, shrink and leave; slots hold real tokens."""

    writers = Bundle("writers")

    @initialize(block_size=st.sampled_from([1, 2, 4]), caching=st.booleans())
    def start(self, block_size: int, caching: bool) -> None:
        self.size = block_size
        self.pool = BlockPool(n_blocks=N_BLOCKS, block_size=block_size)
        self.cache = PrefixCache(self.pool) if caching else None
        self.memory = [-1] * (N_BLOCKS * block_size)
        self.live: list[Writer] = []

    @rule(target=writers, prompt=st.lists(st.integers(0, 2), min_size=1, max_size=20))
    def arrive(self, prompt: list[int]) -> Writer:
        writer = Writer(BlockTable(self.pool), prompt)
        if self.cache is not None:
            names = BlockNames(prompt, block_size=self.size)
            writer.table.adopt(self.cache.match(names.upto(len(prompt) - 1)))
            writer.n_computed = writer.table.n_tokens
        self.live.append(writer)
        return writer

    @rule(writer=writers, n=st.integers(1, 20), token=st.integers(0, 2))
    def compute(self, writer: Writer, n: int, token: int) -> None:
        """Compute up to n tokens: first what is left of the tokens, then a new one."""
        if writer.n_computed == len(writer.tokens):
            writer.tokens.append(token)
        n = min(n, len(writer.tokens) - writer.n_computed)
        if not writer.table.can_grow(n):
            self.refused(writer, n)
            return
        for copy in writer.table.grow(n):
            self.copy_is_needed(writer, copy.src)
            self.memory[copy.dst * self.size : (copy.dst + 1) * self.size] = self.memory[
                copy.src * self.size : (copy.src + 1) * self.size
            ]
        for t in range(writer.n_computed, writer.n_computed + n):
            self.memory[writer.table.slots(t, t + 1)[0]] = writer.tokens[t]
        writer.n_computed += n
        if self.cache is not None:
            names = BlockNames(writer.tokens, block_size=self.size).upto(writer.n_computed)
            for block, name in zip(writer.table.blocks, names, strict=False):
                self.cache.keep(block, name)

    def refused(self, writer: Writer, n: int) -> None:
        """Law 21: a refusal changes nothing."""
        before = self.everything()
        with pytest.raises(OutOfBlocksError):
            writer.table.grow(n)
        assert self.everything() == before

    def everything(self) -> tuple:
        waiting = list(self.cache.waiting) if self.cache else []
        tables = [(list(w.table.blocks), w.table.n_tokens) for w in self.live]
        return list(self.pool._free), list(self.pool.refs), list(self.pool.kept), waiting, tables

    def copy_is_needed(self, writer: Writer, src: int) -> None:
        """Law 22: another sequence still references the block, and it is partial."""
        assert any(src in other.table.blocks for other in self.live if other is not writer)
        assert writer.n_computed % self.size != 0

    @rule(prompts=st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=20), max_size=4))
    def pass_through(self, prompts: list[list[int]]) -> None:
        """Some sequences come at the same time, are computed whole and leave: the cache fills."""
        guests = [self.arrive(prompt) for prompt in prompts]
        for guest in guests:
            self.compute(guest, 20, 0)
        for guest in guests:
            self.leave(guest)

    @rule(target=writers, writer=writers, sharing=SHARING)
    def fork(self, writer: Writer, sharing: Sharing) -> Writer:
        table = writer.table.fork(sharing, n_tokens=writer.n_computed)
        child = Writer(table, list(writer.tokens), min(table.n_tokens, writer.n_computed))
        self.live.append(child)
        return child

    @rule(writer=writers, n=st.integers(1, 5))
    def reject_drafts(self, writer: Writer, n: int) -> None:
        """Take back tokens, but none of a block that the cache has already been told about."""
        floor = 0 if self.cache is None else writer.n_computed // self.size * self.size
        writer.n_computed = max(floor, writer.n_computed - n)
        del writer.tokens[max(1, writer.n_computed) :]
        writer.table.truncate(writer.n_computed)

    @rule(writer=consumes(writers))
    def leave(self, writer: Writer) -> None:
        writer.table.release()
        self.live.remove(writer)

    @invariant()
    def law_19_every_block_is_accounted_for(self) -> None:
        if not hasattr(self, "pool"):
            return
        self.pool.check(writer.table for writer in self.live)
        for writer in self.live:
            writer.table.check()
        if self.cache is not None:
            self.cache.check()
        if not self.live:
            n_cached = self.cache.n_idle if self.cache else 0
            assert self.pool.n_free + n_cached == N_BLOCKS

    @invariant()
    def law_20_a_sequence_wastes_less_than_one_block(self) -> None:
        if not hasattr(self, "pool"):
            return
        owner: dict[int, int] = {}  # block -> token states in it; shared blocks counted once
        for writer in self.live:
            for i, block in enumerate(writer.table.blocks):
                used = min(self.size, writer.table.n_tokens - i * self.size)
                owner[block] = max(used, owner.get(block, 0))
        waste = len(owner) * self.size - sum(owner.values())
        assert waste <= (self.size - 1) * len(self.live)

    @invariant()
    def every_sequence_reads_back_its_own_tokens(self) -> None:
        for writer in getattr(self, "live", []):
            slots = writer.table.slots(0, writer.n_computed)
            assert [self.memory[s] for s in slots] == writer.tokens[: writer.n_computed]

    @invariant()
    def law_23_tails_wait_in_front_of_their_heads(self) -> None:
        """For each idle block, some block with its parent's name is in use or evicted later."""
        cache = getattr(self, "cache", None)
        if cache is None:
            return
        position = {block: i for i, block in enumerate(cache.waiting)}
        for block in cache.waiting:
            parent = self.parent_name(cache.name_of[block])
            if parent is not None:
                heads = cache.blocks_of.get(parent, {})
                assert any(position.get(head, N_BLOCKS) > position[block] for head in heads)

    def parent_name(self, name: bytes) -> bytes | None:
        """Found by brute force, from what the memory holds: any sequence of kept blocks."""
        contents = {
            n: tuple(self.memory[b * self.size : (b + 1) * self.size])
            for b, n in self.cache.name_of.items()
        }
        for parent in [root_name(()), *contents]:
            if next_name(parent, contents[name]) == name:
                return None if parent == root_name(()) else parent
        raise AssertionError("a kept block has lost its parent")


TestPagedMemory = PagedMemory.TestCase


@given(n=st.integers(2, 8), prompt=st.integers(1, 40), size=st.integers(1, 9), sharing=SHARING)
def test_law_22_n_samples_copy_a_partial_last_block_n_minus_1_times(n, prompt, size, sharing):
    pool = BlockPool(n_blocks=200, block_size=size)
    first = BlockTable(pool)
    first.grow(prompt)
    samples = [first, *(first.fork(sharing, n_tokens=prompt) for _ in range(n - 1))]
    missing = [prompt - sample.n_tokens for sample in samples]
    copies = [copy for s, m in zip(samples, missing, strict=True) for copy in s.grow(m + 1)]
    if sharing is Sharing.COPY_ON_WRITE:
        assert missing == [0] * n
        assert len(copies) == (n - 1 if prompt % size else 0)
    else:
        assert missing == [0] + [prompt % size] * (n - 1)
        assert not copies
    readers = Counter(block for sample in samples for block in sample.blocks)
    assert sum(count == n for count in readers.values()) == prompt // size  # each full block, once
    pool.check(samples)


@given(lengths=st.lists(st.integers(1, 20), min_size=1, max_size=9), size=st.integers(1, 9))
def test_law_20_waste_is_the_rest_of_each_last_block_and_none_at_block_size_1(lengths, size):
    pool = BlockPool(n_blocks=200, block_size=size)
    for n in lengths:
        BlockTable(pool).grow(n)
    waste = (pool.n_blocks - pool.n_free) * size - sum(lengths)
    assert waste == sum(-n % size for n in lengths) < max(size * len(lengths), 1)
    assert size > 1 or waste == 0


@given(
    arrivals=st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=12), max_size=30),
    size=st.integers(1, 4),
)
def test_law_23_no_cached_block_goes_while_a_free_one_exists(arrivals, size):
    pool = BlockPool(n_blocks=12, block_size=size)
    cache = PrefixCache(pool)
    for tokens in arrivals:
        names = BlockNames(tokens, block_size=size).upto(len(tokens))
        table = BlockTable(pool)
        table.adopt(cache.match(names))
        needed, free = table.blocks_to_grow(len(tokens) - table.n_tokens), pool.n_free
        known = len(cache.name_of)
        table.grow(len(tokens) - table.n_tokens)
        assert known - len(cache.name_of) == max(0, needed - free)  # evicted: only what was short
        for block, name in zip(table.blocks, names, strict=False):
            cache.keep(block, name)
        table.release()
        cache.check()
        pool.check([])
