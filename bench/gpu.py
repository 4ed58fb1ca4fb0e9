"""The CUDA backend on this machine's GPU: build, conform, time, and write the record.

    python -m bench.gpu --record golden/devices/h200.json      everything (four to six minutes)
    python -m bench.gpu --only models                          one part, printed

Times are medians of CUDA graph replays, between events, over several copies of the weights so that
no cache holds them.  Weights are random bits; scales are small.  Other engines take turns with this
one where they are installed (bench/gpu_peers.py).
"""

import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
import cupy
import numpy as np

from backends.cupy import make_backend
from bench.gpu_attention import CONTEXTS, attention_setup
from bench.gpu_checks import conformance, device_tests, greedy
from bench.gpu_counters import counters
from bench.gpu_engine import engine
from bench.gpu_knobs import AS_IT_IS, ONE_RUN, turned
from bench.gpu_models import (
    MODELS,
    copies,
    model_times,
    prefill_time,
    random_model,
    random_tiles,
)
from bench.gpu_offload import offload_rows
from bench.gpu_peers import peer_rows
from bench.gpu_record import say, write
from bench.gpu_timing import eager_time_of, time_of

GEMV = (
    *(("q8", f) for f in ("Q8_0", "Q4_0", "Q5_0", "IQ4_NL", "MXFP4", "Q4_K", "Q5_K", "Q6_K")),
    ("half", "F16"),
    ("half", "BF16"),
    *(("none", f) for f in ("Q8_0", "Q4_K", "Q6_K", "F16", "F32")),
)
SHAPES = ((4096, 14336), (14336, 4096), (4096, 4096))
DECODE = (*CONTEXTS, (1, 256), (1, 1024))
SPECULATE = ("bench", "speculative", "--backend", "cupy", "-k", "7", "-n", "96")
READ = r"""extern "C" __global__ void read(const uint4* a, unsigned* out) {
  long long i = (long long)blockIdx.x * 2048 + threadIdx.x; uint4 v[8]; unsigned s = 0;
  for (int j = 0; j < 8; j++) v[j] = __ldcs(a + i + j * 256);
  for (int j = 0; j < 8; j++) s ^= v[j].x ^ v[j].y ^ v[j].z ^ v[j].w;
  if (s == 0x12345) *out = s; }"""


def order() -> list[dict[str, Any]]:
    """What it costs a prompt that a row is added up in eight runs, and not in one."""
    rows = []
    for name in ("8B Q8_0", "8B F16"):
        size, mixture, act = MODELS[name]
        model, _ = random_model(size, mixture)
        speeds = []
        for switch in (AS_IT_IS, ONE_RUN):
            with turned(switch):
                backend = make_backend(act=act, cache="float16")
                speeds.append(2048 / prefill_time(backend, model, 2048))
        rows.append({"model": name, "eight runs: tokens/s": speeds[0], "one": speeds[1]})
        say(f"a prompt of 2048, {name}", rows[-1])
    return rows


