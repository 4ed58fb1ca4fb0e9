"""What the engine's bookkeeping costs: a step by requests, a prompt by length, a cache by size.

    python bench/engine/cost.py [--quick] [--json docs/engine-cost.json]

No model runs.  Five curves, each with the growth exponent fitted to it (the slope of log cost over
log size: 0 is flat, 1 is linear):

- a decoding step (schedule, plan, commit) by the number of running requests, each 1,000 tokens
  long: microseconds for each request should not grow;
- the same with 256 running and ever more waiting;
- admitting a prompt by its length, in microseconds a token: blocks, names or tree, and the plan;
- taking and giving back blocks, by how many a table has, in microseconds a block;
- match, insert and evict in a cache of ever more tokens, in microseconds an operation.

Times are CPU times of this thread (other processes of the machine do not count), the least of
several repetitions.
"""

import argparse
import gc
import json
import platform
from collections.abc import Callable, Sequence
from math import log
from os import cpu_count
from pathlib import Path
from statistics import median
from time import thread_time
from typing import TypeVar

from refimpl.engine.batch import build_plan
from refimpl.engine.limits import Limits
from refimpl.engine.policies import Fcfs, LongestPrefix, Policy, Priority
from refimpl.engine.request import Request
from refimpl.engine.scheduler import Scheduler
from refimpl.engine.simulate.table import Table
from refimpl.engine.step import Outcome
from refimpl.kv.blocks import BlockPool, BlockTable
from refimpl.kv.hashed import HashedMemory
from refimpl.kv.lease import Memory
from refimpl.kv.prefix import BlockNames, PrefixCache
from refimpl.kv.radix import RadixTree
from refimpl.kv.tree import RadixMemory
from refimpl.sampling import Sampled, SamplingParams

MEMORIES: dict[str, type[Memory]] = {
    "none": Memory,
    "hashed": HashedMemory,
    "radix": RadixMemory,
}
T = TypeVar("T")
TOKEN = Sampled(token=1, logprob=0.0, drawn_logprob=0.0)


def one_step(scheduler: Scheduler) -> float:
    """Seconds of schedule, plan and commit; the outcomes, a backend's work, are not counted."""
    began = thread_time()
    step = scheduler.schedule()
    build_plan(step)
    planned = thread_time()
    outcomes = [Outcome([TOKEN] * len(share.draws)) for share in step.shares]
    ready = thread_time()
    scheduler.commit(step, outcomes)
    return thread_time() - ready + planned - began


BASE = list(range(20_000))  # prompts are cut from it, so that their numbers are shared objects
House = tuple[str, int]


