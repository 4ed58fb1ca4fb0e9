"""Paged attention to measure: 32 query and 8 key heads of 128, pages of 16, permuted."""

from collections.abc import Callable

import cupy
import numpy as np

from backends.cupy import make_backend
from backends.cupy.attention import Attention, walk_work
from backends.cupy.batch import Batch, Shape, put_plan
from backends.cupy.cache import row_bytes
from refimpl.kv.plan import Plan

CONTEXTS = ((64, 4096), (1, 32768), (256, 1024))
"""Sequences and context of the three that FlashInfer is measured at."""


def attention_setup(
    sequences: int, context: int, new: int, cache: str = "float16"
) -> tuple[Callable[[], None], int]:
    """The last `new` tokens of each sequence attend; and how many bytes of keys and values to."""
    launcher = make_backend().launcher
    shape = Shape(heads=32, kv_heads=8, dim=128, cache=cache, block_size=16)
    blocks = context // 16
    rows = sequences * blocks, 8, 16
    if cache == "q8_0":
        keys = cupy.random.randint(-127, 128, (*rows, row_bytes(cache, 128)), np.int8)
        keys[..., 128:] = cupy.full((*rows, 4), 0.015, np.float16).view(np.int8)
    else:
        keys = cupy.random.standard_normal((*rows, 128), dtype=np.float32).astype(cache)
    values = keys.copy()
    tables = np.random.default_rng(0).permutation(sequences * blocks).astype(np.int32)
    n = sequences * new
    positions = np.tile(np.arange(context - new, context, dtype=np.int32), sequences)
    plan = Plan(
        tokens=positions,
        positions=positions,
        slots=positions,
        block_size=16,
        context_lens=np.full(sequences, context, np.int32),
        block_tables=tables.reshape(sequences, blocks),
        seq_starts=np.arange(0, n + 1, new, dtype=np.int32),
        rows=positions[:1],
    )
    batch: Batch = put_plan(plan)
    attention = Attention(launcher, shape, batch, walk_work(plan, shape), alone=new == 1)
    q = cupy.random.standard_normal((n, 32, 128), dtype=np.float32)
    out = cupy.empty_like(q)
    return lambda: attention(out, q, keys, values, scale=128**-0.5), keys.nbytes * 2