def ceilings() -> dict[str, float]:
    a, b = (cupy.empty(1 << 30, np.uint8) for _ in range(2))
    out, read = cupy.zeros(1, np.uint32), cupy.RawKernel(READ, "read")
    half = cupy.random.standard_normal((8192, 8192), dtype=np.float32).astype(np.float16)
    product = cupy.empty_like(half)
    grid = ((1 << 30) // 16 // 2048,)
    read_us = time_of(
        [lambda: read(grid, (256,), (a, out)), lambda: read(grid, (256,), (b, out))] * 5
    )
    matmul_us = eager_time_of(lambda: cupy.matmul(half, half, out=product))
    found = {
        "read GB/s": (1 << 30) / read_us / 1e3,
        "cuBLAS f16 TFLOP/s": 2 * 8192**3 / matmul_us / 1e6,
    }
    say("ceilings", found)
    return found


def gemv(act: str, format: str, rows: int, columns: int, tokens: int = 1) -> dict[str, Any]:
    ops = make_backend(act=act).ops
    weights = copies(random_tiles(format, rows, columns), 4 if tokens == 1 else 2)
    x = cupy.random.standard_normal((tokens, columns), dtype=np.float32)
    y, prepared = cupy.empty((tokens, rows), np.float32), ops.prepared(x, weights[0])
    launches = [partial(ops.launcher.linear, y, prepared, w) for w in weights * 5]
    us = time_of(launches)
    row = {
        "act": act,
        "format": format,
        "rows": rows,
        "columns": columns,
        "tokens": tokens,
        "us": us,
        "GB/s": weights[0].file_bytes / us / 1e3,
        "TFLOP/s": 2 * rows * columns * tokens / us / 1e6,
    }
    say(f"linear {act} {format} {rows} x {columns}, {tokens} tokens", row)
    return row


def linear() -> list[dict[str, Any]]:
    rows = [gemv(act, f, *shape) for act, f in GEMV for shape in SHAPES]
    for tokens in (8, 16, 64, 2048):
        rows += [
            gemv(act, f, 14336, 4096, tokens)
            for act, f in (("q8", "Q8_0"), ("q8", "Q4_K"), ("half", "F16"))
        ]
    return rows


def attention() -> list[dict[str, Any]]:
    rows = []
    for cache in ("float16", "q8_0", "float32"):
        for sequences, context in DECODE if cache == "float16" else CONTEXTS:
            launch, n_bytes = attention_setup(sequences, context, 1, cache)
            row = {"cache": cache, "sequences": sequences, "context": context, "new": 1}
            us = time_of([launch] * 10)
            rows.append({**row, "us": us, "GB/s": n_bytes / us / 1e3})
            say(f"attention {sequences} x {context}, {cache}, decoding", rows[-1])
        launch, _ = attention_setup(1, 2048, 2048, cache)
        row = {"cache": cache, "sequences": 1, "context": 2048, "new": 2048}
        us = time_of([launch] * 3)
        rows.append({**row, "us": us, "TFLOP/s": 2 * 2048**2 * 4096 / us / 1e6})
        say(f"attention 1 x 2048, {cache}, prefill", rows[-1])
    return rows


def models() -> list[dict[str, Any]]:
    rows = []
    for name in MODELS:
        rows.append(model_times(name))
        say(name, rows[-1])
        cupy.get_default_memory_pool().free_all_blocks()
    return rows


def counter_rows() -> list[dict[str, Any]]:
    """Without Nsight Compute, or where it may not read the device's counters, there are none."""
    try:
        rows = counters()
    except RuntimeError as e:
        say("counters", str(e))
        return []
    for row in rows:
        say("counters", row)
    return rows


def engine_rows() -> list[dict[str, Any]]:
    rows = engine()
    for row in rows:
        say(f"engine, {row['model']}, {row['sequences']} sequences", row)
    return rows


def speculation() -> list[dict[str, Any]]:
    """As a user would measure it."""
    command = [sys.executable, "cli.py", *SPECULATE, "--json"]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    kept = ("way", "tokens_per_step", "tokens_per_second", "speed_up", "is_same_text")
    rows = [{name: row[name] for name in kept} for row in json.loads(out)["rows"]]
    for row in rows:
        say("speculation", row)
    return rows


def peers() -> list[dict[str, Any]]:
    for name in ("llama_cpp", "flashinfer"):
        if find_spec(name) is None:
            say("peers", f"{name} is not installed")
    rows = []
    for row in peer_rows():
        rows.append(row)
        say(f"beside {row['peer']}, {row['what']}", row)
    return rows


def offload() -> list[dict[str, Any]]:
    """`-ngl`; without Numba there is no CPU to share the work with."""
    if find_spec("numba") is None:
        say("offload", "Numba is not installed")
        return []
    rows = []
    for row in offload_rows():
        rows.append(row)
        say(f"-ngl {row['gpu layers']}", row)
        cupy.get_default_memory_pool().free_all_blocks()
    return rows


PARTS: dict[str, Callable[[], Any]] = {
    "tests": device_tests,
    "conformance": conformance,
    "greedy": greedy,
    "ceilings": ceilings,
    "linear": linear,
    "attention": attention,
    "models": models,
    "order": order,
    "engine": engine_rows,
    "speculation": speculation,
    "offload": offload,
    "counters": counter_rows,
    "peers": peers,
}
CHECKS = ("tests", "conformance")


@click.command()
@click.option("--record", type=click.Path(dir_okay=False, path_type=Path), help="Write it here.")
@click.option("--only", type=click.Choice(tuple(PARTS)), multiple=True, help="These parts.")
def main(record: Path | None, only: tuple[str, ...]) -> None:
    """Everything there is to know about the CUDA backend on this GPU."""
    chosen = only or tuple(PARTS)
    found: dict[str, Any] = {"cases": []}
    with ThreadPoolExecutor() as pool:  # what is right may be found out side by side
        checks = {name: pool.submit(PARTS[name]) for name in CHECKS if name in chosen}
        found |= {name: check.result() for name, check in checks.items()}
    for name in PARTS:
        if name in chosen and name not in checks:
            found["cases" if name == "greedy" else name] = PARTS[name]()
            if record:  # so that a run that is cut off leaves what it has
                write(record, found)


if __name__ == "__main__":
    main()
