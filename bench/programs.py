"""What sharing saves: the programs of `examples/` on the embedded model, with and without it.

    python bench/programs.py [--runs 3] [--json docs/programs.json]

Five engines, each with one thing more than the one before or without it:

    nothing       no prefix cache, every branch a prompt of its own, first come first served
    forks         equal prompts that come together are computed once, and forked
    cache         a radix tree finds what earlier requests have computed
    both          cache and forks
    all           and in cache-aware order: who could find more a step later waits for it

The texts must be the same on all of them, or this fails.  Counts are exact.  Times are the least of
the runs, which go in turn over the engines: wall time, and processor time, which a busy machine
disturbs less.  Both mean something only as ratios.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

from refimpl.engine.policies import Fcfs
from refimpl.lang import Local, run_batch
from refimpl.model.find import find_model
from refimpl.model.load import Loaded, load

ROOT = Path(__file__).parent.parent
EXAMPLES = (
    "summaries",
    "tree_of_thought",
    "self_consistency",
    "skeleton_of_thought",
    "judge",
    "chat",
    "few_shot",
)
ENGINES: dict[str, Callable[[Loaded], Local]] = {
    "nothing": lambda m: Local(m, cache="none", share_prompts=False, policy=Fcfs()),
    "forks": lambda m: Local(m, cache="none", policy=Fcfs()),
    "cache": lambda m: Local(m, share_prompts=False, policy=Fcfs()),
    "both": lambda m: Local(m, policy=Fcfs()),
    "all": Local,
}


def measure(model: Loaded, engine_name: str, example: str) -> tuple[dict[str, Any], list[str]]:
    """One run in a fresh engine: what it cost, and all its texts."""
    engine = ENGINES[engine_name](model)
    jobs = import_module(f"examples.{example}").jobs()

    async def work() -> list[Any]:
        async with engine:
            return await run_batch(jobs, engine)

    began, busy = perf_counter(), process_time()
    done = asyncio.run(work())
    seconds, cpu = perf_counter() - began, process_time() - busy
    counts = engine.counts
    return {
        "requests": counts.n_requests,
        "prompt": counts.n_prompt,
        "prefilled": counts.n_prefilled,
        "decoded": counts.n_decoded,
        "steps": counts.steps,
        "hit_rate": counts.hit_rate,
        "seconds": seconds,
        "cpu": cpu,
    }, [one.text for one in done]


def compare(model: Loaded, example: str, runs: int) -> dict[str, Any]:
    """Every engine, in turn, `runs` times."""
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in ENGINES}
    texts: list[list[str]] = []
    for _ in range(runs):
        for name in ENGINES:
            told, said = measure(model, name, example)
            results[name].append(told)
            texts.append(said)
    if any(said != texts[0] for said in texts):
        raise SystemExit(f"{example}: the engines do not say the same")
    return {
        name: told[0] | {key: min(one[key] for one in told) for key in ("seconds", "cpu")}
        for name, told in results.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))  # the examples are no package, and are not installed
    model = load(find_model("tiny"))
    measured = {}
    for example in EXAMPLES:
        measured[example] = compare(model, example, options.runs)
        print(f"\n{example}")
        for name, told in measured[example].items():
            print(
                f"  {name:8} prompt {told['prompt']:5}  computed {told['prefilled']:5}  "
                f"hits {told['hit_rate']:6.1%}  steps {told['steps']:4}  "
                f"{told['seconds']:6.2f} s, of the processor {told['cpu']:6.2f} s"
            )
    if options.json:
        options.json.write_text(json.dumps(measured, indent=1) + "\n")


if __name__ == "__main__":
    main()
