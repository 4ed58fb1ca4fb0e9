"""A decoding step as one CUDA graph, for batches of up to so many sequences and splits.

Launching 350 kernels from Python takes longer than running them.  So the launches of a step are
captured once, for static buffers, and replayed: what changes from step to step (tokens, positions,
slots, lengths, tables) is copied into the buffers first.  A batch takes the next larger bucket;
places that nobody uses have a context of 0 and no slot, and do nothing.  Neither bucket nor
neighbours change a bit of a sequence's logits.
"""

from typing import Any

import cupy
import numpy as np
from jaxtyping import Int32
from numpy import ndarray

from backends.cupy.attention import Attention, Batch, Shape
from backends.cupy.cache import DeviceCache
from backends.cupy.launch import SPLIT
from backends.cupy.ops import Operations
from backends.cupy.step import Buffers, Step
from refimpl.kv.plan import Plan

BUCKETS = (1, 2, 4, 8, 16, 24, 32, 40, 48, 56, 64)


def bucket(n: int) -> int | None:
    """The smallest bucket for n sequences.

    >>> bucket(3), bucket(64), bucket(65)
    (4, 64, None)
    """
    return next((size for size in BUCKETS if n <= size), None)


def next_power(n: int) -> int:
    """
    >>> [next_power(n) for n in (1, 2, 3, 8, 9)]
    [1, 2, 4, 8, 16]
    """
    return 1 << max(0, n - 1).bit_length()


class DecodeGraph:
    """One captured step, and its inputs' buffers."""

    def __init__(
        self,
        ops: Operations,
        model: Any,
        cache: DeviceCache,
        shape: Shape,
        n: int,
        splits: int,
        width: int,
    ) -> None:
        self.ids = cupy.zeros(n, np.int32)
        self.tables = cupy.zeros((n, width), np.int32)
        self.batch = Batch(
            tokens=n,
            sequences=n,
            positions=cupy.zeros(n, np.int32),
            slots=cupy.full(n, -1, np.int32),
            context_lens=cupy.zeros(n, np.int32),
            seq_starts=cupy.arange(n + 1, dtype=np.int32),
            sequence_of=cupy.arange(n, dtype=np.int32),
            tables=self.tables,
            table_block=cache.block_size,
            decode=True,
            splits=splits,
        )
        buffers = Buffers(config=model.config, tokens=n, rows=n, launcher=ops.launcher)
        self.step = Step(ops, model, buffers)
        self.attention = Attention(ops.launcher, shape, self.batch, alone=True)
        self.launch_all(cache)  # compiles, and allocates what the capture must not
        cupy.cuda.Device().synchronize()
        stream = cupy.cuda.Stream()
        with stream:
            stream.begin_capture()
            self.logits = self.launch_all(cache)
            self.graph = stream.end_capture()

    def launch_all(self, cache: DeviceCache) -> Any:
        self.step.begin()
        return self.step.run(self.ids, self.batch, cache, self.attention)

    def put(self, plan: Plan, tokens: Int32[ndarray, " tokens"], x: Any = None) -> None:
        """The plan into the buffers, and of a part of a model the stream."""
        self.step.enter(x)
        n, b = len(tokens), self.batch
        for buffer, values, rest in (
            (self.ids, tokens, 0),
            (b.positions, plan.positions, 0),
            (b.slots, plan.slots, -1),
            (b.context_lens, plan.context_lens, 0),
        ):
            padded = np.full(len(buffer), rest, np.int32)
            padded[:n] = values
            buffer.set(padded)
        tables = np.zeros(self.tables.shape, np.int32)
        used = min(plan.block_tables.shape[1], tables.shape[1])
        tables[:n, :used] = np.maximum(plan.block_tables[:, :used], 0)
        self.tables.set(tables)

    def replay(self) -> None:
        self.graph.launch(cupy.cuda.get_current_stream())


class Graphs:
    """The graphs of a model and its cache, each captured when it is first needed."""

    def __init__(self) -> None:
        self.made: dict[tuple[Any, ...], DecodeGraph] = {}

    def step(
        self,
        ops: Operations,
        model: Any,
        cache: DeviceCache,
        shape: Shape,
        plan: Plan,
        tokens: ndarray,
        x: Any,
    ) -> Any:
        """What `Step.run` makes of a token for each sequence, or None where no bucket fits."""
        size = bucket(len(tokens))
        if size is None:
            return None
        longest = int(plan.context_lens.max())
        splits = next_power(-(-longest // SPLIT))
        width = next_power(-(-longest // cache.block_size))
        key = id(model), id(cache), size, splits, width
        if key not in self.made:
            self.made[key] = DecodeGraph(ops, model, cache, shape, size, splits, width)
        graph = self.made[key]
        graph.put(plan, tokens, x)
        graph.replay()
        return graph.logits[: len(tokens)].copy()
