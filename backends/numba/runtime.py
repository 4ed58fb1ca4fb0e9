"""From a checked plan to a compiled step: buffers, and the struct that points to everything.

Buffers grow to the largest batch seen and are then reused: a step allocates its logits and nothing
else.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float32, Int32
from numpy import ndarray

from backends.numba.ahead import greedy_steps
from backends.numba.attention import scratch_bytes
from backends.numba.cache import Cache
from backends.numba.memory import huge
from backends.numba.plans import CheckedPlan
from backends.numba.pool import Pool
from backends.numba.program import Program
from backends.numba.records import BUFFERS, STEP
from backends.numba.step import step
from refimpl.model.config import Config

Logits = Float32[ndarray, "rows vocab"]
Stream = Float32[ndarray, "tokens dim"]


def padded(n: int, to: int) -> int:
    return -(-n // to) * to


@dataclass(kw_only=True, eq=False)
class Buffers:
    """Room for `tokens` tokens of a model; every region begins on a cache line."""

    record: ndarray
    tokens: int
    memory: ndarray

    @classmethod
    def for_model(cls, c: Config, columns: int, tokens: int, threads: int, width: int) -> "Buffers":
        tokens = padded(tokens, 8)
        sizes = {
            "dim_bytes": 4 * padded(c.dim, 32),
            "q_bytes": 4 * padded(c.n_heads * c.head_dim, 32),
            "kv_bytes": 4 * padded(c.n_kv_heads * c.head_dim, 32),
            "ffn_bytes": 4 * padded(c.ffn_dim, 32),
            "scratch_bytes": padded(scratch_bytes(width), 64),
        }
        wide = padded(columns, 256)
        regions = {
            "x": sizes["dim_bytes"], "h": sizes["dim_bytes"], "q": sizes["q_bytes"],
            "a": sizes["q_bytes"], "k": sizes["kv_bytes"], "v": sizes["kv_bytes"],
            "gate": sizes["ffn_bytes"], "up": sizes["ffn_bytes"], "floats": 4 * wide,
            "halves": 4 * wide, "pairs": 2 * wide,
        }  # fmt: skip
        packed = {"codes": wide, "scales": wide // 8, "sums": wide // 32 * 12}
        total = tokens * (sum(regions.values()) + 2 * sum(packed.values()))
        memory = huge(total + threads * sizes["scratch_bytes"] + 64 * 32)
        record = np.zeros((), BUFFERS)
        place = padded(int(memory.ctypes.data), 64)

        def region(size: int) -> int:
            nonlocal place
            start, place = place, place + padded(size, 64)
            return start

        for name, size in sizes.items():
            record[name] = size
        for name, size in regions.items():
            record[name] = region(tokens * size)
        for kind in ("small", "large"):
            for name, size in packed.items():
                record[kind][name] = region(tokens * size)
        record["scratch"] = region(threads * sizes["scratch_bytes"])
        return cls(record=record, tokens=tokens, memory=memory)

    def stream(self, tokens: int) -> Float32[ndarray, "tokens padded_dim"]:
        """The residual stream of some tokens, where it lies."""
        start, size = int(self.record["x"]) - self.memory.ctypes.data, int(self.record["dim_bytes"])
        rows = self.memory[start : start + tokens * size].view(np.float32)
        return rows.reshape(tokens, size // 4)


@dataclass(kw_only=True, eq=False)
class Runtime:
    """One program, its buffers, and the pool that runs it."""

    program: Program
    pool: Pool
    buffers: Buffers | None = None
    record: ndarray = field(default_factory=lambda: np.zeros(1, STEP))

    def __post_init__(self) -> None:
        self.record["model"] = self.program.table.ctypes.data
        self.record["barrier"] = self.pool.board

    def run(self, plan: CheckedPlan, cache: Cache, x: Stream | None = None) -> Logits | Stream:
        """One step.  Of a part of a model: from the stream x on, or up to it."""
        c = self.program.config
        logits = self.prepare(plan, cache)
        assert self.buffers is not None
        if x is not None:
            stream = self.buffers.stream(plan.n)
            stream[...] = 0.0  # as `embed` does: rows are filled up with zeros
            stream[:, : c.dim] = x
        self.pool.run(step, self.record.ctypes.data)
        if not self.program.ends:
            return self.buffers.stream(plan.n)[:, : c.dim].copy()
        return logits[: plan.n_rows, : c.vocab_size]

    def decode_greedily(
        self, plan: CheckedPlan, cache: Cache, n: int, vocab_size: int
    ) -> Int32[ndarray, "sequences n"]:
        """n steps; the plan was checked for all of them."""
        chosen = np.empty((plan.n_sequences, n), np.int32)
        logits = self.prepare(plan, cache, n_steps=n)
        record: Any = self.record[0]
        record["n_steps"], record["vocab"], record["chosen"] = n, vocab_size, chosen.ctypes.data
        self.pool.run(greedy_steps, self.record.ctypes.data)
        del logits
        return chosen

    def prepare(self, plan: CheckedPlan, cache: Cache, *, n_steps: int = 1) -> Logits:
        """Fill the record; the logits will be written to what is returned."""
        c = self.program.config
        self.program.reach(plan.last + n_steps - 1)
        record: Any = self.record[0]
        if self.buffers is None or self.buffers.tokens < plan.n:
            self.buffers = Buffers.for_model(
                c, self.program.columns, plan.n, self.pool.threads, cache.width
            )
            record["buffers"] = self.buffers.record
        logits = np.empty((padded(plan.n_rows, 8), padded(c.vocab_size, 16)), np.float32)
        record["plan"], record["cache"] = plan.record, cache.record
        record["logits"], record["logits_bytes"] = logits.ctypes.data, logits.strides[0]
        self.program.taken[:] = 0
        return logits
