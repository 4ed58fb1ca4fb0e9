"""Cache hit rate of the SGLang paper's workloads: the policy's, and the best there is.

Hit rate is the share of prompt tokens that were found in the cache.  The best is what one request
at a time reaches in a cache that never evicts: no two requests then compute the same tokens side by
side, and nothing is computed twice.

The card is the paper's A10G with a 7B model: about 16,000 tokens of cache.

>>> table = hits(scale=0.005, policies=("lpm",))
>>> all(0 <= row[2] <= row[3] + 1e-9 for row in table.rows)
True
"""

from collections.abc import Sequence

from refimpl.engine.limits import Limits
from refimpl.engine.policies import POLICIES, Policy
from refimpl.engine.scheduler import Scheduler
from refimpl.engine.simulate.clock import Program, serve
from refimpl.engine.simulate.table import Cell, Table
from refimpl.engine.simulate.workloads import workloads
from refimpl.kv.blocks import BlockPool
from refimpl.kv.tree import RadixMemory


def hits(
    *,
    n_slots: int = 16_000,
    scale: float = 1.0,
    policies: Sequence[str] = ("fcfs", "lpm", "dfs-weight"),
    at_once: int = 64,
    seed: int = 0,
) -> Table:
    """Hit rates by workload and policy, beside the best possible."""
    rows: list[tuple[Cell, ...]] = []
    for name in workloads(scale, seed):
        best = hit_rate(name, scale, seed, n_slots=1_000_000, at_once=1, seats=1)
        for policy in policies:
            rate = hit_rate(name, scale, seed, n_slots=n_slots, at_once=at_once, policy=policy)
            rows.append((name, policy, 100 * rate, 100 * best, 100 * rate / best if best else None))
    return Table(
        title="Prefix cache: percent of prompt tokens found in it",
        columns=("workload", "policy", "hit rate %", "best %", "of the best %"),
        rows=rows,
        notes=(
            "published: Zheng et al. 2024, section 6.2: 50 % to 99 % by workload, "
            "96 % of the best on average",
        ),
        x="policy",
        y="hit rate %",
        by="workload",
        options={"n_slots": n_slots, "scale": scale, "at_once": at_once, "seed": seed},
    )


def hit_rate(
    workload: str,
    scale: float,
    seed: int,
    *,
    n_slots: int,
    at_once: int,
    policy: str = "fcfs",
    seats: int = 256,
) -> float:
    memory = RadixMemory(BlockPool(n_blocks=n_slots, block_size=1))
    chosen: Policy = POLICIES[policy]()
    scheduler = Scheduler(memory, Limits(max_seqs=seats, max_batched_tokens=4096), policy=chosen)
    programs: list[Program] = list(workloads(scale, seed)[workload])
    requests = serve(scheduler, programs, at_once=at_once)
    n_prompt = sum(request.n_prompt for request in requests)
    return sum(request.n_cached for request in requests) / n_prompt
