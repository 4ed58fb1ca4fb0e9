"""Write docs/formats.md and its plots from docs/formats.json, which bench/quants_study.py measures.

    python docs/make_formats.py            rewrite the page and the plots
    python docs/make_formats.py --check    exit with status 1 if the page would change

The prose is here, the figures come from the JSON; none is typed.
"""

import json
import sys
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
READER = r"""
// cc -o reader reader.c -lm && ./reader golden/quants/Q8_0.safetensors
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static float from_half(uint16_t h) {
    int e = h >> 10 & 31, m = h & 1023;
    float v = e == 31 ? (m ? NAN : INFINITY) : e ? ldexpf(1024 + m, e - 25) : ldexpf(m, -24);
    return h >> 15 ? -v : v;
}

static void *tensor(char *file, const char *name, size_t *bytes) {
    uint64_t header;
    memcpy(&header, file, 8);                     // length of the JSON that follows
    char *at = strstr(strstr(file + 8, name), "data_offsets\":[") + 15;
    size_t begin = strtoull(at, &at, 10);
    *bytes = strtoull(at + 1, NULL, 10) - begin;
    return file + 8 + header + begin;
}

int main(int argc, char **argv) {
    static char file[1 << 20];
    FILE *f = argc > 1 ? fopen(argv[1], "rb") : NULL;
    if (!f || !fread(file, 1, sizeof file - 1, f)) return 2;
    size_t bytes, unused;
    uint8_t *block = tensor(file, "\"blocks\"", &bytes);
    float *want = tensor(file, "\"weights\"", &unused);
    for (size_t i = 0; i < bytes / 34; i++)
        for (int j = 0; j < 32; j++, want++) {
            float d = from_half(block[34 * i] | block[34 * i + 1] << 8);
            float w = d * (int8_t)block[34 * i + 2 + j];          // d | qs[32]
            if (memcmp(&w, want, 4) && !(isnan(w) && isnan(*want))) return 1;
        }
    return printf("%zu blocks, every weight as in the file\n", bytes / 34) < 0;
}
"""

PAGE = """# How weights are stored

GGUF's block formats, all that ggml {version} reads. Each is a documented struct in
`refimpl/formats/quants`, a vectorised decoder and (where ggml has one) a quantiser. This page is
written by `docs/make_formats.py` from what `bench/quants_study.py` measured; no figure is typed.

## The idea in one line

A block holds small integers, and a scale (perhaps a minimum) for every 16 or more of them:
`weight = scale * integer - minimum`. The formats differ in what the integers index (steps, a
table of uneven steps, a codebook of patterns, trits, small floats) and in how the scales are
packed.

{structs}

The scale shown is one of the struct's, `q` the integer of a weight; `GRID[index]` is a pattern of
8 (IQ3: 4) magnitudes, and `+-` its stored signs.

## What is claimed, and how it was checked

{table}

- **decodes**: equal in every bit to ggml's `dequantize_row_*`, for random and hostile bytes
  (every byte pattern of F16 and BF16). Any NaN equals any NaN: which payload and sign comes out
  is the compiler's affair.
- **encodes**: equal in every byte to `ggml_quantize_chunk`, for ordinary and hostile finite
  weights, without and with an importance for each column. NaN and infinite weights are refused: C
  leaves their conversion to integers undefined.
- **dot**: the named mode in which ggml multiplies with such weights
  (`refimpl/formats/quants/dot.py`).
- **golden**: `golden/quants/TYPE.safetensors`, made by ggml's C code, read back by the tests.
- **decode** and **encode** are millions of weights a second in NumPy on one core, at best;
  **x gguf** is the median ratio to the `gguf` package's decoder on the same bytes, in turns.

Equal in every bit means: to `libggml-base` as built for x86-64, which has no fused multiply-add.
A build that fuses (ARM, or machine flags for that library) rounds a few sums differently. For
IQ1_S and IQ1_M equal weights must also be sorted stably, as glibc before 2.37 does.

## What quantising costs

Root mean square and largest error, in standard deviations of the weights: of 131,072 Gaussians,
and of 262,144 weights of the embedded model (which are stored as Q8_0, so Q8_0 brings them back
unchanged; Q2_0, TQ1_0, TQ2_0 and Q1_0 are for models trained with such weights, and no others).
The formats with codebooks (IQ1, IQ2, IQ3) got a constant importance; without one they weigh
errors by the square of the weight.

{errors}

![Error against bits per weight](formats-error.svg)

The line is the least error possible for Gaussian weights at that many bits (the rate-distortion
bound, 2^-bits): with them no format can lie below it.

![Decoding speed](formats-speed.svg)

## Found on the way

These are ggml's results, reproduced here bit for bit; a reader of such files should know them.

- **IQ3_S, zeros**: where 32 weights within a super-block are all zero, ggml's quantiser leaves
  out their bytes instead of writing zeros (`continue` skips `qs += bs4`). What follows in that
  block is read back wrong.
- **IQ2_XXS, odd signs**: the search for a scale stores integers in bytes; the one weight whose
  sign was flipped to make the signs even gives -1, read back as 255, and now and then spoils the
  scale of a sub-block.
- **NVFP4 scales**: from 248 on, ggml's conversion to E4M3 gives 448 at once; 256 to 416 are never
  made.
- **MXFP4**: exponent byte 255, NaN in the OCP specification, decodes to 2^128 times the value.
- **The `gguf` package** gives Q8_1 the size it had before ggml halved its two floats, has no
  decoder for Q8_1 and Q8_K, and does not know Q2_0.

## Reading the golden vectors in another language

safetensors is a length, a JSON header and raw bytes. These lines of C decode Q8_0 and compare;
the tests compile and run them.

```c{reader}```
"""


def cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}" if value < 100 else f"{value:.0f}"
    return str(value)


def table(head: list[str], rows: list[list[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(cell, line)) + " |" for line in lines)


def structs(types: dict[str, Any]) -> str:
    blocks = {name: t for name, t in types.items() if t["block"] > 1}
    rows = [
        [
            name,
            t["id"],
            t["bits"],
            f"{t['block']} in {t['bytes']} bytes",
            ", ".join(t["fields"]),
            f"`{t['formula']}`",
        ]
        for name, t in blocks.items()
    ]
    return table(["type", "id", "bits per weight", "weights", "struct", "weight"], rows)


def claims(types: dict[str, Any]) -> str:
    keys = ["decodes", "encodes", "encodes with importance", "dot", "golden", "decode", "encode"]
    rows = [[name, *(t[key] for key in keys), t["ratio"]] for name, t in types.items()]
    return table(["type", "decodes", "encodes", "with importance", *keys[3:], "x gguf"], rows)


def errors(types: dict[str, Any]) -> str:
    blocks = {name: t for name, t in types.items() if isinstance(t["gaussian"]["rmse"], float)}
    rows = [
        [name, t["bits"], *(t[on][key] for on in ("gaussian", "model") for key in ("rmse", "max"))]
        for name, t in sorted(blocks.items(), key=lambda item: item[1]["bits"])
    ]
    head = ["type", "bits per weight", "Gaussian RMSE", "largest", "model RMSE", "largest"]
    return table(head, rows)


def page(facts: dict[str, Any]) -> str:
    types = facts["types"]
    return PAGE.format(
        version=facts["authority"].removeprefix("ggml "),
        structs=structs(types),
        table=claims(types),
        errors=errors(types),
        reader=READER,
    )


def label(axes: Any, points: dict[str, tuple[float, float]]) -> None:
    """Each name at the first place near its point where it covers no other name."""
    taken: list[tuple[float, float, float]] = []
    for name, point in points.items():
        x, y = axes.transData.transform(point)
        width = 5.5 * len(name)
        places = [
            (side, dy) for dy in (-3, 7, -13, 17, -23, 27, -33, 37) for side in (5, -5 - width)
        ]
        for dx, dy in places:
            box = x + dx, y + dy, width
            free = all(
                abs(box[1] - other[1]) > 10
                or box[0] + box[2] < other[0]
                or other[0] + other[2] < box[0]
                for other in taken
            )
            if free:
                break
        taken.append(box)
        axes.annotate(name, point, (dx, dy), textcoords="offset pixels", fontsize=7)


def plot(types: dict[str, Any]) -> None:
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams |= {"svg.hashsalt": "refimpl", "font.size": 9, "svg.fonttype": "none"}
    from matplotlib import pyplot

    def save(figure: Any, name: str) -> None:
        figure.tight_layout()
        figure.savefig(DOCS / name, metadata={"Date": None, "Creator": None})

    figure, axes = pyplot.subplots(figsize=(9, 6.5), dpi=100)
    shown = {n: t for n, t in types.items() if t["block"] > 1 and n not in ("Q8_1", "Q8_K")}
    points = {n: (t["bits"], t["gaussian"]["rmse"]) for n, t in shown.items()}
    axes.plot(*zip(*points.values(), strict=True), "o", color="tab:blue", markersize=4)
    coarse = [t for t in shown.values() if t["model"]["rmse"] > 1e-4]
    model = [(t["bits"], t["model"]["rmse"]) for t in coarse]
    axes.plot(*zip(*model, strict=True), "x", color="tab:orange", markersize=4)
    axes.set(yscale="log", xlabel="bits per weight", ylabel="RMSE / standard deviation")
    label(axes, points)
    bits = [1 + i / 10 for i in range(80)]
    axes.plot(bits, [2**-b for b in bits], color="grey", linewidth=1)
    axes.set_title(
        "o Gaussian weights   x embedded model   line: rate-distortion bound", fontsize=9
    )
    save(figure, "formats-error.svg")

    figure, axes = pyplot.subplots(figsize=(8, 5.5))
    compared = {n: t for n, t in shown.items() if isinstance(t["ratio"], float)}
    names = list(compared)[::-1]
    axes.barh(names, [compared[n]["decode"] for n in names], color="tab:blue", label="refimpl")
    axes.barh(
        names,
        [compared[n]["gguf"] for n in names],
        color="tab:orange",
        height=0.35,
        label="gguf package",
    )
    axes.set(xlabel="million weights a second, NumPy, one core")
    axes.legend()
    save(figure, "formats-speed.svg")


def main() -> None:
    facts = json.loads((DOCS / "formats.json").read_text())
    text = page(facts)
    target = DOCS / "formats.md"
    if "--check" in sys.argv:
        sys.exit(text != (target.read_text() if target.exists() else ""))
    target.write_text(text)
    plot(facts["types"])


if __name__ == "__main__":
    main()
