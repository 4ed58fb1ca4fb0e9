"""A plan for a few short shares, written down token by token.

`build_plan` works on whole arrays, which pays for hundreds of requests.  A draft model runs ahead
with a plan of one token a request, several times a step; made with loops over Python's numbers, one
for a single request takes a fifth of the time.  The plans are equal.

>>> from refimpl.engine.request import Request
>>> from refimpl.kv.blocks import BlockPool
>>> from refimpl.kv.lease import Memory
>>> from refimpl.sampling import SamplingParams
>>> memory = Memory(BlockPool(n_blocks=8, block_size=2))
>>> request = Request(id="a", prompt=(5, 6, 7), params=SamplingParams())
>>> request.lease = memory.lease(request.tokens)
>>> request.lease.grow(3)
[]
>>> plan = small_plan([Share(request, 1, 2, (request,))])
>>> plan.tokens.tolist(), plan.positions.tolist(), plan.slots.tolist(), plan.rows.tolist()
([6, 7], [1, 2], [1, 2], [1])
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int32
from numpy import ndarray

from refimpl.engine.step import Share
from refimpl.kv.plan import Plan


def small_plan(shares: list[Share]) -> Plan:
    """`build_plan` of shares without drafts, whose tokens are known and whose last one draws."""
    tokens: list[int] = []
    positions: list[int] = []
    slots: list[int] = []
    ends = [0]
    block_size = shares[0].request.lease.memory.pool.block_size
    tables = [share.request.lease.table.blocks for share in shares]
    for share, blocks in zip(shares, tables, strict=True):
        tokens += share.request.tokens[share.start : share.end]
        for position in range(share.start, share.end):
            block, offset = divmod(position, block_size)
            positions.append(position)
            slots.append(blocks[block] * block_size + offset)
        ends.append(len(tokens))
    width = max(map(len, tables))
    return Plan(
        tokens=int32(tokens),
        positions=int32(positions),
        slots=int32(slots),
        context_lens=int32([share.end for share in shares]),
        block_tables=np.array(
            [[*blocks, *[-1] * (width - len(blocks))] for blocks in tables], dtype=np.int32
        ),
        seq_starts=int32(ends),
        rows=int32([end - 1 for end in ends[1:]]),
        block_size=block_size,
    )


def int32(values: Sequence[int]) -> Int32[ndarray, " n"]:
    return np.array(values, dtype=np.int32)
