"""Write docs/cpu.md from docs/cpu.json and docs/cpu-bench.json.

    python bench/cpu_ladder.py --json docs/cpu.json
    python bench/cpu.py --json docs/cpu-bench.json
    python docs/make_cpu.py            rewrite the page
    python docs/make_cpu.py --check    exit with status 1 if the page would change

The prose is here, the figures come from the JSON; none is typed.
"""

import json
import sys
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent

PAGE = """# The CPU backend

`--backend numba` runs models on the CPU with kernels written in Python and compiled by
[Numba](https://numba.pydata.org). It multiplies GGUF's blocks as they are stored, keeps every bit
the same under every schedule, and is compared with the reference by `refimpl conform --backend
numba`.

Compiled code is kept in the user's cache directory; `refimpl warmup` fills it in advance. `--act
half` computes as llama.cpp does: activations are quantised before they meet quantised weights, and
rounded to the type of float16 and bfloat16 weights; `--act q8` does only the first. `--cache-type
float16` (or q8_0) halves the cache, `--threads` says how many cores; by default all this process
may use.

## The ladder

What each idea is worth. An 8192 x 2048 matrix in Q8_0 times one token, one thread unless said
otherwise; the best of many runs (`python bench/cpu_ladder.py`). Read the code from the bottom up,
in the order of [the package's docstring](../backends/numba/__init__.py).

{ladder}

1. **Vectors as values** ([simd](../backends/numba/simd.py)). Numba compiles numbers; LLVM also
   has vectors. Three vector types and some two dozen small functions make SIMD code readable: `(q
   & 15) - 8` subtracts in 64 bytes at once. One function,
   `dot4`, [differs between processors](../backends/numba/processor.py).
2. **Interleaved rows** ([layout](../backends/numba/layout.py),
   [legacy](../backends/numba/kernels/legacy.py)). A product ends in a sum, and sums across a
   vector are slow. With 16 rows side by side each lane keeps a row of its own and nothing is ever
   added across lanes.
3. **Tiles** ([tile](../backends/numba/tile.py), [matmul](../backends/numba/matmul.py)). A kernel
   is written once, for a tile of tokens of any width. One token, two, four: as fast as weights
   come from memory. Eight: each weight is unpacked once for eight, and the multipliers are the
   limit. Every token sees the same operations in the same order, so its bits do not depend on its
   neighbours. A long prompt meets some rows and some columns at a time, which stay in the cache.
4. **Products of bytes** ([activations](../backends/numba/activations.py)). With activations
   quantised as well, four products and their sum are one instruction. For bfloat16 there is one of
   two products ([floats](../backends/numba/kernels/floats.py)), where activations are bfloat16 too
   (`--act half`): twice as fast as widening. For float16 there is none on most processors:
   its prefill is float32's, and runs at nearly all that the multipliers can do.
5. **Bits where they are needed** ([k](../backends/numba/kernels/k.py)). A row's bytes may be moved
   once, at load. Q6_K keeps its six bits in two places; put together, three bytes for four
   weights, they are read in one run and four vectors of them unpacked in nine instructions.
6. **One compiled step** ([step](../backends/numba/step.py), [pool](../backends/numba/pool.py)).
   Calling from Python costs more than a small layer. All layers are one function, run by all
   threads side by side, which meet at barriers: first spinning, then giving way to others. Rows of
   a matrix are given out as threads come free, so that one which a neighbour slows down gets
   fewer. A thread that was asleep first leaves the core of the one that woke it, where systems
   like to put it: sharing a core costs 200 µs a barrier. While one thread norms and packs the
   token, the others ask memory for the rows they will multiply.
7. **Huge pages** ([memory](../backends/numba/memory.py)). Fewer address translations, faster
   reads.
8. **What follows in time follows in memory** ([kv](../backends/numba/kv.py)). A head's keys lie in
   one run of pages. With all heads' 16 tokens side by side, as before, each thread read 2 KB and
   jumped 16: the attention of a token at 2048 took 4.3 ms, and now 1.8, as long as from the cache.

{step}

## Beside llama.cpp

{bench}

## What stands in the way

The figures of this section are from microbenchmarks on the same two cores (Zen 4), read by hand.

- **Decoding** reads each weight once. How fast memory is depends on where this virtual machine's
  two processors run just then, and changes within seconds: two threads read 33 to 37 GB/s, one
  alone 30, or 52 to 63. So the second thread buys a tenth or doubles the speed, whatever the code:
  Q4_0 decodes 55 tokens a second or 81. At 35 GB/s, 94 to 99 % of the memory's speed is used;
  llama.cpp takes 80 to 88 %, so whoever took all of it would be 1.14 to 1.25 times as fast. At 60
  it takes 65 %, we 84 %. There a token of Q4_0 has 12 ms, of which 1 ms passes in norms, packing
  and barriers, which cost twice as much where processors share no cache. While another process has
  one of the cores, two threads read 28 to 30 GB/s.
- **Prompts in K formats.** `vpdpbusd` reaches 472 Gop/s a thread. Loads, shifts, masks and
  conversions come free beside it; every multiplication takes a cycle of the same two pipes. For 256
  columns and a token Q4_K needs 64 products, 8 multiplications by scales, 4 for minima and 4 in
  floats: 377 Gop/s at most, and Q6_K 368, of which its tile has 350. Of 1.66 s for 512
  tokens of Q4_K_M, products took 1.44, which is 92 % of that limit, attention 0.14, packing 0.06
  and all else 0.02: at the limit it would be 1.54 s, 332 tokens a second. Twice llama.cpp's 219
  would be 1.17 s, and the products alone take 1.06 at the peak of `vpdpbusd`, all scales free.
- **Prompts in F16.** The tile has 114 to 117 of the 118 GFLOP/s a thread; a whole matrix now 225
  of 236, since all rows meet one run of columns before the next.
- **Loading** moves the weights into huge pages of our own. New memory comes from this virtual
  machine's host 4 KiB at a time, about 8 µs each when none was freed lately: 1.17 GB are 1.0 to
  2.6 s for one thread and 0.5 to 2.4 for two, or 0.1 if the host had backed it already. So
  loading takes 1.1 s in a good minute and 2.5 to 3.1 in a bad one. Asking in advance
  (`MADV_POPULATE_WRITE`, both threads: 1.1 to 1.2 s) is not faster than touching.
"""


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def time(seconds: float) -> str:
    return f"{seconds * 1e3:.1f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.0f} µs"


