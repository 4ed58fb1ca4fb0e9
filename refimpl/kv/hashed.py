"""vLLM's way to share prompts: a memory whose full blocks are kept under chained hashes.

A lease names its blocks as they fill up, during decoding too, so a second turn of a chat finds the
first turn's answer.  `match` asks for the names of the prompt's blocks one after the other.

>>> memory = HashedMemory(BlockPool(n_blocks=8, block_size=4))
>>> first = memory.lease(list(range(15)))
>>> first.open(first.match(), 15)
>>> first.commit(15)
>>> len(first.table.blocks), sum(memory.pool.kept)
(4, 3)
>>> second = memory.lease([*range(10), 90, 91, 92, 93])
>>> second.match().n_tokens
8

A prompt that is cached whole is still computed in part: here its last block, though one token would
do, since a hit is whole blocks.

>>> memory.lease(list(range(12))).match().n_tokens
8
"""

from collections.abc import Iterable, Sequence

from refimpl.kv.blocks import BlockPool, Sharing
from refimpl.kv.lease import Hit, Lease, Memory
from refimpl.kv.prefix import BlockNames, PrefixCache


class HashedLease(Lease):
    """A lease that names its full blocks."""

    def __init__(
        self, memory: "HashedMemory", tokens: list[int], extra: Sequence[str], priority: int
    ) -> None:
        super().__init__(memory, tokens, extra, priority)
        self.cache = memory.cache
        self.names = BlockNames(tokens, block_size=memory.pool.block_size, extra=extra)
        self.n_named = 0  # how many blocks of the table have been offered to the cache

    def match(self) -> Hit:
        blocks = self.cache.match(self.names.upto(len(self.tokens) - 1))
        return Hit(n_tokens=len(blocks) * self.memory.pool.block_size, blocks=blocks)

    def hold(self, hit: Hit) -> None:
        self.n_named = len(hit.blocks)

    def commit(self, n_computed: int, *, finished: bool = False) -> None:
        n_full = n_computed // self.memory.pool.block_size
        while self.n_named < n_full:
            self.cache.keep(self.table.blocks[self.n_named], self.names[self.n_named])
            self.n_named += 1

    def fork(self, tokens: list[int], sharing: Sharing, *, n_computed: int) -> "HashedLease":
        child = super().fork(tokens, sharing, n_computed=n_computed)
        assert isinstance(child, HashedLease)
        child.n_named = n_computed // self.memory.pool.block_size
        return child

    def close(self) -> None:
        super().close()
        self.n_named = 0


class HashedMemory(Memory):
    """Blocks with vLLM's prefix cache."""

    def __init__(self, pool: BlockPool, *, host: BlockPool | None = None) -> None:
        super().__init__(pool, host=host)
        self.cache = PrefixCache(pool)

    def lease(self, tokens: list[int], extra: Sequence[str] = (), priority: int = 0) -> HashedLease:
        return HashedLease(self, tokens, extra, priority)

    def check(self, leases: Iterable[Lease]) -> None:
        super().check(leases)
        self.cache.check()