def full_house(cache: str, n_running: int, n_waiting: int, policy: Policy) -> Scheduler:
    """A scheduler at work; those who wait never get in."""
    n_prompt, block_size = 1000, 16
    pool = BlockPool(n_blocks=n_running * (n_prompt // block_size + 24), block_size=block_size)
    limits = Limits(max_batched_tokens=1 << 30, max_seqs=n_running)
    scheduler = Scheduler(MEMORIES[cache](pool), limits, policy=policy)
    for i in range(n_running + n_waiting):
        n = n_prompt if i < n_running else 40
        prompt = tuple(BASE[i : i + n])
        scheduler.add(Request(id=str(i), prompt=prompt, params=SamplingParams(max_tokens=999)))
    one_step(scheduler)
    return scheduler


def in_turn(houses: dict[House, Scheduler], n_rounds: int = 20) -> dict[House, list[float]]:
    """A few steps of each, round after round: a busy neighbour then disturbs all alike."""
    times: dict[House, list[float]] = {house: [] for house in houses}
    gc.collect()
    gc.freeze()
    for _ in range(n_rounds):
        for house, scheduler in houses.items():
            n_steps = 1 if len(scheduler.running) > 1024 else 8
            times[house] += [one_step(scheduler) for _ in range(n_steps)]
    gc.unfreeze()
    return times


def admission(cache: str, n_prompt: int) -> float:
    """Seconds to admit and commit one prompt that shares half of itself with the one before."""
    pool = BlockPool(n_blocks=6 * (n_prompt // 16 + 2), block_size=16)
    scheduler = Scheduler(MEMORIES[cache](pool), Limits(max_batched_tokens=1 << 30))
    times = []
    for i in range(5):
        prompt = (*range(n_prompt // 2), *range(10**6 * (i + 1), 10**6 * (i + 1) + n_prompt // 2))
        scheduler.add(Request(id=str(i), prompt=prompt, params=SamplingParams(max_tokens=1)))
        times.append(one_step(scheduler))
    return min(times[1:])


def allocation(n_blocks: int) -> float:
    """Seconds a block to grow a table to so many, and to give them back."""
    pool = BlockPool(n_blocks=2 * n_blocks, block_size=16)
    times = []
    for _ in range(max(5, 4000 // n_blocks)):
        table = BlockTable(pool)
        began = thread_time()
        for _ in range(8):
            table.grow(2 * n_blocks)
        table.release()
        times.append((thread_time() - began) / n_blocks)
    return min(times)


def tree_operations(n_cached: int, n_each: int = 200) -> dict[str, float]:
    """Seconds of one match, insert and evict in a tree that holds n_cached tokens.

    Sequences of 400 tokens share their first 200 by tens, as questions share examples.
    """
    tree = RadixTree(page_size=1)
    pages = iter(range(1 << 40))

    def sequence(i: int) -> list[int]:
        shared, own = i // 10, 10**7 + 200 * i
        return [*range(200 * shared, 200 * shared + 200), *range(own, own + 200)]

    n = 0
    while tree.n_pages < n_cached:
        tree.insert(sequence(n), [next(pages) for _ in range(400)])
        n += 1
    new = [(sequence(n + i), [next(pages) for _ in range(400)]) for i in range(n_each)]
    old = [sequence(i * n // n_each) for i in range(n_each)]
    return {
        "radix match": timed(tree.match, old),
        "radix insert": timed(lambda case: tree.insert(*case), new),
        "radix evict": timed(tree.evict, [200] * (n_each // 2)),
    }


def hash_operations(n_cached: int, n_each: int = 200) -> dict[str, float]:
    """The same for blocks of 16 named by hashes; matching includes hashing the sequence."""
    pool = BlockPool(n_blocks=n_cached // 16 + 30, block_size=16)
    cache = PrefixCache(pool)

    def sequence(i: int) -> list[int]:
        shared, own = i // 10, 10**7 + 200 * i
        return [*range(200 * shared, 200 * shared + 208), *range(own, own + 192)]

    def insert(tokens: list[int]) -> None:
        names = BlockNames(tokens, block_size=16).upto(len(tokens))
        table = BlockTable(pool)
        table.adopt(cache.match(names))
        table.grow(len(tokens) - table.n_tokens)
        for block, name in zip(table.blocks, names, strict=False):
            cache.keep(block, name)
        table.release()

    n = 0
    while pool.n_free > 30:
        insert(sequence(n))
        n += 1
    new = [sequence(n + i) for i in range(n_each)]
    old = [sequence(i * n // n_each) for i in range(n_each)]

    def match(tokens: list[int]) -> None:
        cache.match(BlockNames(tokens, block_size=16).upto(len(tokens)))

    return {
        "hashed match": timed(match, old),
        "hashed insert and evict": timed(insert, new),
    }


def timed(act: Callable[[T], object], cases: Sequence[T], n_slices: int = 10) -> float:
    """Seconds a case: the least average of ten slices, as no case can be run twice."""
    size = -(-len(cases) // n_slices)
    averages = []
    for start in range(0, len(cases), size):
        slice_ = cases[start : start + size]
        began = thread_time()
        for case in slice_:
            act(case)
        averages.append((thread_time() - began) / len(slice_))
    return min(averages)


def exponent(points: Sequence[tuple[float, float]]) -> float:
    """The slope of log y over log x, by least squares."""
    xs, ys = [log(x) for x, _ in points], [log(y) for _, y in points]
    mx, my = sum(xs) / len(xs), sum(ys) / len(ys)
    covariance = sum((x - mx) * (y - my) for x, y in zip(xs, ys, strict=True))
    return covariance / sum((x - mx) ** 2 for x in xs)


def table_of(title: str, x: str, y: str, curves: dict[str, list[tuple[float, float]]]) -> Table:
    notes = tuple(
        f"{name}: grows as {x} to the power {exponent(points):+.2f}"
        for name, points in curves.items()
    )
    rows = [(name, px, py) for name, points in curves.items() for px, py in points]
    return Table(
        title=title, columns=("what", x, y), rows=rows, notes=notes, x=x, y=y, by="what", log_x=True
    )


def measure(quick: bool) -> list[Table]:
    counts = (16, 64, 256) if quick else (16, 64, 256, 1024, 4096, 10_000)
    waiting = (10, 100, 1000) if quick else (10, 100, 1000, 10_000)
    lengths = (256, 1024, 4096) if quick else (256, 1024, 4096, 16_384, 65_536)
    sizes = (10**4, 10**5) if quick else (10**4, 10**5, 10**6)
    times = in_turn({(c, n): full_house(c, n, 0, Fcfs()) for c in MEMORIES for n in counts})
    per_request = {c: [(n, 1e6 * min(times[c, n]) / n) for n in counts] for c in MEMORIES}
    whole = Table(
        title="A step of 256 running requests",
        columns=("cache", "ms, least", "ms, median"),
        rows=[
            (c, f"{1e3 * min(times[c, 256]):.2f}", f"{1e3 * median(times[c, 256]):.2f}")
            for c in MEMORIES
        ],
        x="cache",
        y="ms, least",
    )
    policies: dict[str, Callable[[], Policy]] = {
        "fcfs": Fcfs,
        "priority": Priority,
        "lpm": LongestPrefix,
    }
    times = in_turn(
        {(p, n): full_house("radix", 256, n, new()) for p, new in policies.items() for n in waiting}
    )
    queue = {p: [(n, 1e3 * min(times[p, n])) for n in waiting] for p in policies}
    blocks = {"take and give back": [(n, 1e6 * allocation(n)) for n in (16, *lengths)]}
    admitted = {name: [(n, 1e6 * admission(name, n) / n) for n in lengths] for name in MEMORIES}
    operations: dict[str, list[tuple[float, float]]] = {}
    for size in sizes:
        for name, seconds in {**tree_operations(size), **hash_operations(size)}.items():
            operations.setdefault(name, []).append((size, 1e6 * seconds))
    return [
        whole,
        table_of("A decoding step", "running requests", "us a request", per_request),
        table_of("The same, 256 running", "waiting requests", "ms a step", queue),
        table_of("Admitting a prompt", "tokens", "us a token", admitted),
        table_of("Taking and giving back blocks", "blocks", "us a block", blocks),
        table_of("Cache operations on 400 tokens", "tokens cached", "us each", operations),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    tables = measure(options.quick)
    for table in tables:
        print(table, end="\n\n")
    if options.json:
        machine = {"cpus": cpu_count(), "python": platform.python_version()}
        found = {"machine": machine, "tables": [json.loads(table.json()) for table in tables]}
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