def ladder(result: dict[str, Any]) -> str:
    steps = result["product"]
    first = steps[0]["seconds"]
    rows = [[s["step"], time(s["seconds"]), f"{first / s['seconds']:.0f}"] for s in steps]
    return table(["", "a token", "times faster"], rows)


def step(result: dict[str, Any]) -> str:
    rows = [[name, time(seconds)] for name, seconds in result["step"].items()]
    return table(["One token of the embedded model", ""], rows)


def bench(path: Path) -> str:
    """The speeds beside llama.cpp, or how to measure them."""
    if not path.exists():
        return "Not measured here yet: `python bench/cpu.py --json docs/cpu-bench.json`."
    result = json.loads(path.read_text())
    models = result["models"]
    rows = []
    for model, found in models.items():
        for name, row in found.items():
            if isinstance(row, dict):
                speeds = [f"{row['ours']:.1f}", f"{row['llama.cpp']:.1f}", f"{row['ratio']:.2f}"]
                rows.append([f"{model}, {name}", *speeds, memory(row)])
    text = (
        "Tokens per second, both engines taking turns in one process (`python bench/cpu.py`);\n"
        "random weights, activations as llama.cpp has them (`--act half`), keys and values in\n"
        "float16. Memory: how fast the weights went by, of what a loop reads that does nothing\n"
        "else." + chosen_rounds(models) + "\n\n"
    )
    speeds_table = table(["", "here", "llama.cpp", "ratio", "memory"], rows)
    return text + speeds_table + "\n\n" + table(["", "here", "llama.cpp"], around(result))


def memory(row: dict[str, Any]) -> str:
    """Which part of the memory's speed was used; nothing for prompts."""
    if "share of read" not in row:
        return ""
    return f"{row['share of read']:.0%} of {row['read GB/s']:.0f} GB/s"


def chosen_rounds(models: dict[str, Any]) -> str:
    """Which rounds count; in older measurements all did."""
    rows = [row for found in models.values() for row in found.values() if isinstance(row, dict)]
    if not any("steady" in row for row in rows):
        return ""
    return (
        " A round of decoding counts if nobody else had a core in the three readings around its\n"
        "turns, and the fastest was at most a tenth faster than the slowest\n"
        "([cpu_rounds](../bench/cpu_rounds.py))."
    )


def around(result: dict[str, Any]) -> list[list[str]]:
    """What else a user notices: memory, waiting, and how well it shares the machine."""
    file, small = result["memory and load"], result["embedded model"]
    busy = result["beside a busy process"]
    engines = ("ours", "llama.cpp")
    alone = file.get("memory alone")  # older measurements have none
    waited = f"{alone['load s']:.2f} s" if alone else ""
    return [
        [
            "1B Q8_0, peak memory / file",
            *(f"{file[e]['peak MB'] / file['file MB']:.2f}" for e in engines),
        ],
        ["1B Q8_0, load", *(f"{file[e]['load s']:.2f} s" for e in engines)],
        *([["... handing out so much memory", waited, ""]] if waited else []),
        ["embedded model, tokens a second", *(f"{small[e]['tokens/s']:.0f}" for e in engines)],
        ["embedded model, a whole process", *(f"{small[e]['wall s']:.2f} s" for e in engines)],
        ["speed kept beside a busy process", *(f"{100 * busy[e]['kept']:.0f} %" for e in engines)],
    ]


def page() -> str:
    result = json.loads((DOCS / "cpu.json").read_text())
    parts = {
        "ladder": ladder(result),
        "step": step(result),
        "bench": bench(DOCS / "cpu-bench.json"),
    }
    return PAGE.format(**parts)


def main() -> None:
    target = DOCS / "cpu.md"
    if "--check" in sys.argv:
        sys.exit(target.read_text() != page())
    target.write_text(page())


if __name__ == "__main__":
    main()
