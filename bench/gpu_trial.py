"""A changed CUDA backend's first call on a device: is it right, and what is each part worth?

    python -m bench.gpu_trial FOLDER                 on a GPU; 290 seconds at most

1. The tests of tests/device and conformance in four modes, each a process with its own time limit,
   side by side.  A test that was skipped is not green.
2. Models and products with every switch of `bench.gpu_knobs` in turn, alone on the GPU, a process a
   model: one that crashes costs the others nothing.
3. If all was green, the full record (`python -m bench.gpu --record`), as far as time goes.

FOLDER gets a log of each process, times.jsonl, summary.txt, and record.json.  Nothing here imports
CuPy, so that the tests have the GPU to themselves.
"""

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

PYTEST = ("-m", "pytest", "--tb=short", "-W", "ignore", "-p", "no:cacheprovider")
TESTS = "tests/device/test_"
SOME = "(Q8_0 or Q4_0 or Q5_0 or IQ4_NL)"
ROWS = (f"beside and {SOME}", f"beside and not {SOME}", "not beside")
"""Parts of one file, since compiling takes it long."""
MODES = ("none-float32", "q8-float16", "half-bfloat16", "none-q8_0")
MODELS = ("8B Q8_0", "8B Q4_K_M", "8B F16", "1B Q8_0")
RECORD_SECONDS = 160
RECORDED = Path("golden/devices/h200.json")


@dataclass(frozen=True, kw_only=True)
class Job:
    name: str
    args: tuple[str, ...]
    """Of Python."""
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Done:
    name: str
    green: bool
    seconds: float
    says: str
    """Its last line, or why there is none."""


def tests() -> list[Job]:
    """The parts to be judged first, each by the tests that compare its bits with older kernels'."""
    jobs = [
        *(
            Job(name=f"rows-{i}", args=(*PYTEST, f"{TESTS}rows.py", "-k", which), seconds=100)
            for i, which in enumerate(ROWS)
        ),
        Job(name="prompts", args=(*PYTEST, f"{TESTS}prompts.py"), seconds=80),
        Job(name="splits", args=(*PYTEST, f"{TESTS}splits.py"), seconds=80),
        Job(name="plain", args=(*PYTEST, f"{TESTS}plain.py"), seconds=80),
        Job(name="walks", args=(*PYTEST, f"{TESTS}walks.py"), seconds=80),
        Job(name="ahead", args=(*PYTEST, f"{TESTS}ahead.py"), seconds=80),
        Job(name="sampling", args=(*PYTEST, f"{TESTS}sampling.py"), seconds=80),
        Job(
            name="others",
            args=(*PYTEST, f"{TESTS}cupy.py", "-k", "not conformance"),
            seconds=80,
        ),
    ]
    if find_spec("numba"):
        jobs.append(Job(name="offload", args=(*PYTEST, f"{TESTS}offload.py"), seconds=100))
    return jobs


def conformance() -> list[Job]:
    nodes = {mode: f"{TESTS}cupy.py::test_conformance[{mode}]" for mode in MODES}
    return [
        Job(name=f"conformance-{mode}", args=(*PYTEST, node), seconds=100)
        for mode, node in nodes.items()
    ]


def run(job: Job, folder: Path, seconds: float) -> Done:
    """Run a job to its end, or to its limit or `seconds`; what it says goes to its log."""
    start, log = time.monotonic(), folder / f"{job.name.replace(' ', '_')}.log"
    with log.open("w") as file:
        try:
            limit = max(1.0, min(job.seconds, seconds))
            command = (sys.executable, *job.args)
            code = subprocess.run(command, stdout=file, stderr=file, timeout=limit).returncode
        except subprocess.TimeoutExpired:
            code = None
    text = log.read_text(errors="replace")
    says = text.strip().splitlines()[-1] if text.strip() else "said nothing"
    green = code == 0 and (PYTEST[1] not in job.args or all_passed(says))
    if code is None:
        says = f"not done in {limit:.0f} s; {says}"
    took = time.monotonic() - start
    return Done(name=job.name, green=green, seconds=took, says=says)


