"""Cache hit rate of the SGLang paper's workloads: the policy's, and the best there is.

Hit rate is the share of prompt tokens that were found in the cache.  The best is what one request
at a time reaches in a cache that never evicts: no two requests then compute the same tokens side by
side, and nothing is computed twice.

The card is the paper's A10G with a 7B model: about 16,000 tokens of cache.

The last four rows check the simulation itself: shapes so simple that the best can be counted
(`refimpl.engine.simulate.counting`), served one request at a time.

>>> chat = chat_of([3, 3], n_output=2)          # sends 3 and 8 tokens, and finds 4 of the 8
>>> served_in_turn(iter([chat])) == 4 / 11
True
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import product

from refimpl.engine.limits import Limits
from refimpl.engine.policies import POLICIES, Policy
from refimpl.engine.scheduler import Scheduler
from refimpl.engine.simulate import counting
from refimpl.engine.simulate.clock import Program, chat_of, fresh_tokens, serve
from refimpl.engine.simulate.table import Cell, Table
from refimpl.engine.simulate.track import Track, untracked
from refimpl.engine.simulate.workloads import few_shot, workloads
from refimpl.kv.blocks import BlockPool
from refimpl.kv.tree import RadixMemory


def hits(
    *,
    n_slots: int = 16_000,
    scale: float = 1.0,
    policies: Sequence[str] = ("fcfs", "lpm", "dfs-weight"),
    at_once: int = 64,
    seed: int = 0,
    track: Track = untracked,
) -> Table:
    """Hit rates by workload and policy, beside the best possible."""
    rows: list[tuple[Cell, ...]] = []
    names, best = list(workloads(scale, seed)), 0.0
    for name, policy in track([*product(names, ("", *policies)), *product(COUNTED, [""])]):
        if name in COUNTED:
            programs, counted = COUNTED[name]
            rate = served_in_turn(programs(scale))
            rows.append((name, "one by one", 100 * rate, 100 * counted, 100 * rate / counted))
        elif not policy:
            best = served_in_turn(workloads(scale, seed)[name])
        else:
            rate = hit_rate(workloads(scale, seed)[name], n_slots, at_once, policy)
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
    programs: Iterator[Program], n_slots: int, at_once: int, policy: str, *, seats: int = 256
) -> float:
    """The share of all prompt tokens that was found."""
    memory = RadixMemory(BlockPool(n_blocks=n_slots, block_size=1))
    chosen: Policy = POLICIES[policy]()
    scheduler = Scheduler(memory, Limits(max_seqs=seats, max_batched_tokens=4096), policy=chosen)
    requests = serve(scheduler, programs, at_once=at_once)
    n_prompt = sum(request.n_prompt for request in requests)
    return sum(request.n_cached for request in requests) / n_prompt


def served_in_turn(programs: Iterator[Program]) -> float:
    """One request at a time, in a cache that never evicts."""
    return hit_rate(programs, 1_000_000, 1, "fcfs", seats=1)


def chats(n_output: int) -> Callable[[float], Iterator[Program]]:
    return lambda scale: iter([chat_of([384] * 4, n_output=n_output)])


def questions(n_examples: int, n_question: int, n: int) -> Callable[[float], Iterator[Program]]:
    fresh = fresh_tokens()
    examples = fresh(n_examples)
    return lambda scale: (
        few_shot(examples, fresh, n_question=n_question) for _ in range(max(1, round(n * scale)))
    )


COUNTED: dict[str, tuple[Callable[[float], Iterator[Program]], float]] = {
    "counted: chat, 384 in, 6 out": (chats(6), counting.chat(4, 384, 6)),
    "counted: chat, 384 in, 384 out": (chats(384), counting.chat(4, 384, 384)),
    "counted: 600 shared, 1000 asked": (
        questions(600, 100, 1000),
        counting.few_shot(600, 100, 1000),
    ),
    "counted: 1800 shared, 200 asked": (
        questions(1800, 20, 200),
        counting.few_shot(1800, 20, 200),
    ),
}
