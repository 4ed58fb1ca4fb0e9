"""Is the CUDA backend right on this GPU?  Its tests, the suite in four modes, and greedy texts.

python -m bench.gpu --only tests --only conformance --only greedy
"""

import json
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from backends.cupy import make_backend
from bench.gpu_record import say
from bench.gpu_trial import side_by_side, tests
from refimpl.kv.plan import Plan

MODES = (("none", "float32"), ("q8", "float16"), ("half", "bfloat16"), ("none", "q8_0"))


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
