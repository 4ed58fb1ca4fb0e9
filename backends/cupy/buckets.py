"""Which steps are replayed as a graph, and in which place of it each token stands.

A graph is for one token of each sequence.  Several tokens of one sequence can be told the same way,
as sequences that share a table: the first's context ends with itself, and so on.  All keys of a
step are stored before any is read, so a token still sees those before it, and none of those behind.
"""

import numpy as np
from jaxtyping import Int32
from numpy import ndarray

from refimpl.errors import InputError
from refimpl.kv.plan import Plan

BUCKETS = (1, 2, 4, 8, 16, 24, 32, 40, 48, 56, 64)
FEW_TOKENS = 16
"""So many of one sequence go side by side, each reading the whole context for itself."""


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


def one_token_each(plan: Plan) -> bool:
    """Does every sequence have one token, and is none a guess among others?"""
    return plan.tree_parents is None and len(plan.tokens) == len(plan.context_lens)


def replayable(plan: Plan) -> bool:
    """Is there a graph for it?  For few tokens of any sequences, or one of each of many."""
    return 0 < len(plan.tokens) <= FEW_TOKENS or one_token_each(plan)


def all_rows(plan: Plan) -> bool:
    """Does every token have logits?"""
    return len(plan.rows) == len(plan.tokens)


def table_block(plan: Plan) -> int:
    """Slots of an entry of `one_each`: a tree's tables are of single slots."""
    return plan.block_size if plan.tree_parents is None else 1


def one_each(plan: Plan) -> Int32[ndarray, "tokens blocks"]:
    """Each token's table: that of its sequence; in a tree of guesses, the slots that it sees.

    >>> plan = Plan(tokens=np.array([7, 8, 9], np.int32), positions=np.array([4, 5, 2], np.int32),
    ...     slots=np.array([4, 5, 10], np.int32), context_lens=np.array([6, 3], np.int32),
    ...     block_tables=np.array([[0, 1], [2, -1]], np.int32), block_size=4,
    ...     seq_starts=np.array([0, 2, 3], np.int32), rows=np.array([1, 2], np.int32))
    >>> one_each(plan).tolist(), replayable(plan), one_token_each(plan)
    ([[0, 1], [0, 1], [2, -1]], True, False)
    >>> from dataclasses import replace
    >>> one_each(replace(plan, tree_parents=np.array([-1, 0, -1], np.int32))).tolist()
    [[0, 1, 2, 3, 4, 0], [0, 1, 2, 3, 4, 5], [8, 9, 10, 0, 0, 0]]
    """
    if plan.tree_parents is None:
        tables: ndarray = np.repeat(plan.block_tables, np.diff(plan.seq_starts), axis=0)
        return tables
    tables = np.zeros((len(plan.tokens), int(plan.context_lens.max())), np.int32)
    for mine, slots in plan.sequences():
        past = len(slots) - (mine.stop - mine.start)
        for j in range(mine.start, mine.stop):
            seen = past + 1 + j - mine.start
            tables[j, :seen] = slots[:seen]
    return tables


def check_ahead(plan: Plan, n: int, vocab_size: int, most: int) -> None:
    """What several steps in one call ask for: kernels do not look where they write."""
    if n < 1 or not 1 <= vocab_size <= most:
        raise InputError(f"give one step or more, and a vocabulary of 1 .. {most} tokens")
    if plan.tree_parents is not None or not np.array_equal(plan.rows, plan.seq_starts[1:] - 1):
        raise InputError("to go on from a plan, its rows must be the last token of each sequence")
    room = plan.block_tables.shape[1] * plan.block_size
    if int(plan.context_lens.max()) + n - 1 > room:
        raise InputError(f"block tables have room for {room} tokens, which is too few for {n} more")
