"""Hit rate against cache size, on a trace of real block hashes.

Each line of a Mooncake trace is a request: its `hash_ids` name its blocks of 512 tokens, so that
equal ids mean equal prefixes.  Requests are taken one after the other, each looks its blocks up,
takes room for the rest (evicting what the policy says), and leaves.  `paged` is vLLM's pool with
hashed blocks, whose order is LRU; the others are the radix tree with its eviction policies, a block
as one token.  The file is read line by line.

>>> lines = ['{"hash_ids": [1, 2, 3]}', '{"hash_ids": [1, 2, 4]}', '{"hash_ids": [1, 2, 3]}']
>>> hit_rate_hashed(blocks_of(lines), 9), hit_rate_hashed(blocks_of(lines), 3)
(0.5555555555555556, 0.4444444444444444)
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from pathlib import Path

from refimpl.engine.simulate.table import Cell, Table
from refimpl.engine.simulate.track import Track, untracked
from refimpl.errors import FormatError
from refimpl.kv.blocks import BlockPool, BlockTable
from refimpl.kv.eviction import POLICIES, EvictionPolicy
from refimpl.kv.prefix import PrefixCache
from refimpl.kv.radix import RadixTree

PUBLISHED = {1000: 30, 10_000: 40, 30_000: 48, 50_000: 50, 100_000: 51}
"""Qin et al., Mooncake (arXiv 2407.00079), table 1: LRU, percent, on 23,608 other requests."""


def traces(
    *,
    path: str | Path,
    capacities: Sequence[int] = (1000, 3000, 10_000, 30_000, 50_000, 100_000),
    policies: Sequence[str] = ("lru", "lfu", "fifo"),
    track: Track = untracked,
) -> Table:
    """Hit rates of one trace, by capacity in blocks and by policy."""
    rows: list[tuple[Cell, ...]] = []
    for capacity, name in track(list(product(capacities, ("", *policies)))):
        requests = read(Path(path))
        if name:
            rate = hit_rate_radix(requests, capacity, POLICIES[name]())
            rows.append((f"radix, {name}", capacity, 100 * rate, None))
        else:
            rate = hit_rate_hashed(requests, capacity)
            rows.append(("paged, lru", capacity, 100 * rate, PUBLISHED.get(capacity)))
    return Table(
        title="Hit rate against cache size",
        columns=("cache", "blocks", "hit rate %", "published, other trace %"),
        rows=rows,
        notes=("published: Qin et al. 2024, table 1, LRU, on another trace of the same service",),
        x="blocks",
        y="hit rate %",
        by="cache",
        log_x=True,
        options={"path": Path(path).name},
    )


def read(path: Path) -> Iterator[list[int]]:
    with path.open() as file:
        yield from blocks_of(file)


def blocks_of(lines: Iterable[str]) -> Iterator[list[int]]:
    """The block ids of each request."""
    for number, line in enumerate(lines, 1):
        try:
            ids = json.loads(line)["hash_ids"]
        except (ValueError, KeyError, TypeError):
            raise FormatError(f"line {number} of the trace has no hash_ids") from None
        if not isinstance(ids, list) or not all(isinstance(id, int) for id in ids):
            raise FormatError(f"line {number} of the trace has hash_ids that are no numbers")
        yield ids


def hit_rate_hashed(requests: Iterable[list[int]], capacity: int) -> float:
    """vLLM's pool: the ids are the blocks' names."""
    pool = BlockPool(n_blocks=capacity, block_size=1)
    cache = PrefixCache(pool)
    n_hit = n_total = 0
    for ids in requests:
        names = [id.to_bytes(8, "little", signed=True) for id in ids]
        table = BlockTable(pool)
        table.adopt(cache.match(names))
        n_hit, n_total = n_hit + len(table.blocks), n_total + len(ids)
        room = min(len(ids) - len(table.blocks), pool.n_available)
        table.grow(room)
        for block, name in zip(table.blocks, names, strict=False):
            cache.keep(block, name)
        table.release()
    return n_hit / max(1, n_total)


def hit_rate_radix(requests: Iterable[list[int]], capacity: int, policy: EvictionPolicy) -> float:
    """SGLang's tree: a block is a token, and a page is one of them."""
    tree = RadixTree(page_size=1, policy=policy)
    free = list(range(capacity))
    n_hit = n_total = 0
    for ids in requests:
        held = tree.lock(tree.match(ids))
        n_hit, n_total = n_hit + held.n_tokens, n_total + len(ids)
        room = min(len(ids) - held.n_tokens, len(free) + tree.n_evictable)
        if room > len(free):
            free += tree.evict(room - len(free))
        pages = [*held.pages, *(free.pop() for _ in range(room))]
        tree.insert(ids[: len(pages)], pages)
        tree.unlock(held)
    return n_hit / max(1, n_total)
