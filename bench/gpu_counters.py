"""What Nsight Compute's counters say of the main kernels: how busy they keep what they use.

    python -m bench.gpu --only counters        runs `ncu` around this file, and reads its table

A kernel alone begins with nothing in flight, so it shows less of the memory's speed than in a
graph.  Nothing here imports CuPy but the process that is looked at.
"""

import csv
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

ROWS, COLUMNS = 14336, 4096
LINEAR = (
    ("q8", "Q8_0", 1),
    ("q8", "Q4_K", 1),
    ("half", "F16", 1),
    ("q8", "Q8_0", 64),
    ("half", "F16", 64),
    ("q8", "Q8_0", 2048),
    ("half", "F16", 2048),
)
ATTEND = ((64, 4096, 1), (256, 1024, 1), (1, 32768, 1), (1, 2048, 2048))
SECTIONS = ("SpeedOfLight", "Occupancy", "ComputeWorkloadAnalysis", "WarpStateStats")
NCU = (
    "ncu", "--csv", "--page", "raw", "--print-units", "base", "--clock-control", "none",
    "-k", "regex:^(linear|attend)_(?!combine)", *(x for s in SECTIONS for x in ("--section", s)),
)  # fmt: skip
COUNTERS = {
    "us": r"gpu__time_duration\.sum",
    "memory busy %": r"(gpu__)?dram__?throughput\.avg\.pct_of_peak_sustained_elapsed",
    "tensor cores busy %": r"sm__pipe_tensor_cycles_active\.avg\.pct_of_peak_sustained_elapsed",
    "issue slots used %": r"sm__inst_issued\.avg\.pct_of_peak_sustained_elapsed",
    "warps resident %": r"sm__warps_active\.avg\.pct_of_peak_sustained_active",
}
"""The names of what is kept, and of Nsight Compute's metrics."""
STALLED = r"smsp__average_warps_issue_stalled_(\w+)_per_issue_active\.ratio"
NO_WAIT = ("selected", "not_selected")  # the warp was issued, or another one


def cases() -> Iterable[tuple[str, Callable[[], Any]]]:
    """What is looked at: one launch each of a kernel whose name the pattern above takes."""
    import cupy

    from backends.cupy import make_backend
    from bench.gpu_attention import attention_setup
    from bench.gpu_models import random_tiles

    for act, f, tokens in LINEAR:
        ops, w = make_backend(act=act).ops, random_tiles(f, ROWS, COLUMNS)
        x = ops.prepared(cupy.ones((tokens, COLUMNS), "float32"), w)
        launch = partial(ops.launcher.linear, cupy.empty((tokens, ROWS), "float32"), x, w)
        yield f"{f}, {tokens} token{'s' * (tokens > 1)}", launch
    for sequences, context, new in ATTEND:
        name = f"attention {sequences} x {context}, " + ("decoding" if new == 1 else "a prompt")
        yield name, attention_setup(sequences, context, new)[0]


def counters() -> list[dict[str, Any]]:
    """A row a case, or none where the counters can't be read."""
    if shutil.which(NCU[0]) is None:
        return []
    command = (*NCU, sys.executable, "-m", "bench.gpu_counters")
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    names = re.findall(r"^case: (.*)$", done.stdout, re.MULTILINE)
    found = list(read(done.stdout))
    if done.returncode or len(found) != len(names):
        raise RuntimeError(f"ncu: {len(found)} kernels of {len(names)}: {done.stdout[-500:]}")
    return [{"what": name, **row} for name, row in zip(names, found, strict=True)]


def read(text: str) -> Iterable[dict[str, Any]]:
    """The rows of ncu's table: names, then units, then a line a kernel.

    >>> head = '"ID","Kernel Name","gpu__time_duration.sum",'
    >>> head += '"smsp__average_warps_issue_stalled_barrier_per_issue_active.ratio"'
    >>> list(read(head + chr(10) + '"","","ns","inst"' + chr(10) + '"0","attend_x","2,500","3.5"'))
    [{'kernel': 'attend_x', 'us': 2.5, 'waits for': 'barrier', 'of warps waiting %': 100.0}]
    """
    lines = [line for line in text.splitlines() if line.startswith('"')]
    for row in list(csv.DictReader(lines))[1:]:
        numbers = {name: number(value) for name, value in row.items()}
        out: dict[str, Any] = {"kernel": row["Kernel Name"].split("(")[0]}
        for name, pattern in COUNTERS.items():
            values = [x for metric, x in numbers.items() if re.fullmatch(pattern, metric)]
            out |= {name: values[0] / 1000 if name == "us" else values[0]} if values else {}
        stalls = {m[1]: x for metric, x in numbers.items() if (m := re.fullmatch(STALLED, metric))}
        waits = {reason: x for reason, x in stalls.items() if is_wait(reason)}
        if total := sum(waits.values()):
            most = max(waits, key=waits.__getitem__)
            out |= {"waits for": most, "of warps waiting %": 100 * waits[most] / total}
        yield out


def is_wait(reason: str) -> bool:
    return reason not in NO_WAIT and not reason.endswith("_not_issued")


def number(text: str) -> float:
    try:
        return float(text.replace(",", ""))
    except ValueError:
        return 0.0


if __name__ == "__main__":
    for name, launch in cases():
        print("case:", name, flush=True)
        launch()
