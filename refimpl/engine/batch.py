"""From a step to the arrays of a `Plan`.

>>> from refimpl.engine.limits import Limits
>>> from refimpl.engine.request import Request
>>> from refimpl.engine.scheduler import Scheduler
>>> from refimpl.kv.blocks import BlockPool
>>> from refimpl.kv.lease import Memory
>>> from refimpl.sampling import SamplingParams
>>> scheduler = Scheduler(Memory(BlockPool(n_blocks=8, block_size=2)), Limits(max_batched_tokens=4))
>>> for id, prompt in (("a", (5, 6, 7)), ("b", (8, 9))):
...     scheduler.add(Request(id=id, prompt=prompt, params=SamplingParams()))
>>> plan = build_plan(scheduler.schedule())
>>> plan.tokens.tolist(), plan.positions.tolist(), plan.slots.tolist()
([5, 6, 7, 8], [0, 1, 2, 0], [0, 1, 2, 4])
>>> plan.seq_starts.tolist(), plan.block_tables.tolist(), plan.rows.tolist()
([0, 3, 4], [[0, 1], [2, -1]], [2])
"""

import numpy as np
from jaxtyping import Int32
from numpy import ndarray

from refimpl.engine.request import Request
from refimpl.engine.step import Share, Step
from refimpl.kv.plan import Plan

NONE = np.zeros(0, dtype=np.int32)
NOTHING = Plan(
    tokens=NONE,
    positions=NONE,
    slots=NONE,
    seq_starts=np.zeros(1, dtype=np.int32),
    context_lens=NONE,
    block_tables=np.zeros((0, 0), dtype=np.int32),
    rows=NONE,
    block_size=1,
)


def build_plan(step: Step, before: Step | None = None) -> Plan:
    """The arrays of a step; `before` is the step in flight, whose draws are not known yet."""
    shares = step.shares
    if not shares:
        return NOTHING
    draw_of = {} if before is None else {r: j for j, r in enumerate(before.draws)}
    block_size = shares[0].request.lease.memory.pool.block_size
    starts = np.array([share.start for share in shares], dtype=np.int32)
    counts = np.array([share.n + share.n_draft for share in shares], dtype=np.int32)
    seq_starts = np.zeros(len(shares) + 1, dtype=np.int32)
    np.cumsum(counts, out=seq_starts[1:])
    sequence = np.repeat(np.arange(len(shares)), counts)  # [tokens]: whose each token is
    places = np.arange(seq_starts[-1], dtype=np.int32) + (starts - seq_starts[:-1])[sequence]
    tables = padded_tables(shares, -(-(starts + counts) // block_size))
    parents = parents_of(shares)
    return Plan(
        tokens=np.array(tokens_of(shares, draw_of), dtype=np.int32),
        positions=places if parents is None else positions_of(shares),
        slots=tables[sequence, places // block_size] * block_size + places % block_size,
        context_lens=starts + counts,
        block_tables=tables,
        seq_starts=seq_starts,
        rows=rows_of(shares, seq_starts),
        block_size=block_size,
        tree_parents=parents,
    )


def parents_of(shares: list[Share]) -> Int32[ndarray, " tokens"] | None:
    """What each token follows within its share, if any draft is a tree."""
    if all(share.draft is None or share.draft.parents is None for share in shares):
        return None
    parents: list[int] = []
    for share in shares:
        parents += range(-1, share.n - 1)
        parents += [share.n + share.draft.parent(i) for i in range(share.n_draft) if share.draft]
    return np.array(parents, dtype=np.int32)


def positions_of(shares: list[Share]) -> Int32[ndarray, " tokens"]:
    """A draft's token stands as far behind the share's last as its path is long."""
    positions: list[int] = []
    for share in shares:
        positions += range(share.start, share.end)
        if share.draft:
            paths = (share.draft.path(i) for i in range(share.n_draft))
            positions += [share.end - 1 + len(path) for path in paths]
    return np.array(positions, dtype=np.int32)


def tokens_of(shares: list[Share], draw_of: dict[Request, int]) -> list[int]:
    """The tokens of all shares; those not known yet as -1 - (their draw in the step before)."""
    tokens: list[int] = []
    for share in shares:
        tokens += share.request.tokens[share.start : share.start + share.n]
        if share.pending:
            tokens.append(-1 - draw_of[share.request])
        if share.draft is not None:
            tokens += share.draft.tokens
    return tokens


def padded_tables(
    shares: list[Share], lengths: Int32[ndarray, " sequences"]
) -> Int32[ndarray, "sequences blocks"]:
    """Every share's block table, filled up with -1."""
    flat = b"".join([share.request.lease.table.blocks for share in shares])
    padded = np.full((len(shares), int(lengths.max())), -1, dtype=np.int32)
    padded[np.arange(padded.shape[1]) < lengths[:, None]] = np.frombuffer(flat, dtype=np.int32)
    return padded


def rows_of(
    shares: list[Share], seq_starts: Int32[ndarray, " boundaries"]
) -> Int32[ndarray, " rows"]:
    """The tokens whose logits are needed.

    The last of who draws, all of a draft, and all of a scored prompt.
    """
    ends = seq_starts[1:].tolist()
    wanted = {end - 1 for share, end in zip(shares, ends, strict=True) if share.draws}
    for share, first in zip(shares, seq_starts.tolist(), strict=False):
        if share.scored or share.draft:
            drafted = range(share.end - 1, share.end + share.n_draft - 1)
            wanted.update(first + place - share.start for place in (*share.scored, *drafted))
    return np.array(sorted(wanted), dtype=np.int32)
