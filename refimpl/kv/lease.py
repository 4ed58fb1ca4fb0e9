"""One request's memory, from its first block to its last: what the scheduler asks of any cache.

    memory.lease(tokens)         a request has come; it holds nothing yet
      lease.match()              how much of it is cached?  Pure, so a policy may ask at any time
      lease.open(hit, n)         take the cached prefix, and room for n tokens after it
      lease.grow(n)              room for n more; may ask the backend to copy a block
      lease.truncate(n_tokens)   give back the room beyond so many: guesses that were wrong
      lease.commit(n_computed)   so many tokens are computed: a cache may keep their blocks now
      lease.fork(tokens)         another sample of the same prompt
      lease.swap_out / swap_in   move to host memory and back
      lease.close()              give everything back; what a cache keeps stays cached

Every act that takes memory comes with a `can_` that says whether it would succeed, and takes all or
nothing.  Three memories honour this contract, and the scheduler cannot tell them apart:

- `Memory`, here: no prefix cache.  The plain version that the other two must equal;
- `refimpl.kv.hashed.HashedMemory`: vLLM's blocks named by chained hashes;
- `refimpl.kv.tree.RadixMemory`: SGLang's radix tree.

A hit is never the whole prompt.  The logits of the last token are needed, and a cache holds none:
so at most len(tokens) - 1 tokens are taken from it, and at least one is always computed.

>>> memory = Memory(BlockPool(n_blocks=4, block_size=4), host=BlockPool(n_blocks=4, block_size=4))
>>> lease = memory.lease([1, 2, 3, 4, 5])
>>> lease.open(lease.match(), 5)
>>> lease.swap_out(5)
[SwapOut(src=0, dst=0), SwapOut(src=1, dst=1)]
>>> lease.swap_in(1)                                # back, with room for a sixth token
[SwapIn(src=0, dst=2), SwapIn(src=1, dst=3)]
>>> list(lease.table.blocks), memory.host.n_free
([2, 3], 4)
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from refimpl.kv.blocks import BlockPool, BlockTable, Copy, OutOfBlocksError, Sharing


class SwapOut(NamedTuple):
    """A device block the backend must save in a host block."""

    src: int
    dst: int


class SwapIn(NamedTuple):
    """A host block the backend must bring back into a device block."""

    src: int
    dst: int


Move = Copy | SwapOut | SwapIn
"""What a backend does to blocks before a step, in the order in which it was decided."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Hit:
    """What a cache has of a request: whole blocks from the start.  Good until the next change."""

    n_tokens: int
    blocks: list[int]


MISS = Hit(n_tokens=0, blocks=[])


class Lease:
    """A request's memory where nothing is cached.  `tokens` is the request's own growing list."""

    def __init__(
        self, memory: "Memory", tokens: list[int], extra: Sequence[str], priority: int
    ) -> None:
        self.memory = memory
        self.tokens = tokens
        self.extra = tuple(extra)
        self.priority = priority
        self.table = BlockTable(memory.pool)
        self.host_blocks: list[int] = []
        self.n_on_host = 0

    def match(self) -> Hit:
        """The longest cached prefix, short of the last token."""
        return MISS

    def can_open(self, hit: Hit, n: int) -> bool:
        """Room for n tokens after the hit?  Taking idle blocks makes them unavailable, too."""
        pool = self.memory.pool
        needed = pool.blocks_for(hit.n_tokens + n) - len(hit.blocks)
        if needed <= pool.n_free:
            return True
        return needed + sum(not pool.refs[b] for b in hit.blocks) <= pool.n_available

    def open(self, hit: Hit, n: int) -> None:
        if not self.can_open(hit, n):
            raise OutOfBlocksError(f"no room for {n} tokens after a hit of {hit.n_tokens}")
        self.hold(hit)
        self.table.adopt(hit.blocks)
        self.table.grow(n)

    def hold(self, hit: Hit) -> None:
        """A cache notes that this lease starts with its blocks."""

    def can_grow(self, n: int) -> bool:
        return self.table.can_grow(n)

    def grow(self, n: int) -> list[Copy]:
        return self.table.grow(n)

    @property
    def n_spare(self) -> int:
        """Tokens there is room for at nobody's cost: neither a request's nor a cache's."""
        pool = self.memory.pool
        n_slots = (len(self.table.blocks) + pool.n_free) * pool.block_size
        return n_slots - self.table.n_tokens

    def truncate(self, n_tokens: int) -> None:
        """Forget the room beyond n_tokens, none of which is computed and committed."""
        self.table.truncate(n_tokens)

    def commit(self, n_computed: int, *, finished: bool = False) -> None:
        """The first n_computed tokens have keys and values."""

    def fork(self, tokens: list[int], sharing: Sharing, *, n_computed: int) -> "Lease":
        """A lease for another sample of the n_computed first tokens; `tokens` is its own list."""
        child = self.memory.lease(tokens, self.extra, self.priority)
        child.table = self.table.fork(sharing, n_tokens=n_computed)
        return child

    def close(self) -> None:
        self.table.release()
        self.memory.drop_host(self.host_blocks)
        self.host_blocks, self.n_on_host = [], 0

    def can_swap_out(self, n_tokens: int) -> bool:
        host = self.memory.host
        return host is not None and host.can_take(self.memory.pool.blocks_for(n_tokens))

    def swap_out(self, n_tokens: int) -> list[SwapOut]:
        """Save n_tokens computed tokens to the host and give the device blocks back."""
        host = self.memory.host
        if host is None or not self.can_swap_out(n_tokens):
            raise OutOfBlocksError(f"the host has no room for {n_tokens} tokens")
        blocks = self.table.blocks[: self.memory.pool.blocks_for(n_tokens)]
        saved = host.take(len(blocks))
        self.close()
        self.host_blocks, self.n_on_host = saved, n_tokens
        return [SwapOut(src, dst) for src, dst in zip(blocks, saved, strict=True)]

    def can_swap_in(self, n: int) -> bool:
        return self.memory.pool.can_take(self.memory.pool.blocks_for(self.n_on_host + n))

    def swap_in(self, n: int) -> list[SwapIn]:
        """Bring the saved tokens back, with room for n more."""
        self.table.grow(self.n_on_host + n)
        moves = [SwapIn(h, d) for h, d in zip(self.host_blocks, self.table.blocks, strict=False)]
        self.memory.drop_host(self.host_blocks)
        self.host_blocks, self.n_on_host = [], 0
        return moves

    def check(self) -> None:
        self.table.check()
        assert not (self.table.blocks and self.host_blocks), "on the device and on the host"


class Memory:
    """The device's blocks, the host's, and whoever caches them: here nobody."""

    def __init__(self, pool: BlockPool, *, host: BlockPool | None = None) -> None:
        self.pool = pool
        self.host = host

    def lease(self, tokens: list[int], extra: Sequence[str] = (), priority: int = 0) -> Lease:
        """`extra` names what else the keys and values depend on: a salt, an adapter.

        A cache may keep what has a higher priority for longer.
        """
        return Lease(self, tokens, extra, priority)

    def drop_host(self, blocks: list[int]) -> None:
        if self.host is not None:
            self.host.drop(blocks)

    def check(self, leases: Iterable[Lease]) -> None:
        """Law 19, for both pools, given every live lease."""
        leases = list(leases)
        for lease in leases:
            lease.check()
        self.pool.check(lease.table for lease in leases)
        if self.host is not None:
            on_host = [block for lease in leases for block in lease.host_blocks]
            assert self.host.n_free + len(set(on_host)) == self.host.n_blocks, "a host block leaked"
            assert len(set(on_host)) == len(on_host), "two leases share a host block"
