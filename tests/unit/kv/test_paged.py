"""Attention through block tables equals attention to contiguous keys and values, in every bit."""

from random import Random

import hypothesis.strategies as st
import numpy as np
from hypothesis import given, settings

from refimpl.kv.blocks import BlockPool, BlockTable
from refimpl.kv.paged import PagedCache, attend_paged
from refimpl.kv.plan import Plan
from refimpl.model.cache import ContiguousCache
from refimpl.oracle.models import random_model

MODELS = {family: random_model(family, seed=0) for family in ("llama", "gemma2", "phi3")}


def shuffled_pool(block_size: int, seed: int) -> BlockPool:
    pool = BlockPool(n_blocks=200 // block_size, block_size=block_size)
    order = list(pool._free)
    Random(seed).shuffle(order)
    pool._free.clear()
    pool._free.extend(order)
    return pool


def plan_of(tables: list[BlockTable], starts: list[int]) -> Plan:
    """The tokens from `starts` on of every table."""
    counts = [t.n_tokens - start for t, start in zip(tables, starts)]
    size = tables[0].pool.block_size
    padded = np.full((len(tables), max(len(t.blocks) for t in tables)), -1, np.int32)
    for row, table in zip(padded, tables):
        row[: len(table.blocks)] = table.blocks
    pairs = list(zip(tables, starts))
    return Plan(
        tokens=np.zeros(sum(counts), np.int32),
        positions=np.concatenate([np.arange(s, t.n_tokens, dtype=np.int32) for t, s in pairs]),
        slots=np.concatenate([t.slots(s, t.n_tokens) for t, s in pairs]),
        context_lens=np.array([t.n_tokens for t in tables], np.int32),
        block_tables=padded,
        seq_starts=np.cumsum([0, *counts]).astype(np.int32),
        rows=np.zeros(0, np.int32),
        block_size=size,
    )


@given(
    family=st.sampled_from(sorted(MODELS)),
    block_size=st.sampled_from([1, 2, 5, 16]),
    lengths=st.lists(st.tuples(st.integers(1, 12), st.integers(1, 6)), min_size=1, max_size=4),
    seed=st.integers(0, 99),
)
@settings(max_examples=25)
def test_paged_attention_equals_contiguous_attention_in_every_bit(
    family, block_size, lengths, seed
):
    """Two steps: each sequence's past, then what is new; blocks anywhere in the pool."""
    config = MODELS[family].config
    rng = np.random.default_rng(seed)
    pool = shuffled_pool(block_size, seed)
    paged = PagedCache(n_slots=pool.n_blocks * block_size, block_size=block_size)
    plain = [ContiguousCache(config=config, capacity=20) for _ in lengths]
    tables, starts = [BlockTable(pool) for _ in lengths], [0] * len(lengths)
    for step in range(2):
        for table, length in zip(tables, lengths):
            table.grow(length[step])
        plan = plan_of(tables, starts)
        plan.check()
        q, k, v = (
            rng.standard_normal((len(plan.tokens), heads, config.head_dim)).astype(np.float32)
            for heads in (config.n_heads, config.n_kv_heads, config.n_kv_heads)
        )
        through_blocks = attend_paged(paged, plan, config)
        for layer in range(config.n_layers):
            found = through_blocks(layer, q, k, v)
            for s, cache in enumerate(plain):
                mine = slice(plan.seq_starts[s], plan.seq_starts[s + 1])
                expected = cache.attend(plan.positions[mine])(layer, q[mine], k[mine], v[mine])
                np.testing.assert_array_equal(found[mine], expected)
        for cache, length in zip(plain, lengths):
            cache.advance(length[step])
        starts = [table.n_tokens for table in tables]
