"""A plan as compiled code reads it: its arrays one after another in one array, looked over.

Compiled code does not look where it writes, so every slot, block and row is looked at here first,
also those of the steps to come.  A step of a small model takes a few hundred microseconds, and a
dozen calls of NumPy would be a tenth of that: it is one copy of each array, and one call.

>>> from types import SimpleNamespace
>>> one = np.zeros(1, np.int32)
>>> plan = Plan(tokens=one, positions=one, slots=one, context_lens=one + 1, block_size=16,
...             block_tables=one[None], seq_starts=np.int32([0, 1]), rows=one)
>>> cache = SimpleNamespace(n_slots=16)
>>> checked_plan(plan, one, cache, vocab_size=8).n_rows
1
>>> checked_plan(plan, one + 8, cache, vocab_size=8)
Traceback (most recent call last):
refimpl.errors.InputError: token ids must lie in 0 .. 7
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Int32
from numpy import ndarray

from backends.numba.compile import entry, jit_call
from backends.numba.records import PLAN, plan_at
from backends.numba.simd_memory import load_int
from refimpl.errors import InputError
from refimpl.kv.plan import Plan

TOKEN, SLOT, ROW, STARTS, POSITION, BLOCK = range(1, 7)
"""What may be wrong with a plan."""
ANY_TOKEN = 1 << 31


@dataclass(frozen=True, kw_only=True, eq=False)
class CheckedPlan:
    """The struct, and the copies that it points to, which `greedy_steps` changes."""

    record: ndarray
    words: Int32[ndarray, " words"]
    n: int
    n_sequences: int
    n_rows: int
    last: int
    """The greatest position."""


def checked_plan(
    plan: Plan,
    tokens: Int32[ndarray, " tokens"],
    cache: Any,
    *,
    vocab_size: int = ANY_TOKEN,
    n_steps: int = 1,
) -> CheckedPlan:
    """A plan of chains (`unfolded`) that leads nowhere but into the cache's slots."""
    parts = (tokens, plan.positions, plan.slots, plan.seq_starts, plan.block_tables, plan.rows)
    sizes = [part.size for part in parts]
    n, n_sequences, n_rows = sizes[0], sizes[3] - 1, sizes[5]
    if sizes[1] != n or sizes[2] != n or len(plan.block_tables) != n_sequences:
        raise InputError(
            "a plan has a position and a slot for each token, and a table for each sequence"
        )
    words = np.empty(sum(sizes), np.int32)
    start, places, address = 0, [], words.ctypes.data
    for part, size in zip(parts, sizes, strict=True):
        words[start : start + size] = part if part.ndim == 1 else part.ravel()
        places.append(address + 4 * start)
        start += size
    width = plan.block_tables.shape[1]
    fields = n, n_sequences, n_rows, *places[:5], width, plan.block_size, places[5]
    record = np.array((*fields, 0, 0), PLAN)
    look_over(record.ctypes.data, cache.n_slots, vocab_size, n_steps)
    *_, wrong, last = record.item()
    if wrong:
        raise InputError(complaint(wrong, n, vocab_size, cache.n_slots))
    return CheckedPlan(
        record=record, words=words, n=n, n_sequences=n_sequences, n_rows=n_rows, last=last
    )


def complaint(wrong: int, n: int, vocab_size: int, n_slots: int) -> str:
    return {
        TOKEN: f"token ids must lie in 0 .. {vocab_size - 1}",
        SLOT: f"a slot lies outside the cache's {n_slots}",
        ROW: f"rows are numbers of tokens, 0 .. {n - 1}",
        STARTS: "every sequence of a plan has tokens, and every token a sequence",
        POSITION: "positions begin at 0",
        BLOCK: "a block table lacks a block, or names one that the cache does not have",
    }[wrong]


@entry(4)
def look_over(address: int, n_slots: int, vocab_size: int, n_steps: int) -> None:
    """Note in the plan what is wrong with it (0: nothing), and its greatest position."""
    p = plan_at(address)
    wrong, last = 0, 0
    if outside(p.tokens, p.n, vocab_size):
        wrong = TOKEN
    elif outside(p.slots, p.n, n_slots):
        wrong = SLOT
    elif outside(p.rows, p.n_rows, p.n):
        wrong = ROW
    elif p.n > 0:
        wrong, last = look_at_tables(p, n_slots // p.block_size, n_steps)
    p.wrong, p.last = wrong, last


@jit_call
def outside(numbers: int, n: int, end: int) -> bool:
    """Is one of n numbers not in 0 .. end - 1?"""
    found = False
    for i in range(n):
        found |= not 0 <= load_int(numbers + 4 * i) < end
    return found


@jit_call
def look_at_tables(p: Any, n_blocks: int, n_steps: int) -> tuple[int, int]:
    """The same of sequences, their positions, and the blocks they need."""
    greatest, start = 0, 0
    if load_int(p.starts) != 0 or load_int(p.starts + 4 * p.n_sequences) != p.n:
        return STARTS, 0
    for s in range(p.n_sequences):
        stop, last = load_int(p.starts + 4 * (s + 1)), 0
        if not start < stop <= p.n:
            return STARTS, 0
        for t in range(start, stop):
            position = load_int(p.positions + 4 * t)
            if position < 0:
                return POSITION, 0
            last = max(last, position)
        needed = (last + n_steps - 1) // p.block_size + 1
        line = p.tables + 4 * s * p.table_width
        if needed > p.table_width or outside(line, needed, n_blocks):
            return BLOCK, 0
        greatest, start = max(greatest, last), stop
    return 0, greatest


def check_decoding(plan: Plan, n: int, vocab_size: int, most: int) -> None:
    """What `decode_greedily` asks for beyond a sound plan."""
    if n < 1 or not 1 <= vocab_size <= most:
        raise InputError(f"give one step or more, and a vocabulary of 1 .. {most} tokens")
    if plan.tree_parents is not None or not np.array_equal(plan.rows, plan.seq_starts[1:] - 1):
        raise InputError("to go on from a plan, its rows must be the last token of each sequence")


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
