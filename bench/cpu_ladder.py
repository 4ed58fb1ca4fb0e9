"""What each idea buys: one product, computed in ever better ways, and one whole step.

    python bench/cpu_ladder.py [--json docs/cpu.json]

The product is an 8192 x 2048 matrix in Q8_0 times one token, 18 MB of weights, on one thread unless
said otherwise; times are the best of many runs, since a neighbour can only make them worse.
`docs/make_cpu.py` makes the page of it.
"""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy

import click
import numpy as np
from numba import njit

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from backends.numba import make_backend  # noqa: E402
from refimpl.formats.quants import Packed, block_type  # noqa: E402
from refimpl.ops.reference import Reference  # noqa: E402

ROWS, COLUMNS = 8192, 2048


def best(f: Callable[[], Any], seconds: float = 1.0) -> float:
    """The shortest of the runs that fit into some time, three at least."""
    f()
    found, start = [], perf_counter()
    while len(found) < 3 or perf_counter() - start < seconds:
        t = perf_counter()
        f()
        found.append(perf_counter() - t)
    return min(found)


@njit(nogil=True)
def plain_loops(codes: Any, scales: Any, x: Any, y: Any) -> None:
    """Q8_0 as one would write it: a row, its blocks, their weights."""
    for row in range(codes.shape[0]):
        total = np.float32(0)
        for block in range(codes.shape[1]):
            part = np.float32(0)
            for i in range(32):
                part += np.float32(codes[row, block, i]) * x[32 * block + i]
            total += scales[row, block] * part
        y[row] = total


def weights() -> Packed:
    rng = np.random.default_rng(0)
    kind = block_type("Q8_0")
    assert kind.quantize is not None
    blocks = kind.quantize(rng.standard_normal((ROWS, COLUMNS // 32, 32)).astype(np.float32))
    return Packed(type=kind, blocks=blocks)


def ladder() -> list[dict[str, Any]]:
    """Every step: what it is, and its time for one token."""
    w, x = weights(), np.random.default_rng(1).standard_normal((8, COLUMNS)).astype(np.float32)
    one = x[:1].copy()
    steps: list[tuple[str, Callable[[], Any], int]] = []

    def add(what: str, f: Callable[[], Any], tokens: int = 1) -> None:
        steps.append((what, f, tokens))

    add("the reference: float64, a dot product a row", lambda: Reference().linear(one, w))
    dense = np.asarray(w[...], np.float32)
    add("NumPy, weights widened to float32 (67 MB)", lambda: one @ dense.T)
    codes = np.ascontiguousarray(w.blocks["qs"])
    scales, y = w.blocks["d"].astype(np.float32), np.empty(ROWS, np.float32)
    add("Numba, plain loops over the blocks", lambda: plain_loops(codes, scales, one[0], y))
    exact, quick = (make_backend(act=act, threads=1) for act in ("none", "q8"))
    matrix = exact.weight(w)
    add("vectors, rows interleaved, float32 (act=none)", lambda: exact.ops.linear(one, matrix))
    add("dot products of bytes (act=q8)", lambda: quick.ops.linear(one, matrix))
    add("... with eight tokens at once, for each", lambda: quick.ops.linear(x, matrix), 8)
    two = make_backend(act="q8", threads=2)
    add("... with eight tokens and two threads, for each", lambda: two.ops.linear(x, matrix), 8)
    return [{"step": what, "seconds": best(f) / tokens} for what, f, tokens in steps]


def whole_step() -> dict[str, float]:
    """The embedded model, one token: operation by operation, and fused."""
    from dataclasses import replace

    from bench.cpu_ours import Ours

    tiny = Ours(ROOT / "refimpl" / "data" / "tiny.gguf", threads=1, context=256)
    parted = Ours(ROOT / "refimpl" / "data" / "tiny.gguf", threads=1, context=256)
    parted.model = replace(parted.model, runtime=None)
    run = lambda engine: engine.run([7], [20], [0], [0])
    for engine in (tiny, parted):
        engine.run(list(range(20)), list(range(20)), [0] * 20, [19])
    two = tiny.with_threads(2)
    return {
        "operation by operation": best(lambda: run(parted)),
        "fused": best(lambda: run(tiny)),
        "fused, two threads": best(lambda: run(two)),
    }


@click.command()
@click.option("--json", "target", type=click.Path(path_type=Path))
def main(target: Path | None) -> None:
    """Measure and print."""
    result = {"product": ladder(), "step": whole_step()}
    for row in result["product"]:
        click.echo(f"{row['step']:50s} {row['seconds'] * 1e6:10.0f} us")
    for name, seconds in result["step"].items():
        click.echo(f"one token of the embedded model, {name:25s} {seconds * 1e6:8.0f} us")
    if target:
        target.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
