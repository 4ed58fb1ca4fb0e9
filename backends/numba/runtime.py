"""From a plan to a compiled step: buffers, and the struct that points to everything.

Buffers grow to the largest batch seen and are then reused: a step allocates its logits and nothing
else.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Float32, Int32
from numpy import ndarray

from backends.numba.ahead import greedy_steps
from backends.numba.attention import scratch_bytes
from backends.numba.cache import Cache
from backends.numba.memory import huge
from backends.numba.pool import Pool
from backends.numba.program import Program
from backends.numba.records import BUFFERS, PLAN, STEP
from backends.numba.step import step
from refimpl.errors import InputError
from refimpl.kv.plan import Plan
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


def plan_record(plan: Plan, tokens: Int32[ndarray, " tokens"]) -> tuple[ndarray, list[ndarray]]:
    """The plan as addresses, and the arrays behind them: copies, which `greedy_steps` changes."""
    arrays = {
        "tokens": tokens, "positions": plan.positions, "slots": plan.slots,
        "starts": plan.seq_starts, "tables": plan.block_tables, "rows": plan.rows,
    }  # fmt: skip
    kept = {name: np.array(x, np.int32, order="C") for name, x in arrays.items()}
    record = np.zeros((), PLAN)
    for name, x in kept.items():
        record[name] = x.ctypes.data
    record["n"], record["n_sequences"] = len(tokens), len(plan.context_lens)
    record["n_rows"], record["block_size"] = len(plan.rows), plan.block_size
    record["table_width"] = plan.block_tables.shape[1]
    return record, list(kept.values())


def check_plan(
    plan: Plan, tokens: ndarray, vocab_size: int, cache: Cache, *, n_steps: int = 1
) -> None:
    """Compiled code does not look where it writes: look here."""
    if len(tokens) and not 0 <= tokens.min() <= tokens.max() < vocab_size:
        raise InputError(f"token ids must lie in 0 .. {vocab_size - 1}")
    check_places(plan, cache, n_steps=n_steps)


def check_decoding(plan: Plan, n: int, vocab_size: int, most: int) -> None:
    """What `decode_greedily` asks for beyond a sound plan."""
    if n < 1 or not 1 <= vocab_size <= most:
        raise InputError(f"give one step or more, and a vocabulary of 1 .. {most} tokens")
    if plan.tree_parents is not None or not np.array_equal(plan.rows, plan.seq_starts[1:] - 1):
        raise InputError("to go on from a plan, its rows must be the last token of each sequence")


def check_places(plan: Plan, cache: Cache, *, n_steps: int = 1) -> None:
    """Slots, tables and rows: that they exist, also for the steps to come."""
    n = len(plan.slots)
    if n and not 0 <= plan.slots.min() <= plan.slots.max() < cache.n_slots:
        raise InputError(f"a slot lies outside the cache's {cache.n_slots}")
    if len(plan.rows) and not 0 <= plan.rows.min() <= plan.rows.max() < n:
        raise InputError(f"rows are numbers of tokens, 0 .. {n - 1}")
    counts = np.diff(plan.seq_starts)
    if n and (plan.positions.min() < 0 or (counts < 1).any() or counts.sum() != n):
        raise InputError("positions begin at 0, and every sequence of a plan has tokens")
    last = np.maximum.reduceat(plan.positions, plan.seq_starts[:-1]) if n else counts
    last = last + (n_steps - 1)
    needed = np.arange(plan.block_tables.shape[1]) <= last[:, None] // plan.block_size
    named = plan.block_tables[needed]
    wide_enough = not n or last.max() // plan.block_size < plan.block_tables.shape[1]
    if not wide_enough or (
        len(named) and not 0 <= named.min() <= named.max() < cache.n_slots // plan.block_size
    ):
        raise InputError("a block table lacks a block, or names one that the cache does not have")


def unfolded(plan: Plan) -> Plan:
    """A plan whose guesses branch, as one in which every token is a sequence of its own.

    What a token of a tree sees lies in slots that no table of blocks can name in order.  A table of
    single slots can: those of the past, then of its ancestors.  (`attention` gathers from blocks
    that are not whole pages, so this is slower; a step has few guesses.)
    """
    if plan.tree_parents is None:
        return plan
    lines = []
    for s, n in enumerate(np.diff(plan.seq_starts).tolist()):
        start, past = int(plan.seq_starts[s]), np.arange(plan.context_lens[s] - n)
        before = plan.block_tables[s][past // plan.block_size] * plan.block_size
        before = before + past % plan.block_size
        for j in range(n):
            own = plan.slots[start + np.array(plan.ancestors(s, j))]
            lines.append(np.concatenate([before, own]).astype(np.int32))
    lengths = np.array([len(line) for line in lines], np.int32)
    tables = np.full((len(lines), int(lengths.max(initial=1))), -1, np.int32)
    for table, line in zip(tables, lines, strict=True):
        table[: len(line)] = line
    return replace(
        plan,
        block_tables=tables,
        block_size=1,
        context_lens=lengths,
        seq_starts=np.arange(len(lines) + 1, dtype=np.int32),
        tree_parents=None,
    )


@dataclass(kw_only=True, eq=False)
class Runtime:
    """One program, its buffers, and the pool that runs it."""

    program: Program
    pool: Pool
    buffers: Buffers | None = None
    record: ndarray = field(default_factory=lambda: np.zeros(1, STEP))

    def run(
        self, plan: Plan, tokens: Int32[ndarray, " tokens"], cache: Cache, x: Stream | None = None
    ) -> Logits | Stream:
        """One step; the caller has checked the plan.

        Of a part of a model: from the stream x on, or up to it.
        """
        c = self.program.config
        logits, kept = self.prepare(plan, tokens, cache)
        assert self.buffers is not None
        stream = self.buffers.stream(len(tokens))
        if x is not None:
            stream[...] = 0.0  # as `embed` does: rows are filled up with zeros
            stream[:, : c.dim] = x
        self.pool.run(step, self.record.ctypes.data)
        del kept
        if not self.program.ends:
            return stream[:, : c.dim].copy()
        return logits[: len(plan.rows), : c.vocab_size]

    def decode_greedily(
        self, plan: Plan, cache: Cache, n: int, vocab_size: int
    ) -> Int32[ndarray, "sequences n"]:
        """n steps; the caller has checked that there is room for all of them."""
        chosen = np.empty((len(plan.context_lens), n), np.int32)
        _, kept = self.prepare(plan, plan.tokens, cache, n_steps=n)
        record: Any = self.record[0]
        record["n_steps"], record["vocab"], record["chosen"] = n, vocab_size, chosen.ctypes.data
        self.pool.run(greedy_steps, self.record.ctypes.data)
        del kept
        return chosen

    def prepare(
        self, plan: Plan, tokens: Int32[ndarray, " tokens"], cache: Cache, *, n_steps: int = 1
    ) -> tuple[Logits, list[ndarray]]:
        """Fill the record; what it points to and nobody else keeps is returned."""
        c = self.program.config
        self.program.reach(int(plan.positions.max()) + n_steps - 1)
        record: Any = self.record[0]
        if self.buffers is None or self.buffers.tokens < len(tokens):
            self.buffers = Buffers.for_model(
                c, self.program.columns, len(tokens), self.pool.threads, cache.width
            )
            record["buffers"] = self.buffers.record
        logits = np.empty((padded(len(plan.rows), 8), padded(c.vocab_size, 16)), np.float32)
        record["plan"], kept = plan_record(plan, tokens)
        record["cache"] = cache.record
        record["model"], record["barrier"] = self.program.table.ctypes.data, self.pool.board
        record["logits"], record["logits_bytes"] = logits.ctypes.data, logits.strides[0]
        self.program.taken[:] = 0
        return logits, kept
