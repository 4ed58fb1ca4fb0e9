"""Write the tables of docs/cuda.md from a device's record.

python -m bench.gpu --record golden/devices/h200.json      on the GPU
python docs/make_cuda.py                                   the tables
"""

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
DEVICES, PAGE = HERE.parent / "golden" / "devices", HERE / "cuda.md"
RECORD = DEVICES / "h200.json"

AIMS = (
    ("8B Q8_0, one sequence", "8B Q8_0", "decode 1", "75 %"),
    ("8B Q4_K_M", "8B Q4_K_M", "decode 1", "55 %"),
    ("8B F16", "8B F16", "decode 1", "80 %"),
    ("1B Q8_0", "1B Q8_0", "decode 1", "50 %"),
    ("8B Q8_0, 64 sequences", "8B Q8_0", "decode 64", "1.5x"),
    ("8B F16, 64 sequences", "8B F16", "decode 64", "1.5x"),
    ("8B Q8_0, prompt of 2048", "8B Q8_0", "prefill 2048", "2x"),
    ("8B F16, prompt of 2048", "8B F16", "prefill 2048", "1.4x"),
)
"""What, the record's name and phase, and our aim: of the bandwidth, or of llama.cpp."""
PRODUCTS = (("F16", "half"), *((f, "q8") for f in ("Q8_0", "Q4_0", "Q4_K", "Q5_K", "Q6_K")))
EXACT = ("F16", "Q8_0", "Q4_K")


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, *rows)]
    return "\n".join([lines[0], "|---" * len(head) + "|", *lines[1:]])


def conformance(record: dict[str, Any]) -> str:
    (checks,) = {len(mode["rows"]) for mode in record["conformance"]}
    worst = max(row["worst"] or 0 for mode in record["conformance"] for row in mode["rows"])
    ok = all(mode["ok"] for mode in record["conformance"])
    same = sum(case["same"] for case in record["cases"])
    cuda, cupy = record["CUDA runtime"] // 1000, record["cupy-cuda13x"]
    return (
        f"On one {record['gpu'].removeprefix('NVIDIA ')} (CUDA {cuda}, CuPy {cupy}, "
        f"{record['date']}): {checks} checks in each of {len(record['conformance'])} modes, "
        f"{'all ok' if ok else 'NOT all ok'}, at most {worst:.2f} of a bound used; "
        f"{same} of {len(record['cases'])} greedy texts equal."
    )


def order(record: dict[str, Any]) -> str:
    """What the fixed order of sums costs.

    >>> print(order({"order": [{"model": "8B", "eight runs: tokens/s": 97.0, "one": 100.0}]}))
    | tokens/s of a prompt of 2048 | eight runs | one run, other bits | cost |
    |---|---|---|---|
    | 8B | 97 | 100 | 3.0 % |
    """
    rows = []
    for row in record["order"]:
        ours, free = row["eight runs: tokens/s"], row["one"]
        rows.append(
            [
                row["model"],
                f"{ours:.0f}",
                f"{free:.0f}",
                f"{max(0.0, 100 * (1 - ours / free)):.1f} %",
            ]
        )
    head = ["tokens/s of a prompt of 2048", "eight runs", "one run, other bits", "cost"]
    return table(head, rows)


def beside(record: dict[str, Any], peer: str) -> list[dict[str, Any]]:
    return [row for row in record.get("peers", ()) if row["peer"].startswith(peer)]


def attention(record: dict[str, Any]) -> str:
    """
    >>> row = {"peer": "FlashInfer 1", "what": "64 x 4096", "theirs, plain: us": 3.0}
    >>> row |= {"theirs, tensor cores: us": 2.0, "ours: us": 1.0, "ratio": 2.0, "GB/s": 3000.0}
    >>> print(attention({"ceilings": {"read GB/s": 4000.0}, "peers": [row]}).splitlines()[-1])
    | 64 x 4096 | 3.0 us | 2.0 us | 1.0 us, 3000 GB/s | 2.00x | 75 % |
    >>> attention({})
    'Not in this record.'
    """
    found = beside(record, "FlashInfer")
    if not found:
        return "Not in this record."
    rows = [
        [
            one["what"],
            *(f"{one[f'theirs, {kernel}: us']:.1f} us" for kernel in ("plain", "tensor cores")),
            f"{one['ours: us']:.1f} us, {one['GB/s']:.0f} GB/s",
            f"{one['ratio']:.2f}x",
            f"{100 * one['GB/s'] / record['ceilings']['read GB/s']:.0f} %",
        ]
        for one in found
    ]
    what = "paged decode attention, 32/8 heads of 128, fp16, page 16"
    peer = found[0]["peer"], "... on tensor cores"
    return table([what, *peer, "here", "ratio", "share of read bandwidth"], rows)


