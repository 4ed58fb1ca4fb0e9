"""The CPU backend beside llama.cpp, in one process, taking turns.

    python bench/cpu.py [--json out.json] [--quick] [--types Q8_0,Q4_0]

What is measured: decoding one sequence at a short and a long context, prefill of 512 tokens,
decoding 4 and 16 sequences at once; how fast this machine reads memory in the same minutes; a small
model; the embedded model's first token; memory and load time; decoding beside a busy process.

Both engines run the whole model, attention and the choice of the best token included, on the same
file: llama.cpp at its defaults, and here activations as it has them (act="half": quantised for
quantised weights, rounded for float16 and bfloat16 ones) and keys and values in float16.  They take
turns, so a slow moment of the machine hits both.  Around every turn of a decode the memory is read
by a loop that does nothing else, which decides which rounds count (`cpu_rounds`): the share beside
a row is the speed at which decoding read weights, keys and values, of that.  Ratio and share are
the medians of the rounds' own, in prefill the ratio is that of the medians.  llama.cpp's prefill is
given both its layouts (`repack`) and the better one counts.

Needs llama-cpp-python built for this machine (CMAKE_ARGS=-DGGML_NATIVE=ON).
"""

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import click
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from bench.cpu_llama import Llama  # noqa: E402
from bench.cpu_models import SHAPES, write_model  # noqa: E402
from bench.cpu_ours import Ours  # noqa: E402
from bench.cpu_process import beside_a_busy_process, embedded, footprint  # noqa: E402
from bench.cpu_read import read_bandwidth  # noqa: E402
from bench.cpu_rounds import counts, rounds_that_count, take_reading  # noqa: E402

TYPES = ("Q8_0", "Q4_0", "Q4_K_M", "Q6_K", "F16", "BF16")
SHORT, LONG = 16, 2048
Row = dict[str, Any]


def timed(f: Callable[[], Any]) -> float:
    start = perf_counter()
    f()
    return perf_counter() - start


def take_turns(ours: Callable[[], Any], theirs: Callable[[], Any], n: int, rounds: int) -> Row:
    """Tokens per second of both, n tokens a turn."""
    return speeds([(timed(ours), timed(theirs)) for _ in range(rounds)], n)


def speeds(times: list[tuple[float, float]], n: int) -> Row:
    mine, other = (n / median(t) for t in zip(*times, strict=True))
    best, other_best = (n / min(t) for t in zip(*times, strict=True))
    return {
        "ours": mine, "llama.cpp": other, "ratio": mine / other,
        "ours best": best, "llama.cpp best": other_best,
    }  # fmt: skip


def decode_turns(
    ours: Any, theirs: Any, sequences: int, start: int, n: int, rounds: int
) -> Row:  # fmt: skip
    """n tokens of each sequence a turn, and how fast the memory of our weights is just then."""
    run = decode_batch if sequences > 1 else lambda e, _, at, k: decode(e, at, k)
    threads = ours.backend.pool.threads
    found, tried = rounds_that_count(
        lambda: timed(lambda: run(ours, sequences, start, n)),
        lambda: timed(lambda: run(theirs, sequences, start, n)),
        lambda: take_reading(lambda: read_bandwidth(ours, 3), threads),
        rounds,
    )
    row = speeds([(one.ours, one.theirs) for one in found], n * sequences)
    step = (streamed(ours) + sequences * start * cached(ours)) / 1e9
    read = [one.speed for one in found]
    return row | {
        "ratio": median(one.theirs / one.ours for one in found),
        "read GB/s": median(read), "least GB/s": min(read), "most GB/s": max(read),
        "share of read": median(n * step / one.ours / one.speed for one in found),
        "rounds": len(found), "tried": tried,
        "steady": sum(counts(one.readings) for one in found),
    }  # fmt: skip


def tokens(n: int) -> list[int]:
    return np.random.default_rng(0).integers(1, 30000, n).tolist()


def prefill(engine: Any, n: int, start: int = 0, sequence: int = 0) -> None:
    for first in range(start, start + n, 512):
        some = list(range(first, min(first + 512, start + n)))
        words = tokens(len(some))
        engine.run(words, some, [sequence] * len(some), [len(some) - 1])


def decode(engine: Any, start: int, n: int) -> None:
    token = 7
    for i in range(n):
        engine.run([token], [start + i], [0], [0])
        token = engine.best(0)


def decode_batch(engine: Any, sequences: int, start: int, n: int) -> None:
    words = [7] * sequences
    who = list(range(sequences))
    for i in range(n):
        engine.run(words, [start + i] * sequences, who, who)
        words = [engine.best(s) for s in who]


