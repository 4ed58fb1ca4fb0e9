"""Attention over keys and values that lie in blocks, equal in every bit to contiguous attention.

PagedAttention (Kwon et al. 2023, section 4.1) lets each query read its context block by block,
wherever the blocks lie.  Where a key lies cannot change a product with it, so the definition is:
store the new keys and values in their slots; then, for each sequence, gather its context in the
order of its positions and attend to it as if it had never been anywhere else.

    slots of the pool       . . k4 k5 | k0 k1 k2 k3 | . . . . | k6 .  . .
                              block 0     block 1     block 2   block 3
    table [1, 0, 3] gathers   k0 k1 k2 k3 k4 k5 k6

Everything of a step is stored before anything is read, so a sequence may read what another computes
in the same step.

A tree of guesses (`Plan.tree_parents`) needs no mask: each token gathers the past, its ancestors
and itself, in the order of their positions, and cannot tell its branch from a plain text.  An
engine that attends with a mask over the whole tree (Miao et al., SpecInfer) must equal this.

>>> cache = PagedCache(n_slots=4)
>>> k = np.arange(3.0).reshape(3, 1, 1)
>>> cache.store(0, np.array([3, 0, 2]), k, -k)
>>> cache.keys[0][[3, 0, 2]].ravel().tolist()
[0.0, 1.0, 2.0]
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Integer
from numpy import ndarray

from refimpl.kv.plan import Plan
from refimpl.model.config import Config
from refimpl.model.forward import REFERENCE, Attend


@dataclass(kw_only=True, eq=False)
class PagedCache:
    """Keys and values of every layer, by slot.  Room is made when a layer's dtype is first seen."""

    n_slots: int
    block_size: int = 1
    keys: list[Float[ndarray, "slots kv_heads head_dim"]] = field(default_factory=list)
    values: list[Float[ndarray, "slots kv_heads head_dim"]] = field(default_factory=list)

    def store(
        self,
        layer: int,
        slots: Integer[ndarray, " tokens"],
        k: Float[ndarray, "tokens kv_heads head_dim"],
        v: Float[ndarray, "tokens kv_heads head_dim"],
    ) -> None:
        if layer == len(self.keys):
            self.keys.append(np.zeros((self.n_slots, *k.shape[1:]), k.dtype))
            self.values.append(np.zeros((self.n_slots, *v.shape[1:]), v.dtype))
        self.keys[layer][slots] = k
        self.values[layer][slots] = v

    def slots_of(self, blocks: list[int]) -> Integer[ndarray, " slots"]:
        """Every slot of some blocks, in order."""
        first = np.array(blocks, dtype=np.int32)[:, None] * self.block_size  # [blocks, 1]
        return (first + np.arange(self.block_size)).ravel()


def attend_paged(
    cache: PagedCache,
    plan: Plan,
    config: Config,
    ops: Any = REFERENCE,
    stored: Callable[[ndarray], ndarray] = REFERENCE.stored,
) -> Attend:
    """What `forward` calls in each layer.  `stored` is what the cache keeps of a key or a value."""
    runs = list(plan.sequences())

    def attend(layer: int, q: ndarray, k: ndarray, v: ndarray) -> ndarray:
        cache.store(layer, plan.slots, stored(k), stored(v))
        keys, values = cache.keys[layer], cache.values[layer]
        options = config.attention(layer)
        return np.concatenate(
            [
                ops.attend(q[mine], keys[slots], values[slots], plan.positions[mine], **options)
                for mine, slots in runs
            ]
        )

    return attend
