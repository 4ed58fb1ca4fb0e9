"""Blocks saved when n samples of a prompt share it (the paper's copy-on-write).

At every step: the distinct blocks that the samples of a prompt use, against the blocks they would
use if each had its own copy of everything.  The real scheduler forks the samples and the real pool
counts.

>>> table = sharing(n_requests=2, samples=(2, 6))
>>> saved = table.column("saved %")
>>> saved[0] < saved[1]                         # more samples share the prompt among them
True
"""

from collections.abc import Sequence
from itertools import product
from random import Random

from refimpl.engine.limits import Limits
from refimpl.engine.request import Request
from refimpl.engine.scheduler import Scheduler
from refimpl.engine.simulate.lengths import ALPACA, SHAREGPT, Lengths
from refimpl.engine.simulate.table import Cell, Table
from refimpl.engine.simulate.track import Track, untracked
from refimpl.engine.step import Outcome
from refimpl.kv.blocks import BlockPool
from refimpl.kv.lease import Memory
from refimpl.sampling import Sampled, SamplingParams

PUBLISHED = {  # figure 15a and section 6.3: the ends of the ranges, for 2 and for 6 samples
    ("Alpaca", 2): 6.1,
    ("Alpaca", 6): 9.8,
    ("ShareGPT", 2): 16.2,
    ("ShareGPT", 6): 30.5,
}
TOKEN = Sampled(token=0, logprob=0.0, drawn_logprob=0.0)


def sharing(
    *,
    n_requests: int = 200,
    samples: Sequence[int] = (2, 4, 6),
    block_size: int = 16,
    seed: int = 0,
    track: Track = untracked,
) -> Table:
    """Figure 15a of the vLLM paper."""
    rows: list[tuple[Cell, ...]] = []
    sources: dict[str, Lengths] = {"Alpaca": ALPACA, "ShareGPT": SHAREGPT}
    for name, n in track(list(product(sources, samples))):
        rng = Random(seed)
        asks = [sources[name](rng) for _ in range(n_requests)]
        rows.append((name, n, 100 * saved_share(asks, n, block_size), PUBLISHED.get((name, n))))
    return Table(
        title="Parallel sampling: percent of blocks saved by sharing",
        columns=("lengths", "samples", "saved %", "published %"),
        rows=rows,
        notes=("published: Kwon et al. 2023, figure 15a (OPT-13B)",),
        x="samples",
        y="saved %",
        by="lengths",
        options={"n_requests": n_requests, "block_size": block_size, "seed": seed},
    )


def saved_share(asks: Sequence[tuple[int, int]], n: int, block_size: int) -> float:
    """1 - blocks used / blocks used without sharing, over all steps of all requests."""
    used = unshared = 0
    for prompt, answer in asks:
        pool = BlockPool(n_blocks=n * (2 + (prompt + answer) // block_size), block_size=block_size)
        scheduler = Scheduler(Memory(pool), Limits(max_batched_tokens=1 << 20))
        scheduler.add(family(prompt, answer, n))
        while not scheduler.is_idle:
            step = scheduler.schedule()
            tables = [request.lease.table.blocks for request in scheduler.running.values()]
            if len(tables) == n:
                used += pool.n_blocks - pool.n_free
                unshared += sum(map(len, tables))
            scheduler.commit(step, [Outcome([TOKEN] * len(s.draws)) for s in step.shares])
    return 1 - used / max(1, unshared)


def family(prompt: int, answer: int, n: int) -> Request:
    """n samples of one prompt, which all answer at the same length."""
    params = SamplingParams(max_tokens=answer)
    first, *others = (
        Request(id=str(i), prompt=range(prompt), params=params, is_unborn=i > 0) for i in range(n)
    )
    first.unborn = others
    return first
