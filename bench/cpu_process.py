"""What only a process of its own shows: memory, load time, the first token, a busy neighbour."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TINY = ROOT / "refimpl" / "data" / "tiny.gguf"


def child(engine: str, path: Path, n: int = 8, warm: bool = False) -> dict[str, float]:
    """Load, run 16 tokens and n more, in a new process."""
    command = [sys.executable, "-m", "bench.cpu_process", engine, str(path), str(n)]
    start = perf_counter()
    out = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    result: dict[str, float] = json.loads(out.splitlines()[-1])
    return {**result, "wall s": perf_counter() - start}


def run_child(engine: str, path: Path, n: int) -> None:
    """The child's side."""
    if engine == "memory":
        print(json.dumps({"load s": handed_out(path.stat().st_size), "peak MB": peak()}))
        return
    start = perf_counter()
    if engine == "ours":
        from bench.cpu_ours import Ours as Engine
    else:
        from bench.cpu_llama import Llama as Engine  # type: ignore[assignment]
    imported = perf_counter()
    model = Engine(path, threads=2, context=512)
    loaded = perf_counter()
    words = list(range(5, 21))
    model.run(words, list(range(16)), [0] * 16, [15])
    token = model.best(0)
    first = perf_counter()
    for i in range(n):
        model.run([token], [16 + i], [0], [0])
        token = model.best(0)
    result = {
        "import s": imported - start,
        "load s": loaded - imported,
        "first token s": first - start,
        "tokens/s": n / (perf_counter() - first),
        "peak MB": peak(),
    }
    print(json.dumps(result))


def peak() -> float:
    """The most memory this process ever had, in MB (Linux)."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    found = [int(line.split()[1]) / 1000 for line in lines if line.startswith("VmHWM")]
    return found[0] if found else float("nan")


def handed_out(size: int) -> float:
    """Seconds until the system has given two threads so much memory: at the first touch.

    Whoever moves weights when they are loaded waits at least so long.  A virtual machine may have
    to get its memory from the host: then it is seconds a gigabyte, and different from one minute to
    the next.
    """
    from backends.numba.memory import huge

    start = perf_counter()
    memory = huge(size)
    halves = memory[: size // 2 : 4096], memory[size // 2 :: 4096]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda half: half.fill(1), halves))
    return perf_counter() - start


def footprint(path: Path, rounds: int = 5) -> dict[str, Any]:
    """Load time and peak memory of both engines on one file, by turns; the medians.

    llama.cpp, which moves nothing here, runs before each of the others: neither of these gets the
    pages that the other has just given back.
    """
    child("ours", path)  # compiles, if nobody has
    engines = {"ours": "ours", "llama.cpp": "llama", "memory alone": "memory"}
    turns = []
    for _ in range(rounds):
        child("llama", path)
        turns.append({name: child(e, path) for name, e in engines.items()})
    size = path.stat().st_size / 1e6
    result: dict[str, Any] = {"file MB": size}
    for name in engines:
        result[name] = {k: median(t[name][k] for t in turns) for k in turns[0][name]}
    return {**result, "peak / file": result["ours"]["peak MB"] / size}


def embedded() -> dict[str, Any]:
    """The model that the package carries: the first token of a second process, and speed."""
    child("ours", TINY)
    return {"ours": child("ours", TINY, 200), "llama.cpp": child("llama", TINY, 200)}


def beside_a_busy_process(path: Path) -> dict[str, Any]:
    """Decoding alone, and with another process that never rests on one of the cores."""
    from bench.cpu_llama import Llama
    from bench.cpu_ours import Ours

    result: dict[str, Any] = {}
    for name, kind, n in (("ours", Ours, 24), ("llama.cpp", Llama, 8)):
        engine: Any = kind(path, threads=2, context=512)
        engine.run(list(range(5, 21)), list(range(16)), [0] * 16, [15])
        alone = speed(engine, n)
        core = sorted(os.sched_getaffinity(0))[0] if hasattr(os, "sched_getaffinity") else 0
        code = f"import os; os.sched_setaffinity(0, [{core}])\nwhile True: pass"
        busy = subprocess.Popen([sys.executable, "-c", code])
        try:
            beside = speed(engine, n)
        finally:
            busy.kill()
            busy.wait()
        result[name] = {"alone": alone, "beside": beside, "kept": beside / alone}
    return result


def speed(engine: Any, n: int) -> float:
    """Tokens per second, the median of three runs."""
    times = []
    for _ in range(3):
        start = perf_counter()
        for i in range(n):
            engine.run([7], [16 + i], [0], [0])
            engine.best(0)
        times.append(perf_counter() - start)
    return n / median(times)


if __name__ == "__main__":
    run_child(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
