"""Several steps in one call: what a draft model does, or a greedy request nobody looks after.

`refimpl.backend.greedy_steps` is what it means.  Between two steps thread 0 chooses the tokens and
writes the next plan over the last one, while the others wait.
"""

from typing import Any

from backends.numba.atomics import LINE, barrier, write
from backends.numba.compile import entry, jit, jit_call
from backends.numba.records import model_at, step_at
from backends.numba.simd_memory import load_float, load_int, store_int
from backends.numba.step import one_step


@entry(3)
def greedy_steps(address: int, thread: int, threads: int) -> None:
    """The job: several steps, each after the tokens that the last one made most probable."""
    s = step_at(address)
    for i in range(s.n_steps):
        one_step(address, thread, threads)
        barrier(s.barrier, threads)
        if thread == 0:
            go_on(s, i)
            give_back_rows(s)
        barrier(s.barrier, threads)


@jit_call
def go_on(s: Any, i: int) -> None:
    """Choose a token for every sequence, and make the plan that of one token each.

    `refimpl.kv.plan.Plan.after`, in place: what is read of a sequence lies behind what was written
    of those before it.
    """
    p = s.plan
    for j in range(p.n_sequences):
        token = greatest(s.logits + j * s.logits_bytes, s.vocab)
        store_int(s.chosen + 4 * (j * s.n_steps + i), token)
        position = load_int(p.positions + 4 * load_int(p.rows + 4 * j)) + 1
        block, place = position // p.block_size, position % p.block_size
        if block < p.table_width:  # else this was the last step
            at = p.tables + 4 * (j * p.table_width + block)
            store_int(p.slots + 4 * j, load_int(at) * p.block_size + place)
        store_int(p.tokens + 4 * j, token)
        store_int(p.positions + 4 * j, position)
        store_int(p.rows + 4 * j, j)
        store_int(p.starts + 4 * j, j)
    store_int(p.starts + 4 * p.n_sequences, p.n_sequences)
    p.n = p.n_sequences


@jit_call
def give_back_rows(s: Any) -> None:
    """No group of rows of any matrix is taken yet."""
    m = model_at(s.model)
    for i in range(m.n_taken):
        write(m.taken + LINE * i, 0)


@jit
def greatest(row: int, n: int) -> int:
    """The place of the greatest of n floats, the first of equals (NaN counts as the greatest)."""
    best, found = load_float(row), 0
    for i in range(1, n):
        x = load_float(row + 4 * i)
        if not x <= best and best == best:
            best, found = x, i
    return found
