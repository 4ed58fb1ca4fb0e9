"""What the tests of the Numba backend share: plans, models, matrices."""

from functools import cache
from typing import Any

import numpy as np

from backends.numba import make_backend
from refimpl.formats.quants import BLOCK_TYPES, BlockType, Packed
from refimpl.kv.plan import Plan

COLUMNS = 512
TYPES = [t for t in BLOCK_TYPES.values() if t.split is not None or t.name in ("F32", "F16", "BF16")]


@cache
def backend(act: str = "none", cache: str = "float32", threads: int = 2) -> Any:
    return make_backend(act=act, cache=cache, threads=threads)


def matrix(kind: BlockType, rows: int = 40, seed: int = 0, columns: int = COLUMNS) -> Any:
    """Weights of a type; values quantised by refimpl, or random blocks where ggml makes none."""
    rng = np.random.default_rng(seed)
    weights = rng.standard_normal((rows, columns)).astype(np.float32)
    if kind.block_size == 1:
        return weights.astype(kind.dtype)
    blocks = weights.reshape(rows, -1, kind.block_size)
    assert kind.quantize is not None
    importance = np.ones(blocks.shape[1:], np.float32) if kind.needs_importance else None
    return Packed(type=kind, blocks=kind.quantize(blocks, importance))


def one_sequence(
    tokens: Any, *, start: int = 0, block_size: int = 16, blocks: Any = None, rows: Any = None
) -> Plan:
    """A run of tokens of one sequence, from position `start` on."""
    n, i32 = len(tokens), lambda x: np.asarray(x, np.int32)
    n_blocks = -(-(start + n) // block_size)
    table = i32(range(n_blocks) if blocks is None else blocks[:n_blocks])
    positions = i32(range(start, start + n))
    return Plan(
        tokens=i32(tokens),
        positions=positions,
        slots=(table[positions // block_size] * block_size + positions % block_size).astype(
            np.int32
        ),
        context_lens=i32([start + n]),
        block_tables=table[None],
        seq_starts=i32([0, n]),
        rows=i32(range(n) if rows is None else rows),
        block_size=block_size,
    )
