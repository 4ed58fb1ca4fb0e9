"""How long a request waits that shares nothing with anybody, by scheduling policy.

A stream of hot requests shares a prompt of 512 tokens that is in the cache; one in `every` is cold
and matches nothing.  As many arrive as can be served, so the queue never runs dry, and a policy
that always prefers the longest match never comes to the cold ones while the stream lasts.

>>> mean = {row[0]: row[1] for row in starvation(n_passes=40, n_shared=64).rows}
>>> mean["fcfs"], mean["lpm"], mean["ageing, 64"]
(8.0, 25.5, 8.0)
"""

from refimpl.engine.limits import Limits
from refimpl.engine.policies import (
    Ageing,
    DfsWeight,
    Fcfs,
    HighestResponseRatio,
    LongestPrefix,
    Policy,
)
from refimpl.engine.request import Request
from refimpl.engine.scheduler import Scheduler
from refimpl.engine.simulate.table import Cell, Table
from refimpl.engine.simulate.track import Track, untracked
from refimpl.engine.step import Outcome
from refimpl.kv.blocks import BlockPool
from refimpl.kv.tree import RadixMemory
from refimpl.sampling import Sampled, SamplingParams

TOKEN = Sampled(token=0, logprob=0.0, drawn_logprob=0.0)


def starvation(
    *,
    n_passes: int = 400,
    n_shared: int = 512,
    every: int = 20,
    n_backlog: int = 8,
    track: Track = untracked,
) -> Table:
    """Passes over the queue that cold and hot requests waited; one is admitted in each pass."""
    policies: dict[str, Policy] = {
        "fcfs": Fcfs(),
        "lpm": LongestPrefix(),
        "dfs-weight": DfsWeight(),
        "hrrn": HighestResponseRatio(),
        **{f"ageing, {n}": Ageing(n_tokens=n) for n in (4, 16, 64)},
    }
    rows: list[tuple[Cell, ...]] = []
    for name, policy in track(list(policies.items())):
        cold, hot = waits(policy, n_passes, n_shared, every, n_backlog)
        rows.append((name, sum(cold) / len(cold), max(cold), sum(hot) / len(hot), max(hot)))
    return Table(
        title="Passes waited before admission",
        columns=("policy", "cold, mean", "cold, longest", "hot, mean", "hot, longest"),
        rows=rows,
        notes=(
            f"{n_passes} passes with one arrival each, one in {every} cold; {n_backlog} hot "
            "requests wait at the start, so there is always a choice",
        ),
        x="policy",
        y="cold, mean",
        options={"n_passes": n_passes, "n_shared": n_shared, "every": every},
    )


def waits(
    policy: Policy, n_passes: int, n_shared: int, every: int, n_backlog: int
) -> tuple[list[int], list[int]]:
    """How long the cold and the hot requests waited, each list in the order of arrival."""
    scheduler = Scheduler(
        RadixMemory(BlockPool(n_blocks=4 * n_shared + 8 * n_passes, block_size=1)),
        Limits(max_seqs=1, max_batched_tokens=1 << 20),
        policy=policy,
    )
    came: dict[str, int] = {}
    gone: dict[str, int] = {}
    now = 0
    while now < n_passes or not scheduler.is_idle:
        for _ in range((1 + n_backlog if now == 0 else 1) if now < n_passes else 0):
            i = len(came)
            is_cold = i % every == every - 1
            start = range(10**6 + 1000 * i, 10**6 + 1000 * i + 40) if is_cold else range(n_shared)
            id = f"{'cold' if is_cold else 'hot'} {i}"
            came[id] = now
            scheduler.add(
                Request(id=id, prompt=(*start, 10**9 + i), params=SamplingParams(max_tokens=1))
            )
        step = scheduler.schedule()
        gone |= {share.request.id: now for share in step.shares}
        scheduler.commit(step, [Outcome([TOKEN] * len(share.draws)) for share in step.shares])
        now += 1
    waited = {id: gone[id] - came[id] for id in came}
    cold = [n for id, n in waited.items() if id.startswith("cold")]
    hot = [n for id, n in waited.items() if id.startswith("hot")]
    return cold, hot
