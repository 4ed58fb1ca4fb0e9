"""Every kernel with the names it is compiled under: what `backends.cupy.launch` can ask for.

Compiling them needs no GPU, so CI does, for the oldest and the newest architecture that they serve.
Kernels of Hopper's own instructions (HOPPER) are compiled for Hopper alone.
"""

from collections.abc import Iterator
from itertools import product
from typing import Any

from backends.cupy.cache import CACHES, piece_of
from backends.cupy.launch import (
    ACTIVATIONS,
    FEW_HALF,
    FEW_Q8,
    HALVES,
    KINDS,
    MOST_PIECES,
    Q8_STAGES,
    RING_STAGES,
    SPLIT,
)
from backends.cupy.row import ROOM, ROOM_OF_TWO, ROOM_SMALL, STAGES_OF_TWO, ring_of_row
from backends.cupy.sharing import MOST_TILES, Blocks
from backends.cupy.tiles import FORMATS, Planes, Tiles

Variant = tuple[str, dict[str, Any]]
QUANTISED = {n: code for n, code in FORMATS.items() if n not in ("F32", "F16", "BF16")}
DIMS = (64, 128, 256)
ALONE = ("angles", "copy_blocks", "argmax", "advance", "known_tokens")
HOPPER = (
    "attend_ring",
    "attend_whole",
    "linear_half_batch",
    "linear_half_hopper",
    "linear_q8_hopper",
)


def variants() -> Iterator[Variant]:
    yield from linear_variants()
    yield from attention_variants()
    for kind in KINDS.values():
        yield "prepare", {"KIND": kind}
        yield "prepare", {"KIND": kind, "NORM": None}
        if kind in (KINDS["F16"], KINDS["BF16"]):
            yield "prepare", {"KIND": kind, "NORM": None, "HOPPER": None}
            yield "prepare", {"KIND": kind, "NORM": None, "HOPPER": None, "PIECES": 4}
        if kind in (KINDS["Q8_0"], KINDS["F16"], KINDS["BF16"]):
            for pieces in (1, 4, MOST_PIECES):
                yield "prepare", {"KIND": kind, "NORM": None, "PIECES": pieces}
        yield from (
            ("prepare", {"KIND": kind, "GLU": None, "ACTIVATION": a}) for a in ACTIVATIONS.values()
        )
    yield from (("embed", {"FORMAT": f}) for f in FORMATS.values())
    yield from (("rope_store", {"CACHE": c}) for c in CACHES.values())
    yield from (
        ("pointwise", {"OP": op, "ACTIVATION": a}) for op in range(4) for a in ACTIVATIONS.values()
    )
    yield "normalise", {}
    yield "normalise", {"LAYER": None}
    yield from ((name, {}) for name in ALONE)
    yield from ((f"sample_{name}", {}) for name in ("allow", "weigh", "front", "pick"))


def linear_variants() -> Iterator[Variant]:
    for code in QUANTISED.values():
        yield "linear_q8_wide", {"FORMAT": code}
        for gate in ({}, {"ACTIVATION": ACTIVATIONS["silu"]}):
            yield "linear_q8_hopper", {"FORMAT": code, "STAGES": Q8_STAGES, **gate}
        for _, rows, tokens, ahead in FEW_Q8:
            tiles = {"ROW_TILES": rows, "TOKEN_TILES": tokens, "AHEAD": ahead}
            yield "linear_q8", {"FORMAT": code, **tiles}
    for name, code in QUANTISED.items():
        *others, most = stages_of_row(name)
        for own in own_tokens():
            pieces = {"PIECES": 4} if own else {}
            yield "linear_q8_one", {"FORMAT": code, **own, **pieces, "STAGES": most}
            if (two := stages_of_two(name)) >= STAGES_OF_TWO:
                pieces = {"PIECES": 2} if own else {}
                yield "linear_q8_one", {"FORMAT": code, **own, **pieces, "SIDES": 2, "STAGES": two}
        yield from (("linear_q8_one", {"FORMAT": code, "STAGES": stages}) for stages in others)
        yield "linear_q8_one", {"FORMAT": code, "FAR": None, "STAGES": 1}
    for code in FORMATS.values():
        for tokens in (1, 8):
            yield "linear_exact", {"FORMAT": code, "TOKENS": tokens, "STAGES": 2}
    for activation in ("gelu", "gelu_tanh"):
        gate = {"ACTIVATION": ACTIVATIONS[activation]}
        yield "linear_q8_hopper", {"FORMAT": FORMATS["Q8_0"], "STAGES": Q8_STAGES, **gate}
    for half in HALVES.values():
        yield "linear_half_hopper", {"HALF_TYPE": half}
        for cluster, share in ((2, 1), (2, 4), (1, 3), (1, MOST_TILES)):  # and any between
            of_rows = Blocks(cluster=cluster, tiles=share).defines
            yield "linear_half_batch", {"HALF_TYPE": half, **of_rows}
        for code in ACTIVATIONS.values():
            gated = Blocks(cluster=1, tiles=14, sides=2).defines
            yield "linear_half_batch", {"HALF_TYPE": half, **gated, "ACTIVATION": code}
    for name, mma in (("F16", "mma_f16"), ("BF16", "mma_bf16")):
        for stages in stages_of_row(name):
            yield "linear_half_one", {"FORMAT": FORMATS[name], "MMA": mma, "STAGES": stages}
        yield "linear_half_wide", {"MMA": mma}
        for _, rows, tokens, ahead in FEW_HALF:
            tiles = {"ROW_TILES": rows, "TOKEN_TILES": tokens, "AHEAD": ahead}
            yield "linear_half", {"MMA": mma, **tiles}