def caches(record: dict[str, Any]) -> str:
    """
    >>> row = {"cache": "q8_0", "sequences": 1, "context": 2048, "new": 1, "us": 98.5}
    >>> rows = [row | {"GB/s": 999.6}, row | {"new": 2048, "us": 3554.0, "TFLOP/s": 9.7}]
    >>> print(caches({"attention": rows, "ceilings": {"read GB/s": 4000.0}}))
    | attention, us (share of read bandwidth) | 1 x 2048 | a prompt of 2048 |
    |---|---|---|
    | q8_0 | 98.5 (25 %) | 3554 |
    >>> caches({"attention": []})
    'Not in this record.'
    """
    found: dict[str, dict[str, str]] = {}
    for row in record["attention"]:
        if "cache" not in row or (row["context"] < 2048 and row["sequences"] == 1):
            continue
        what, cell = f"a prompt of {row['context']}", f"{row['us']:.0f}"
        if row["new"] == 1:
            what = f"{row['sequences']} x {row['context']}"
            share = 100 * row["GB/s"] / record["ceilings"]["read GB/s"]
            cell = f"{row['us']:.1f} ({share:.0f} %)"
        found.setdefault(row["cache"], {})[what] = cell
    if not found:
        return "Not in this record."
    head = list(next(iter(found.values())))
    rows = [[name, *(cells[what] for what in head)] for name, cells in found.items()]
    return table(["attention, us (share of read bandwidth)", *head], rows)


def products(record: dict[str, Any]) -> str:
    read = record["ceilings"]["read GB/s"]

    def share(act: str, kind: str, n_rows: int, columns: int) -> str:
        for row in record["linear"]:
            of = row["act"], row["format"], row["rows"], row["columns"], row["tokens"]
            if of == (act, kind, n_rows, columns, 1):
                return f"{100 * row['GB/s'] / read:.0f} %"
        raise KeyError(f"{act} {kind} {n_rows} x {columns} is not in the record")

    modes = [*PRODUCTS, *((kind, "none") for kind in EXACT)]
    rows = [
        [f"{kind}, act={act}", share(act, kind, 4096, 14336), share(act, kind, 14336, 4096)]
        for kind, act in modes
    ]
    what = f"one token, in a graph, share of the {read:.0f} GB/s read there"
    return table([what, "4096 x 14336", "14336 x 4096"], rows)


def models(record: dict[str, Any]) -> str:
    measured = {one["model"]: one for one in record["models"]}
    turns = {(one["what"], one["phase"]): one for one in beside(record, "llama")}
    rows = []
    for what, name, phase, aim in AIMS:
        alone, by_turns = measured[name], turns.get((name, phase))
        share = f"{alone['share of bandwidth %']:.1f} %" if phase == "decode 1" else ""
        pair = ["", "", ""]
        if by_turns:
            theirs, ours = by_turns["theirs: tokens/s"], by_turns["ours: tokens/s"]
            pair = [f"{theirs:g}", f"{ours:g}", f"{by_turns['ratio']:.2f}"]
        rows.append([what, *pair, f"{alone[f'{phase}: tokens/s']:g}", share, aim])
    there = next(iter(turns.values()))["peer"] if turns else "llama.cpp"
    head = ["tokens a second", there, "here", "ratio", "here, without a peer between"]
    return table([*head, "share of bandwidth", "aim"], rows)


def speculation(record: dict[str, Any]) -> str:
    rows = [
        [
            one["way"],
            f"{one['tokens_per_step']:.2f}",
            f"{one['tokens_per_second']:.0f}",
            f"{one['speed_up']:.2f}",
            "yes" if one["is_same_text"] else "no",
        ]
        for one in record["speculation"]
    ]
    what = "`refimpl bench speculative --backend cupy -k 7 -n 96`"
    return table([what, "tokens a step", "tokens/s", "speed-up", "the plain text"], rows)


