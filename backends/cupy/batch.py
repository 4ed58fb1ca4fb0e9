"""A plan on the device: what attention needs to know of a step's sequences, and of the model."""

from dataclasses import dataclass
from typing import Any

import cupy
import numpy as np
from numpy import ndarray

from backends.cupy.launch import SPLIT
from refimpl.kv.plan import Plan


@dataclass(frozen=True, kw_only=True, eq=False)
class Shape:
    """What all layers of a model have in common."""

    heads: int
    kv_heads: int
    dim: int
    cache: str
    block_size: int

    @property
    def group(self) -> int:
        return self.heads // self.kv_heads

    @property
    def on_tensor_cores(self) -> bool:
        return self.cache in ("float16", "bfloat16") and self.dim in (64, 128, 256)

    @property
    def half(self) -> int:
        return 16 if self.cache == "float16" else 8


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """A plan on the device, and what attention needs to know about it."""

    tokens: int
    sequences: int
    positions: Any
    slots: Any
    context_lens: Any
    seq_starts: Any
    tables: Any
    table_block: int
    """Slots of an entry of the tables."""
    decode: bool
    """Every sequence has one token (or none: a place in a bucket that nobody uses)."""
    splits: int
    """Of the longest context."""


def put_plan(plan: Plan) -> Batch:
    """A sequence is a run of tokens that see the same; in a tree of guesses, so is every branch."""
    starts, lens, tables, table_block = runs_of(plan)
    counts = np.diff(starts)
    return Batch(
        tokens=len(plan.tokens),
        sequences=len(counts),
        positions=cupy.asarray(plan.positions),
        slots=cupy.asarray(plan.slots),
        context_lens=cupy.asarray(lens),
        seq_starts=cupy.asarray(starts),
        tables=cupy.asarray(np.maximum(tables, 0)),
        table_block=table_block,
        decode=bool((counts == 1).all()),
        splits=-(-int(lens.max(initial=1)) // SPLIT),
    )


def runs_of(plan: Plan) -> tuple[ndarray, ndarray, ndarray, int]:
    """Where each run starts, how long its context is, its table, and the table's block."""
    if plan.tree_parents is None:
        return plan.seq_starts, plan.context_lens, plan.block_tables, plan.block_size
    runs = list(plan.sequences())
    starts = np.array([*(mine.start for mine, _ in runs), len(plan.tokens)], np.int32)
    lens = np.array([len(slots) for _, slots in runs], np.int32)
    tables = np.zeros((len(runs), int(lens.max(initial=0))), np.int32)
    for row, (_, slots) in zip(tables, runs, strict=True):
        row[: len(slots)] = slots
    return starts, lens, tables, 1