def own_tokens() -> Iterator[dict[str, Any]]:
    """How a kernel for one token gets it: prepared, or as it is."""
    yield {}
    for kind in (KINDS["Q8_0"], KINDS["Q8_K"]):
        yield {"KIND": kind}
        yield {"KIND": kind, "NORM": None}


def stages_of_row(name: str) -> list[int]:
    """Of the rings for one token, for tokens of few columns and of many."""
    stages = set()
    for columns in (2048, 4096, 14336, 65536):
        w = Tiles(format=name, rows=16, columns=columns, planes=Planes(None))
        stages |= {ring_of_row(w, room)[0] for room in (ROOM, ROOM_SMALL)}
    return sorted(stages)


def stages_of_two(name: str) -> int:
    """The same of two row tiles side by side."""
    w = Tiles(format=name, rows=16, columns=4096, planes=Planes(None))
    return ring_of_row(w, ROOM_OF_TWO, sides=2)[0]


def attention_variants() -> Iterator[Variant]:
    rounded: list[dict[str, Any]] = [{"OUT": "to_f16"}, {"OUT": "to_f16", "HOPPER": None}]
    for half in (16, 8):
        for dim in DIMS:
            shape = {"HALF": half, "DIM": dim, "SPLIT": SPLIT, "PAGE_SHIFT": 4}
            yield "attend_split", {**shape, "TILES": 1, "AHEAD": 1}
            if dim == 128:
                yield "attend_ring", {**shape, "STAGES": RING_STAGES}
                for block in ({"WARPS": 4, "BLOCKS": 2}, {"WARPS": 8, "BLOCKS": 1}):
                    for early, out in product(({}, {"EARLY": None}), ({}, rounded[-1])):
                        yield "attend_whole", {**shape, "STAGES": 2, **block, **early, **out}
            yield "attend_few", shape
            for early in ({}, {"EARLY": None}):
                yield "attend_few", {**shape, "ROPE": None, **early}
                for out in ({}, *rounded):
                    one = {"ONE_SPLIT": None, "ROPE": None, **early, **out}
                    yield "attend_few", {**shape, **one}
            yield "attend_walk", {**shape, "TILES": 2 if dim <= 128 else 1, "AHEAD": 0}
            if dim <= 128:
                yield "attend_together", shape
                yield "attend_together", {**shape, "CAPPED": None}
    any_page = {"HALF": 16, "DIM": 64, "SPLIT": SPLIT, "TILES": 1, "AHEAD": 0}
    yield from ((name, any_page) for name in ("attend_split", "attend_walk"))
    for out in ({}, *rounded, {"OUT": "to_bf16"}):
        yield "attend_combine", {"SPLIT": SPLIT, **out}
        yield "attend_combine", {"SPLIT": SPLIT, "MANY": None, **out}
    for cache, code in CACHES.items():
        for dim, columns, parts in (
            (128, 4, {"PARTS": None}),
            (128, 8, {}),
            (32, 8, {}),
            (512, 2, {}),
        ):
            kind = {"CACHE": code, "MOST_DIM": dim, "COLUMNS": columns, "SPLIT": SPLIT}
            yield "attend_plain", kind | {"PIECE": piece_of(cache, dim)} | parts