def offload(record: dict[str, Any]) -> str:
    """
    >>> row = {"model": "1B Q8_0", "gpu layers": 8}
    >>> row |= {"decode: tokens/s": 187.1, "prefill 512: tokens/s": 2557.0}
    >>> print(offload({"offload": [row]}))
    | tokens a second of 1B Q8_0 | one sequence | prompt of 512 |
    |---|---|---|
    | `-ngl 8` | 187 | 2557 |
    >>> offload({})
    'Not in this record.'
    """
    rows = record.get("offload")
    if not rows:
        return "Not in this record."
    found = [
        [
            f"`-ngl {one['gpu layers']}`",
            f"{one['decode: tokens/s']:.0f}",
            f"{one['prefill 512: tokens/s']:.0f}",
        ]
        for one in rows
    ]
    what = f"tokens a second of {rows[0]['model']}"
    return table([what, "one sequence", "prompt of 512"], found)


def engine(record: dict[str, Any]) -> str:
    rows = [
        [
            f"{one['model']}, {one['sequences']}",
            *(f"{one[loop]:.0f}" for loop in ("steps", "waiting", "not waiting")),
            f"{100 * one['not waiting'] / one['steps']:.0f} %",
        ]
        for one in record["engine"]
    ]
    what = "tokens/s at temperature 0.7, requests at once"
    loops = ["steps alone", "a loop that waits", "the engine's", "of the steps alone"]
    return table([what, *loops], rows)


WAITS = {
    "long_scoreboard": "memory",
    "short_scoreboard": "shared memory",
    "mio_throttle": "the queue to shared memory",
    "lg_throttle": "the queue to memory",
    "barrier": "other warps",
    "gmma": "the tensor cores",
    "math_pipe_throttle": "the multipliers",
    "dispatch_stall": "dispatch",
    "wait": "its own latency",
    "no_instruction": "code",
    "membar": "a fence",
    "branch_resolving": "branches",
}
"""Nsight Compute's names for what a warp waits for, and ours."""


def counters(record: dict[str, Any]) -> str:
    """
    >>> row = {"what": "64 x 4096", "kernel": "attend_whole", "us": 251.2, "memory busy %": 90.1}
    >>> row |= {"tensor cores busy %": 5.2, "issue slots used %": 19.4, "warps resident %": 12.4}
    >>> row |= {"waits for": "long_scoreboard", "of warps waiting %": 81.0}
    >>> print(counters({"counters": [row]}).splitlines()[-1])
    | 64 x 4096 | `attend_whole` | 251.2 us | 90 % | 5 % | 19 % | 12 % | memory (81 %) |
    >>> counters({})
    'Not in this record.'
    """
    rows = record.get("counters")
    if not rows:
        return "Not in this record."
    busy = ("memory busy %", "tensor cores busy %", "issue slots used %", "warps resident %")
    found = [
        [
            one["what"],
            f"`{one['kernel']}`",
            f"{one['us']:.1f} us",
            *(f"{one[name]:.0f} %" for name in busy),
            f"{WAITS.get(one['waits for'], one['waits for'])} ({one['of warps waiting %']:.0f} %)",
        ]
        for one in rows
    ]
    head = ["kernel", "alone", *(name.removesuffix(" %") for name in busy), "warps wait for"]
    return table(["Nsight Compute's counters", *head], found)


PARTS = (
    conformance,
    engine,
    order,
    attention,
    caches,
    products,
    models,
    speculation,
    offload,
    counters,
)


def page(record: dict[str, Any]) -> str:
    text = PAGE.read_text()
    for make in PARTS:
        begin = f"<!-- {make.__name__} -->\n"
        before, found, rest = text.partition(begin)
        _, end, after = rest.partition("<!-- end -->")
        if not (found and end):
            raise ValueError(f"{PAGE.name} needs a part {make.__name__!r}")
        text = f"{before}{begin}{make(record)}\n{end}{after}"
    return text


if __name__ == "__main__":
    PAGE.write_text(page(json.loads(RECORD.read_text())))
