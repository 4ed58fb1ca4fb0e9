"""The CUDA backend on this machine's GPU: build, conform, time, and write the record.

    python -m bench.gpu --record golden/devices/h200.json      everything (four to six minutes)
    python -m bench.gpu --only models                          one part, printed
    ncu --clock-control none -k regex:... python -m bench.gpu --profile     kernels, once each

Times are medians of CUDA graph replays, between events, over several copies of the weights so that
no cache holds them.  Weights are random bits; scales are small.  Other engines take turns with this
one where they are installed (bench/gpu_peers.py).
"""

import json
import platform
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import date
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import cupy
import numpy as np

from backends.cupy import make_backend
from backends.cupy.nvrtc import version as nvrtc_version
from backends.cupy.record import SCHEMA, hashes
from bench.gpu_attention import CONTEXTS, attention_setup
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
from bench.gpu_timing import eager_time_of, time_of
from bench.gpu_trial import side_by_side, tests
from refimpl.kv.plan import Plan

MODES = (("none", "float32"), ("q8", "float16"), ("half", "bfloat16"), ("none", "q8_0"))
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


def conform_one(mode: tuple[str, str], examples: int) -> dict[str, Any]:
    """The suite in one mode, in a process of its own."""
    from refimpl.oracle import conform

    act, cache = mode
    report = conform(make_backend(act=act, cache=cache), examples=examples)
    rows = [
        {"check": f"{r.level}/{r.check}", "cases": r.cases, "worst": r.worst, "verdict": r.verdict}
        for r in report.rows
    ]
    return {"act": act, "cache": cache, "ok": report.ok, "rows": rows}


def conformance(examples: int = 25) -> list[dict[str, Any]]:
    with ProcessPoolExecutor(len(MODES), mp_context=get_context("spawn")) as pool:
        results = list(pool.map(conform_one, MODES, [examples] * len(MODES)))
    for result in results:
        failed = [row for row in result["rows"] if row["verdict"].startswith("FAILED")]
        worst = max((row["worst"] or 0) for row in result["rows"])
        say(
            f"conform act={result['act']} cache={result['cache']}",
            failed or f"{len(result['rows'])} checks, worst {worst:.2f} of a bound",
        )
    return results


def device_tests() -> list[dict[str, Any]]:
    """tests/device, apart from conformance and offload, in processes side by side."""
    jobs = [job for job in tests() if job.name != "offload"]
    with TemporaryDirectory() as folder:
        done = side_by_side(jobs, Path(folder), seconds=200)
    return [{"tests": one.name, "green": one.green, "says": one.says} for one in done]


def greedy() -> list[dict[str, Any]]:
    """The embedded models, greedily, against golden/tiny/greedy.json."""
    from refimpl.model.load import load

    cases = json.loads(Path("golden/tiny/greedy.json").read_text())["cases"]
    results = []
    for act, cache in (("none", "float32"), ("none", "float16")):
        backend = make_backend(act=act, cache=cache)
        for case in cases:
            model = backend.load(load(f"refimpl/data/{case['model']}.gguf").model)
            said = continue_greedily(backend, model, case["prompt"], len(case["tokens"]))
            same = said == case["tokens"]
            of = {"name": case["name"], "authority": case["authority"]}
            results.append({**of, "act": act, "cache": cache, "same": same})
            say(f"greedy {case['name']} cache={cache}", "same" if same else "DIFFERENT")
    return results


