"""How fast the reference starts and streams, as a user sees it.

    python bench/generate.py [--runs 5] [--json PATH]

Whole processes: `refimpl --help` (wall time) and `refimpl generate` with the embedded model, whose
first token is timed from the start of the process.  The streaming speed is set beside the machine's
roofline for it: every token reads all the weights once, as float64, at the speed measured here for
`np.vecdot`, which does nothing else.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np

ROOT = Path(__file__).parent.parent


def help_seconds() -> float:
    began = perf_counter()
    subprocess.run([sys.executable, "cli.py", "--help"], cwd=ROOT, capture_output=True, check=True)
    return perf_counter() - began


def generate(n_tokens: int) -> tuple[float, float]:
    """(seconds from the start of the process to the first text, tokens a second after it)"""
    command = [sys.executable, "-u", "cli.py", "generate", "--json", "-s", "1", "--ignore-eos"]
    began = perf_counter()
    run = subprocess.run(
        [*command, "-n", str(n_tokens), "Once upon a time"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    whole = perf_counter() - began
    told = json.loads(run.stdout)
    after_first = told["seconds"] - told["seconds_to_first_token"]
    return whole - after_first, (n_tokens - 1) / after_first


def roofline(n_weights: int) -> float:
    """Tokens a second if reading the weights were all there is to do."""
    rows = np.random.default_rng(0).standard_normal((n_weights // 256, 256))
    x = np.random.default_rng(1).standard_normal(256)
    times = []
    for _ in range(7):
        began = perf_counter()
        np.vecdot(x, rows)
        times.append(perf_counter() - began)
    return 1 / median(times)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    from refimpl.model.find import embedded
    from refimpl.model.report import inspect_checkpoint

    n_weights = inspect_checkpoint(embedded("tiny")).n_weights
    helps = [help_seconds() for _ in range(args.runs)]
    runs = [generate(200) for _ in range(args.runs)]
    top = roofline(n_weights)
    result = {
        "weights": n_weights,
        "help_seconds": median(helps),
        "first_token_seconds": median(first for first, _ in runs),
        "tokens_per_second": median(speed for _, speed in runs),
        "roofline_tokens_per_second": top,
    }
    result["fraction_of_roofline"] = result["tokens_per_second"] / top
    for name, value in result.items():
        print(f"{name:28} {value:,.3f}")
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
