"""What the engine asks of whatever computes, and the reference as its first implementation.

Three tiers on one object.  What `new_cache` returns is opaque: only the backend that made it looks
inside.

1. Memory: `new_cache`, and blocks as whole units: `copy_blocks` (copy-on-write), `read_blocks` and
   `write_blocks` (swapping to the host, tests that look inside).
2. Operations, each with its meaning in `refimpl.ops`: the attribute `ops`.
3. `forward`: a whole step.  The reference's is the composition of the operations; another backend
   may fuse them, and must then equal their composition.

Order is part of the contract: calls take effect in the order in which they are made, whether or not
they have returned.  That is what lets the engine free a block at once and hand it to somebody else
while a step that reads it is still running, and schedule a step on top of one in flight.

`drawn` are the tokens that the step before chose, one for each of its draws; a plan's negative
tokens refer to them.
"""

from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int32
from numpy import ndarray

from refimpl.kv.paged import PagedCache, attend_paged
from refimpl.kv.plan import Plan
from refimpl.model.config import Config
from refimpl.model.forward import REFERENCE, Model, Tap, forward, untapped
from refimpl.ops.reference import Reference

Blocks = list[int]
NONE_DRAWN = np.zeros(0, dtype=np.int32)


@runtime_checkable
class Backend(Protocol):
    """The contract."""

    ops: Reference

    def new_cache(self, config: Config, *, n_blocks: int, block_size: int) -> Any:
        """Room for the keys and values of n_blocks * block_size tokens in every layer."""

    def copy_blocks(self, cache: Any, src: Blocks, dst: Blocks) -> None:
        """Copy each block src[i] to dst[i], in this order."""

    def read_blocks(self, cache: Any, blocks: Blocks) -> Any:
        """The contents of some blocks, for `write_blocks`."""

    def write_blocks(self, cache: Any, blocks: Blocks, contents: Any) -> None:
        """Put back what `read_blocks` returned, in any blocks."""

    def forward(
        self,
        model: Model,
        plan: Plan,
        cache: Any,
        drawn: Int32[ndarray, " draws"] = NONE_DRAWN,
        tap: Tap = untapped,
    ) -> Float[ndarray, "rows vocab"]:
        """Logits of the plan's rows; the new tokens' keys and values are stored in their slots."""


class ReferenceBackend:
    """NumPy, exact inside every operation and rounded once (`refimpl.ops`)."""

    def __init__(self, ops: Reference = REFERENCE) -> None:
        self.ops = ops

    def new_cache(self, config: Config, *, n_blocks: int, block_size: int) -> PagedCache:
        return PagedCache(n_slots=n_blocks * block_size, block_size=block_size)

    def copy_blocks(self, cache: PagedCache, src: Blocks, dst: Blocks) -> None:
        for one, other in zip(src, dst, strict=True):
            self.write_blocks(cache, [other], self.read_blocks(cache, [one]))

    def read_blocks(self, cache: PagedCache, blocks: Blocks) -> list[ndarray]:
        slots = cache.slots_of(blocks)
        return [stored[slots] for stored in (*cache.keys, *cache.values)]

    def write_blocks(self, cache: PagedCache, blocks: Blocks, contents: list[ndarray]) -> None:
        slots = cache.slots_of(blocks)
        for stored, content in zip((*cache.keys, *cache.values), contents, strict=True):
            stored[slots] = content

    def forward(
        self,
        model: Model,
        plan: Plan,
        cache: PagedCache,
        drawn: Int32[ndarray, " draws"] = NONE_DRAWN,
        tap: Tap = untapped,
    ) -> Float[ndarray, "rows vocab"]:
        attend = attend_paged(cache, plan, model.config, self.ops)
        tokens = known_tokens(plan.tokens, drawn)
        return forward(model, tokens, plan.positions, attend, rows=plan.rows, ops=self.ops, tap=tap)


def known_tokens(
    tokens: Int32[ndarray, " tokens"], drawn: Int32[ndarray, " draws"]
) -> Int32[ndarray, " tokens"]:
    """Replace -1-j by the token of draw j.

    >>> known_tokens(np.array([5, -2, -1], np.int32), np.array([70, 80], np.int32)).tolist()
    [5, 80, 70]
    """
    known = tokens.copy()
    known[tokens < 0] = drawn[-1 - tokens[tokens < 0]]
    return known