def all_passed(line: str) -> bool:
    """Does pytest's last line say so, of at least one test?

    >>> all_passed("17 passed in 20.1s"), all_passed("3 passed, 1 skipped in 2s")
    (True, False)
    >>> all_passed("16 skipped in 0.1s"), all_passed("1 failed, 2 passed in 2s")
    (False, False)
    >>> all_passed("17 passed, 4 deselected, 1 warning in 20.1s")
    True
    """
    return bool(re.fullmatch(r"\d+ passed(, \d+ (deselected|warnings?))* in .*", line))


def say(done: Done, folder: Path) -> None:
    click.echo(
        f"{'green' if done.green else 'RED  '} {done.name}: {done.seconds:.0f} s, {done.says}"
    )
    if not done.green:
        text = (folder / f"{done.name.replace(' ', '_')}.log").read_text(errors="replace")
        click.echo("\n".join(f"    {line}" for line in text.splitlines()[-25:]))
    sys.stdout.flush()


def side_by_side(jobs: Sequence[Job], folder: Path, seconds: float) -> list[Done]:
    with ThreadPoolExecutor(len(jobs)) as pool:
        results = []
        for done in pool.map(lambda job: run(job, folder, seconds), jobs):
            say(done, folder)
            results.append(done)
    return results


def timings(times: Path) -> list[Job]:
    to = ("--to", str(times))
    knobs = ("-m", "bench.gpu_knobs")
    jobs = [Job(name=f"times {m}", args=(*knobs, "models", m, *to), seconds=50) for m in MODELS]
    return [*jobs, Job(name="times products", args=(*knobs, "products", *to), seconds=40)]


def table(rows: Iterable[dict[str, Any]], recorded: dict[tuple[str, str], float]) -> str:
    """A line a measurement, beside the tree as it is.

    >>> row = {"of": "8B", "measure": "decode 1"}
    >>> print(table([{**row, "switch": "as it is", "found": 400.0},
    ...              {**row, "switch": "no rings", "found": 380.0}], {("8B", "decode 1"): 320.0}))
    8B, decode 1: 400 as it is; the last record says 320 (x1.250)
        no rings                                       380  x0.950
    """
    lines: dict[tuple[str, str], list[str]] = {}
    here: dict[tuple[str, str], float] = {}
    for row in rows:
        key, found = (row["of"], row["measure"]), row["found"]
        if key not in here:
            here[key], old = found, recorded.get(key)
            beside = f"; the last record says {old:.4g} (x{found / old:.3f})" if old else ""
            lines[key] = [f"{key[0]}, {key[1]}: {found:.4g} {row['switch']}{beside}"]
        else:
            lines[key].append(f"    {row['switch']:40} {found:9.4g}  x{found / here[key]:.3f}")
    return "\n".join(line for key in sorted(lines) for line in lines[key])


def recorded_times(path: Path = RECORDED) -> dict[tuple[str, str], float]:
    """(model, measure) -> tokens a second, of the last record."""
    if not path.exists():
        return {}
    rows = json.loads(path.read_text()).get("models", [])
    end = ": tokens/s"
    return {
        (row["model"], key.removesuffix(end)): value
        for row in rows
        for key, value in row.items()
        if key.endswith(end)
    }


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--seconds", default=290.0, show_default=True, help="Of all together.")
def main(folder: Path, seconds: float) -> None:
    """Test, time every switch, and record if all was green."""
    start = time.monotonic()

    def left() -> float:
        return seconds - (time.monotonic() - start)

    folder.mkdir(parents=True, exist_ok=True)
    times = folder / "times.jsonl"
    times.touch()
    green = all(done.green for done in side_by_side([*tests(), *conformance()], folder, left()))
    for job in timings(times):
        done = run(job, folder, left())
        green &= done.green
        say(done, folder)
    rows = [json.loads(line) for line in times.read_text().splitlines()]
    summary = table(rows, recorded_times())
    (folder / "summary.txt").write_text(summary + "\n")
    click.echo(summary)
    if not green or left() < RECORD_SECONDS:
        why = f"only {left():.0f} s are left" if green else "not all was green"
        click.echo(f"no record: {why}")
        raise SystemExit(0 if green else 1)
    args = ("-m", "bench.gpu", "--record", str(folder / "record.json"))
    say(run(Job(name="record", args=args, seconds=left()), folder, left()), folder)


if __name__ == "__main__":
    main()
