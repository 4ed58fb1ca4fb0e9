"""Blocks and slots: moved exactly, written where the plan says and nowhere else.

What `read_blocks` returns is the backend's own, but it is made of arrays: they are found in lists,
tuples, dictionaries and attributes, and compared bit by bit.  A cache is filled with poison first
(NaN, where its type has one): a slot that is read though no table names it, or left over from
somebody else, then shows in every result it touches.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Int32
from numpy import ndarray

from refimpl.backend import Backend
from refimpl.kv.plan import Plan
from refimpl.model.config import Config
from refimpl.oracle.comparison import ContractError, same_bits
from refimpl.oracle.guards import twice
from refimpl.oracle.layouts import plan_of
from refimpl.oracle.specimens import specimen


@dataclass(kw_only=True, eq=False)
class Poisoned:
    """A cache full of poison, and how to look into it."""

    backend: Backend
    config: Config
    n_blocks: int
    block_size: int

    def __post_init__(self) -> None:
        self.cache = self.backend.new_cache(
            self.config, n_blocks=self.n_blocks, block_size=self.block_size
        )
        poison = 3e4 if self.backend.reference.cache == "q8_0" else np.nan
        with np.errstate(all="ignore"):
            self.fill(lambda shape: np.full(shape, poison, np.float32))

    def fill(self, make: Any) -> None:
        """Store made-up keys and values in every slot of every layer."""
        c, n = self.config, self.n_blocks * self.block_size
        attend = self.backend.attend(self.cache, every_slot(self.n_blocks, self.block_size), c)
        for layer in range(c.n_layers):
            k, v = (self.backend.put(make((n, c.n_kv_heads, c.head_dim))) for _ in "kv")
            q = self.backend.put(np.zeros((n, c.n_heads, c.head_dim), np.float32))
            self.backend.host(attend(layer, q, k, v))

    def block(self, b: int) -> list[ndarray]:
        """What lies in a block, as arrays of this program."""
        found = leaves(self.backend.read_blocks(self.cache, [b]), self.backend)
        return [np.array(x) for x in found]

    def blocks(self) -> list[list[ndarray]]:
        return [self.block(b) for b in range(self.n_blocks)]

    def seen(self, n: int) -> list[list[ndarray]]:
        """The first n blocks, and what a query sees in each: `read_blocks` is not believed alone.

        The query's own key lies in the last block, which is not among them.
        """
        return [self.block(b) + self.attended(b) for b in range(n)]

    def attended(self, b: int) -> list[ndarray]:
        """One query over a block, in every layer."""
        c, rng = self.config, np.random.default_rng(0)
        plan = one_query(b, self.n_blocks - 1, self.block_size)
        attend, out = self.backend.attend(self.cache, plan, c), []
        for layer in range(c.n_layers):
            shapes = ((1, n, c.head_dim) for n in (c.n_heads, c.n_kv_heads, c.n_kv_heads))
            qkv = (np.asarray(rng.standard_normal(s), np.float32) for s in shapes)
            out.append(np.array(self.backend.host(attend(layer, *map(self.backend.put, qkv)))))
        return out


def every_slot(n_blocks: int, block_size: int) -> Plan:
    """A plan that writes each slot once: every block is a sequence by itself."""
    n = n_blocks * block_size
    ends = np.arange(1, n_blocks + 1, dtype=np.int32) * np.int32(block_size)
    return Plan(
        tokens=np.zeros(n, np.int32),
        positions=np.tile(np.arange(block_size, dtype=np.int32), n_blocks),
        slots=np.arange(n, dtype=np.int32),
        context_lens=np.full(n_blocks, block_size, np.int32),
        block_tables=np.arange(n_blocks, dtype=np.int32)[:, None],
        seq_starts=np.concatenate([np.zeros(1, np.int32), ends]),
        rows=ends - np.int32(1),
        block_size=block_size,
    )


def one_query(b: int, own: int, block_size: int) -> Plan:
    """A token that comes after a full block b; its own key goes to the block `own`."""

    def one(x: int) -> Int32[ndarray, "1"]:
        return np.array([x], dtype=np.int32)

    return Plan(
        tokens=one(0),
        positions=one(block_size),
        slots=one(own * block_size),
        context_lens=one(block_size + 1),
        block_tables=np.array([[b, own]], dtype=np.int32),
        seq_starts=np.array([0, 1], dtype=np.int32),
        rows=one(0),
        block_size=block_size,
    )


def leaves(contents: Any, backend: Backend) -> Iterator[ndarray]:
    """The arrays that something is made of."""
    if isinstance(contents, list | tuple):
        for one in contents:
            yield from leaves(one, backend)
    elif isinstance(contents, Mapping):
        for one in contents.values():
            yield from leaves(one, backend)
    elif hasattr(contents, "dtype"):
        yield np.asarray(backend.host(contents))
    elif hasattr(contents, "__dict__"):
        yield from leaves(vars(contents), backend)


def equal(a: list[ndarray], b: list[ndarray]) -> bool:
    return len(a) == len(b) and all(same_bits(x, y) for x, y in zip(a, b, strict=True))


def filled(backend: Backend, model: Mapping[str, Any], n_blocks: int, size: int, seed: int) -> Any:
    """A cache of random keys and values, with one block more."""
    rng = np.random.default_rng(seed)
    config = specimen(**model).config
    cache = Poisoned(backend=backend, config=config, n_blocks=n_blocks + 1, block_size=size)
    cache.fill(lambda shape: np.asarray(rng.standard_normal(shape), np.float32))
    return cache


def copies(
    backend: Backend,
    *,
    model: Mapping[str, Any],
    n_blocks: int,
    block_size: int,
    seed: int,
    pairs: list[list[int]],
) -> float:
    """`copy_blocks`: each in its turn, exactly, and no other block is touched."""
    cache = filled(backend, model, n_blocks, block_size, seed)
    expected = cache.seen(n_blocks)
    if not cache.block(0):
        raise ContractError("read_blocks returns nothing that holds arrays")
    for src, dst in pairs:
        expected[dst] = expected[src]
    backend.copy_blocks(cache.cache, [src for src, _ in pairs], [dst for _, dst in pairs])
    compare(cache, expected, "after copy_blocks")
    return 0.0


def swaps(
    backend: Backend,
    *,
    model: Mapping[str, Any],
    n_blocks: int,
    block_size: int,
    seed: int,
    out: list[int],
    back: list[int],
) -> float:
    """`read_blocks` takes a snapshot, `write_blocks` puts it back anywhere, exactly."""
    cache = filled(backend, model, n_blocks, block_size, seed)
    expected = cache.seen(n_blocks)
    saved = backend.read_blocks(cache.cache, out)
    cache.fill(lambda shape: np.full(shape, 7.0, np.float32))
    sevens = cache.seen(n_blocks)
    backend.write_blocks(cache.cache, back, saved)
    for src, dst in zip(out, back, strict=True):
        sevens[dst] = expected[src]
    compare(cache, sevens, "after write_blocks")
    return 0.0


def contents_of(plan: Plan) -> list[bytes]:
    return [x.tobytes() for x in vars(plan).values() if isinstance(x, ndarray)]


def compare(cache: Poisoned, expected: list[list[ndarray]], when: str) -> None:
    for b, (found, wanted) in enumerate(zip(cache.seen(len(expected)), expected, strict=True)):
        if not equal(found, wanted):
            raise ContractError(f"block {b} does not hold what it should {when}")


def stores(
    backend: Backend,
    *,
    model: Mapping[str, Any],
    block_size: int,
    n_blocks: int,
    steps: list[dict[str, Any]],
) -> float:
    """`forward` writes the blocks of plan.slots and no others (with blocks of one slot: exactly).

    The slots it does write no longer hold poison; the plan is as it was.
    """
    loaded, config = backend.load(specimen(**model)), specimen(**model).config
    cache = Poisoned(backend=backend, config=config, n_blocks=n_blocks, block_size=block_size)
    for step in steps:
        plan = plan_of(step["plan"], block_size)
        written = {slot // block_size for slot in plan.slots.tolist()}
        before, given = cache.blocks(), contents_of(plan)
        forward = partial(backend.forward, loaded, plan, cache.cache, step["drawn"])
        twice(forward, [], backend)  # storing twice does no harm
        if contents_of(plan) != given:
            raise ContractError("forward changed the plan")
        for b, (old, new) in enumerate(zip(before, cache.blocks(), strict=True)):
            if b not in written and not equal(old, new):
                raise ContractError(f"forward changed block {b}, in which the plan has no slot")
            if b in written and any(same_bits(x, y) for x, y in zip(old, new, strict=True)):
                raise ContractError(f"forward left a layer of block {b} as it was")
    return 0.0