def continue_greedily(backend: Any, model: Any, prompt: list[int], most: int) -> list[int]:
    cache = backend.new_cache(model.config, n_blocks=64, block_size=16)
    tokens, done = list(prompt), 0
    while len(tokens) < len(prompt) + most:
        new = np.array(tokens[done:], np.int32)
        places = np.arange(done, len(tokens), dtype=np.int32)
        plan = Plan(
            tokens=new,
            positions=places,
            slots=places,
            block_size=16,
            context_lens=np.array([len(tokens)], np.int32),
            block_tables=np.arange(64, dtype=np.int32)[None],
            seq_starts=np.array([0, len(new)], np.int32),
            rows=np.array([len(new) - 1], np.int32),
        )
        logits = backend.host(backend.forward(model, plan, cache))
        done = len(tokens)
        tokens.append(int(logits[0].argmax()))
    return tokens[len(prompt) :]


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
    for sequences, context in DECODE:
        launch, n_bytes = attention_setup(sequences, context, 1)
        us = time_of([launch] * 10)
        rows.append(
            {
                "sequences": sequences,
                "context": context,
                "new": 1,
                "us": us,
                "GB/s": n_bytes / us / 1e3,
            }
        )
        say(f"attention {sequences} x {context}, decoding", rows[-1])
    launch, _ = attention_setup(1, 2048, 2048)
    us = time_of([launch] * 3)
    rows.append(
        {
            "sequences": 1,
            "context": 2048,
            "new": 2048,
            "us": us,
            "TFLOP/s": 2 * 2048**2 * 4096 / us / 1e6,
        }
    )
    say("attention 1 x 2048, prefill", rows[-1])
    return rows


def models() -> list[dict[str, Any]]:
    rows = []
    for name in MODELS:
        rows.append(model_times(name))
        say(name, rows[-1])
        cupy.get_default_memory_pool().free_all_blocks()
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


def machine() -> dict[str, Any]:
    properties = cupy.cuda.runtime.getDeviceProperties(0)
    packages = {}
    for name in ("cupy-cuda13x", "cupy-cuda12x", "numpy"):
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "gpu": properties["name"].decode(),
        "multiprocessors": properties["multiProcessorCount"],
        "CUDA driver API": cupy.cuda.runtime.driverGetVersion(),
        "CUDA runtime": cupy.cuda.runtime.runtimeGetVersion(),
        "nvrtc": nvrtc_version(),
        "python": platform.python_version(),
        **packages,
    }


def say(what: str, found: Any) -> None:
    if isinstance(found, dict):
        found = ", ".join(
            f"{v:.4g} {k}" if isinstance(v, float) else f"{k} {v}" for k, v in found.items()
        )
    click.echo(f"{what}: {found}")
    sys.stdout.flush()


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
    "peers": peers,
}


CHECKS = ("tests", "conformance")


def profile() -> None:
    """The kernels worth a look, for ncu: a few launches each."""
    for act, f, tokens in (
        ("q8", "Q8_0", 1),
        ("q8", "Q4_K", 1),
        ("half", "F16", 1),
        ("q8", "Q8_0", 64),
        ("half", "F16", 64),
        ("q8", "Q8_0", 2048),
        ("half", "F16", 2048),
    ):
        ops = make_backend(act=act).ops
        w = random_tiles(f, 14336, 4096)
        x = cupy.ones((tokens, 4096), np.float32)
        ops.launcher.linear(cupy.empty((tokens, 14336), np.float32), ops.prepared(x, w), w)
    attention_setup(64, 4096, 1)[0]()
    attention_setup(1, 2048, 2048)[0]()


@click.command()
@click.option("--record", type=click.Path(dir_okay=False, path_type=Path), help="Write it here.")
@click.option("--only", type=click.Choice(tuple(PARTS)), multiple=True, help="These parts.")
@click.option("--profile", "profiling", is_flag=True, help="Launch the main kernels, for ncu.")
def main(record: Path | None, only: tuple[str, ...], profiling: bool) -> None:
    """Everything there is to know about the CUDA backend on this GPU."""
    if profiling:
        profile()
        return
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


def write(record: Path, found: dict[str, Any]) -> None:
    head = {"schema": SCHEMA, "date": date.today().isoformat(), **machine(), "kernels": hashes()}
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_text(json.dumps({**head, **rounded(found)}, indent=1) + "\n")


def rounded(x: Any) -> Any:
    """Four digits of a measurement are more than it has."""
    if isinstance(x, dict):
        return {key: rounded(value) for key, value in x.items()}
    if isinstance(x, list):
        return [rounded(value) for value in x]
    return float(f"{x:.4g}") if isinstance(x, float) else x


if __name__ == "__main__":
    main()