def one_model(path: Path, name: str, quick: bool, say: Callable[[str], None]) -> Row:
    """Everything about one file."""
    result: Row = {"bytes": path.stat().st_size}
    room = {"threads": 2, "context": 4096, "sequences": 16}
    ours, theirs = Ours(path, **room), Llama(path, **room)

    def note(key: str, row: Row) -> None:
        result[key] = row
        share = (
            f"   {100 * row['share of read']:.0f} % of {row['read GB/s']:.0f} GB/s"
            f" ({row['steady']} steady rounds of {row['tried']})"
            if "read GB/s" in row
            else ""
        )
        say(f"{name:8s} {key:24s} ours {row['ours']:8.1f}   llama.cpp {row['llama.cpp']:8.1f}"
            f"   x {row['ratio']:.2f}{share}")  # fmt: skip

    n, rounds = 8, 4 if quick else 12
    for engine in (ours, theirs):
        prefill(engine, 32)
        decode(engine, 32, 2)
    pair = lambda f: take_turns(lambda: f(ours), lambda: f(theirs), 512, 2)
    note("prefill 512", best_layout(path, ours, pair(lambda e: prefill(e, 512)), room, name))
    for engine in (ours, theirs):
        prefill(engine, SHORT)
    note("decode at 16", decode_turns(ours, theirs, 1, SHORT, n, rounds))
    one = ours.with_threads(1)
    note("decode at 16, 1 thread", decode_turns(one, theirs.with_threads(1), 1, SHORT, n, 5))
    theirs.with_threads(2)
    for sequences in () if quick else (4, 16):
        for engine in (ours, theirs):
            for s in range(sequences):
                prefill(engine, SHORT, sequence=s)
        row = decode_turns(ours, theirs, sequences, SHORT, n // 2, 5)
        note(f"decode of {sequences} sequences", row)
    if not quick:
        theirs.clear()
        for engine in (ours, theirs):
            prefill(engine, LONG)
        note("decode at 2048", decode_turns(ours, theirs, 1, LONG, n // 2, 7))
    theirs.close()
    return result


def best_layout(path: Path, ours: Any, row: Row, room: Any, name: str) -> Row:
    """Prefill of K formats is faster in llama.cpp without its repacking."""
    if "_K" not in name:
        return row
    plain = Llama(path, **room, repack=False)
    prefill(plain, 512)
    other = 512 / min(timed(lambda: prefill(plain, 512)) for _ in range(2))
    plain.close()
    if other > row["llama.cpp"]:
        row |= {"llama.cpp": other, "ratio": row["ours"] / other, "layout": "no repack"}
    return row


def streamed(ours: Ours) -> int:
    """Bytes of weights that one decoded token reads."""
    parts = [*ours.model.layers, {"output": ours.model.top["output.weight"]}]
    return sum(m.memory.nbytes for part in parts for m in part.values() if hasattr(m, "memory"))


def cached(ours: Ours) -> int:
    """Bytes of keys and values that a token has in the cache."""
    c = ours.cache
    return int(2 * c.n_layers * c.kv_heads * c.page_bytes // 16)


@click.command()
@click.option("--json", "target", type=click.Path(path_type=Path), help="Write everything here.")
@click.option("--quick", is_flag=True, help="Two types, short runs.")
@click.option("--types", default=None, help="Which types, with commas.")
@click.option("--folder", type=click.Path(path_type=Path), help="Where to keep the models.")
def main(target: Path | None, quick: bool, types: str | None, folder: Path | None) -> None:
    """Measure, print a line each, and write JSON."""
    names = types.split(",") if types else TYPES[:2] if quick else TYPES
    results: Row = {"models": {}}
    with tempfile.TemporaryDirectory() as temporary:
        place = folder or Path(temporary)
        cases = [("15M", "Q8_0"), *(("1B", name) for name in names)]
        for shape, name in cases:
            path = place / f"{shape}-{name}.gguf"
            if not path.exists():
                write_model(path, SHAPES[shape], name)
            label = f"{shape} {name}"
            results["models"][label] = measured(path, shape, name, quick)
            if target:
                target.write_text(json.dumps(results, indent=1) + "\n")
            if folder is None and (shape, name) != ("1B", names[0]):
                path.unlink()
        first = place / f"1B-{names[0]}.gguf"
        results["memory and load"] = footprint(first)
        click.echo(results["memory and load"])
        results["embedded model"] = embedded()
        click.echo(results["embedded model"])
        results["beside a busy process"] = beside_a_busy_process(first)
        click.echo(results["beside a busy process"])
    if target:
        target.write_text(json.dumps(results, indent=1) + "\n")


def measured(path: Path, shape: str, name: str, quick: bool) -> Row:
    if shape == "15M":
        return small_model(path, name)
    return one_model(path, name, quick, click.echo)


def small_model(path: Path, name: str) -> Row:
    """Decoding, with two threads and one."""
    room = {"context": 512, "sequences": 1}
    result: Row = {}
    for threads in (2, 1):
        ours, theirs = (kind(path, threads=threads, **room) for kind in (Ours, Llama))
        for engine in (ours, theirs):
            prefill(engine, SHORT)
            decode(engine, SHORT, 4)
        row = take_turns(lambda: decode(ours, SHORT, 64), lambda: decode(theirs, SHORT, 64), 64, 9)  # noqa: B023
        result[f"decode at 16, {threads} threads"] = row
        click.echo(f"15M {name} {threads} threads: ours {row['ours']:.0f}, llama.cpp "
                   f"{row['llama.cpp']:.0f}, x {row['ratio']:.2f}")  # fmt: skip
        theirs.close()
    return result


if __name__ == "__main__":
    main()
