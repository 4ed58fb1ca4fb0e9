"""A step as one CUDA graph, for batches of up to so many sequences and splits.

Launching 350 kernels from Python takes longer than running them.  So the launches of a step are
captured once, for static buffers, and replayed: what changes from step to step (tokens, positions,
slots, lengths, tables) is copied into the buffers first.  A batch takes the next larger bucket;
places that nobody uses have a context of 0 and no slot, and do nothing.  Neither bucket nor
neighbours change a bit of a sequence's logits.

A few tokens of one sequence, such as a draft to be verified, take a place each (`one_each`): a
token sees what it would see as the only one of its step, and gets the bits it would get.

Where nobody needs to look on, a step's tokens stay on the device (`DecodeGraph.go_on`).
"""

from copy import copy
from typing import Any
from weakref import WeakKeyDictionary

import cupy
import numpy as np

from backends.cupy.attention import Attention
from backends.cupy.batch import Batch, Shape
from backends.cupy.buckets import bucket, next_power, one_each
from backends.cupy.cache import DeviceCache
from backends.cupy.launch import SPLIT, Launcher
from backends.cupy.ops import Operations
from backends.cupy.step import Buffers, Step
from refimpl.kv.plan import Plan

Key = tuple[int, int, int, int, bool, int]
"""The model's id; places, splits, width, alone, slots of a table's entry."""


class DecodeGraph:
    """A step to be captured, and its inputs' buffers."""

    def __init__(
        self,
        ops: Operations,
        model: Any,
        cache: DeviceCache,
        shape: Shape,
        n: int,
        splits: int,
        width: int,
        alone: bool = True,
        table_block: int | None = None,
    ) -> None:
        """A table has `width` entries, of `table_block` slots each (without it, of a block's)."""
        self.launcher = ops.launcher
        self.inputs = cupy.zeros((4 + width) * n, np.int32)  # one copy brings them all
        self.ids, positions, slots, context_lens = self.inputs[: 4 * n].reshape(4, n)
        self.tables = self.inputs[4 * n :].reshape(n, width)
        slots.fill(-1)
        self.batch = Batch(
            tokens=n,
            sequences=n,
            positions=positions,
            slots=slots,
            context_lens=context_lens,
            seq_starts=cupy.arange(n + 1, dtype=np.int32),
            tables=self.tables,
            table_block=table_block or cache.block_size,
            decode=True,
            splits=splits,
        )
        buffers = Buffers(config=model.config, tokens=n, rows=n, launcher=ops.launcher)
        self.step = Step(ops, model, buffers)
        self.attention = Attention(ops.launcher, shape, self.batch, alone=alone)
        self.cache = copy(cache)  # its memory: who holds the cache itself would keep it alive
        self.logits: Any = None
        self.graph: Any = None

    def launch_all(self) -> Any:
        self.step.begin()
        return self.step.run(self.ids, self.batch, self.cache, self.attention)

    def capture(self) -> None:
        cupy.cuda.Device().synchronize()
        stream = cupy.cuda.Stream()
        with stream:
            stream.begin_capture()
            self.logits = self.launch_all()
            self.graph = stream.end_capture()

    def put(self, plan: Plan, x: Any = None) -> None:
        """The plan into the buffers, and of a part of a model the stream."""
        self.step.enter(x)
        n, (places, width) = len(plan.tokens), self.tables.shape
        inputs = np.zeros(self.inputs.shape, np.int32)
        rows, tables = inputs[: 4 * places].reshape(4, places), inputs[4 * places :]
        rows[2] = -1
        rows[:, :n] = plan.tokens, plan.positions, plan.slots, plan.positions + np.int32(1)
        mine = one_each(plan)[:, :width]
        tables.reshape(places, width)[:n, : mine.shape[1]] = np.maximum(mine, 0)
        self.inputs.set(inputs, stream=cupy.cuda.get_current_stream())  # waits for nothing

    def replay(self) -> None:
        """The step; its logits are in `logits`.

        The first time it is launched, which compiles, and allocates what a capture must not.  Only
        what comes a second time is captured.
        """
        if self.logits is None:
            self.logits = self.launch_all()
            return
        if self.graph is None:
            self.capture()
        self.graph.launch(cupy.cuda.get_current_stream())

    def go_on(self, chosen: Any) -> None:
        """The plan after these tokens, one for each sequence: nothing leaves the device."""
        b = self.batch
        self.launcher.run(
            self.launcher.kernels("advance"),
            (-(-len(chosen) // 64),),
            64,
            self.ids,
            b.positions,
            b.slots,
            b.context_lens,
            self.tables,
            chosen,
            len(chosen),
            self.tables.shape[1],
            b.table_block,
        )


class Graphs:
    """The graphs of a model and its cache, each made when it is first needed.

    They know where a cache lies, so they go when it goes.  (A model stays while one is left.)
    """

    def __init__(self) -> None:
        self.made: WeakKeyDictionary[DeviceCache, dict[Key, DecodeGraph]] = WeakKeyDictionary()

    def fitting(
        self,
        ops: Operations,
        model: Any,
        cache: DeviceCache,
        shape: Shape,
        *,
        tokens: int,
        longest: int,
        alone: bool,
        table_block: int,
    ) -> DecodeGraph | None:
        """The graph for so many tokens and such a context, or None where no bucket fits."""
        size = bucket(tokens)
        if size is None:
            return None
        splits = next_power(-(-longest // SPLIT))
        width = next_power(-(-longest // table_block))
        how = size, splits, width, alone, table_block
        key, made = (id(model), *how), self.made.setdefault(cache, {})
        if key not in made:
            made[key] = DecodeGraph(ops, model, cache, shape, *how)
        return made[key]


class Argmax:
    """logits[:, :vocab_size].argmax(axis=1) of up to so many rows."""

    def __init__(self, launcher: Launcher, rows: int) -> None:
        self.launcher = launcher
        self.best = cupy.zeros((rows, 2), np.uint64)

    def __call__(self, out: Any, logits: Any, vocab_size: int) -> None:
        self.launcher.run(
            self.launcher.kernels("argmax"),
            (-(-vocab_size // 4096), len(out)),
            256,
            out,
            self.best,
            logits,
            vocab_size,
            logits.shape[1],
        )
