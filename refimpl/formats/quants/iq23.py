"""IQ2_XXS, IQ2_XS, IQ2_S, IQ3_XXS, IQ3_S: a codebook of magnitudes, and signs beside it.

Sources: block_iq2_xxs ... block_iq3_s in ggml-common.h, dequantize_row_iq2_xxs ... in
ggml-quants.c (0.25).  256 weights a block; the codebooks are in `grids`, the signs in `signs`.
Every format stores, for each group of 8 weights (IQ3: two groups of 4), the index of a pattern;
for each 8 weights their signs; and for each 32 (IQ2_XS, IQ2_S: 16) weights a 4-bit scale.

    IQ2_XXS  d | qs[32] of uint16, as eight pairs of uint32, one for each 32 weights:
                 first    four 8-bit indices
                 second   ssss ggggggg fffffff eeeeeee ddddddd    scale, four times 7 signs
    IQ2_XS   d | qs[32] of uint16: sssssss iiiiiiiii (7 signs, index) | scales[8]
    IQ2_S    d | qs[64]: 32 low bytes of indices, 32 of signs | qh[8]: high two bits | scales[8]
    IQ3_XXS  d | qs[96]: 64 indices, then eight uint32 as the second of IQ2_XXS
    IQ3_S    d | qs[64]: low bytes of indices | qh[8]: high bit | signs[32] | scales[4]

>>> b = np.zeros(1, IQ3_S.dtype); b["d"] = 2; b["scales"] = 1; b["signs"] = 2
>>> IQ3_S.dequantize(b)[0, :4].tolist()                  # 2 * (1 + 2 * 1) * (1, -1, 1, 1)
[6.0, -6.0, 6.0, 6.0]
"""

from functools import cache

import numpy as np
from jaxtyping import Float32, Int8, Shaped, UInt8, UInt16, UInt32, UInt64
from numpy import ndarray

from refimpl.formats.quants import grids
from refimpl.formats.quants.bits import f32, unpack_in_order, wide
from refimpl.formats.quants.block import BlockType, Parts
from refimpl.formats.quants.chunks import blockwise
from refimpl.formats.quants.encode import encoder
from refimpl.formats.quants.grids import Codebook
from refimpl.formats.quants.iq23_encode import (
    encode_iq2_s,
    encode_iq2_xs,
    encode_iq2_xxs,
    encode_iq3_s,
    encode_iq3_xxs,
)
from refimpl.formats.quants.signs import ALL_SIGNS, EVEN_SIGNS, apply_signs

Blocks = Shaped[ndarray, "n"]


@cache
def _patterns(book: Codebook) -> ndarray:
    """The codebook with one word per pattern."""
    return wide(grids.grid(book))


def look_up(book: Codebook, index: Shaped[ndarray, "n groups"]) -> Int8[ndarray, "n 256"]:
    patterns: ndarray = _patterns(book).take(index)
    return patterns.view(np.int8)


def with_high_bits(
    low: UInt8[ndarray, "n groups"], high: UInt8[ndarray, "n groups"]
) -> UInt16[ndarray, "n groups"]:
    index: ndarray = low | high.astype(np.uint16) << np.uint16(8)
    return index


def split_signs_and_scale(
    words: UInt32[ndarray, "n 8"],
) -> tuple[UInt64[ndarray, "n 32"], Float32[ndarray, "n 8"]]:
    """Four times seven signs, and four bits of scale, in every word."""
    sevens = words[..., None] >> np.array([0, 7, 14, 21], dtype=np.uint32) & np.uint32(127)
    return EVEN_SIGNS.take(sevens).reshape(-1, 32), f32(words >> np.uint32(28))


def split_iq2_xxs(b: Blocks) -> Parts:
    pairs = np.ascontiguousarray(b["qs"]).view("<u4").reshape(-1, 8, 2)
    index = np.ascontiguousarray(pairs[..., 0]).view(np.uint8)
    signs, scale = split_signs_and_scale(pairs[..., 1])
    q = apply_signs(look_up(grids.IQ2_XXS, index), signs)
    return Parts(q, f32(b["d"])[:, None] * (scale + np.float32(0.5)) * np.float32(0.25))


def split_iq2_xs(b: Blocks) -> Parts:
    magnitudes = look_up(grids.IQ2_XS, b["qs"] & np.uint16(511))
    q = apply_signs(magnitudes, EVEN_SIGNS.take(b["qs"] >> np.uint16(9)))
    return Parts(q, _quarter_steps(b))


def _quarter_steps(b: Blocks) -> Float32[ndarray, "n 16"]:
    scale = f32(unpack_in_order(b["scales"], 4))
    return f32(b["d"])[:, None] * (scale + np.float32(0.5)) * np.float32(0.25)


def split_iq2_s(b: Blocks) -> Parts:
    index = with_high_bits(b["qs"][:, :32], unpack_in_order(b["qh"], 2))
    q = apply_signs(look_up(grids.IQ2_S, index), ALL_SIGNS.take(b["qs"][:, 32:]))
    return Parts(q, _quarter_steps(b))


def split_iq3_xxs(b: Blocks) -> Parts:
    words = np.ascontiguousarray(b["qs"][:, 64:]).view("<u4")
    signs, scale = split_signs_and_scale(words)
    q = apply_signs(look_up(grids.IQ3_XXS, b["qs"][:, :64]), signs)
    return Parts(q, f32(b["d"])[:, None] * (scale + np.float32(0.5)) * np.float32(0.5))


def split_iq3_s(b: Blocks) -> Parts:
    index = with_high_bits(b["qs"], unpack_in_order(b["qh"], 1))
    q = apply_signs(look_up(grids.IQ3_S, index), ALL_SIGNS.take(b["signs"]))
    scale = unpack_in_order(b["scales"], 4) << np.uint8(1) | np.uint8(1)
    return Parts(q, f32(b["d"])[:, None] * scale)


IQ2_XXS_STRUCT = np.dtype([("d", "<f2"), ("qs", "<u2", (32,))])
IQ2_XXS = BlockType(
    id=16,
    name="IQ2_XXS",
    block_size=256,
    dtype=IQ2_XXS_STRUCT,
    split=split_iq2_xxs,
    dequantize=blockwise(split_iq2_xxs, 256),
    quantize=encoder(encode_iq2_xxs, IQ2_XXS_STRUCT, 256, needs_importance=True),
    needs_importance=True,
    formula="d * (scale + 1/2) / 4 * +-GRID[index]",
)

IQ2_XS_STRUCT = np.dtype([("d", "<f2"), ("qs", "<u2", (32,)), ("scales", "u1", (8,))])
IQ2_XS = BlockType(
    id=17,
    name="IQ2_XS",
    block_size=256,
    dtype=IQ2_XS_STRUCT,
    split=split_iq2_xs,
    dequantize=blockwise(split_iq2_xs, 256),
    quantize=encoder(encode_iq2_xs, IQ2_XS_STRUCT, 256, needs_importance=True),
    needs_importance=True,
    formula="d * (scale + 1/2) / 4 * +-GRID[index]",
)

IQ3_XXS_STRUCT = np.dtype([("d", "<f2"), ("qs", "u1", (96,))])
IQ3_XXS = BlockType(
    id=18,
    name="IQ3_XXS",
    block_size=256,
    dtype=IQ3_XXS_STRUCT,
    split=split_iq3_xxs,
    dequantize=blockwise(split_iq3_xxs, 256),
    quantize=encoder(encode_iq3_xxs, IQ3_XXS_STRUCT, 256),
    formula="d * (scale + 1/2) / 2 * +-GRID[index]",
)

IQ3_S_STRUCT = np.dtype(
    [
        ("d", "<f2"),
        ("qs", "u1", (64,)),
        ("qh", "u1", (8,)),
        ("signs", "u1", (32,)),
        ("scales", "u1", (4,)),
    ]
)
IQ3_S = BlockType(
    id=21,
    name="IQ3_S",
    block_size=256,
    dtype=IQ3_S_STRUCT,
    split=split_iq3_s,
    dequantize=blockwise(split_iq3_s, 256),
    quantize=encoder(encode_iq3_s, IQ3_S_STRUCT, 256),
    formula="d * (1 + 2 * scale) * +-GRID[index]",
)

IQ2_S_STRUCT = np.dtype(
    [("d", "<f2"), ("qs", "u1", (64,)), ("qh", "u1", (8,)), ("scales", "u1", (8,))]
)
IQ2_S = BlockType(
    id=22,
    name="IQ2_S",
    block_size=256,
    dtype=IQ2_S_STRUCT,
    split=split_iq2_s,
    dequantize=blockwise(split_iq2_s, 256),
    quantize=encoder(encode_iq2_s, IQ2_S_STRUCT, 256),
    formula="d * (scale + 1/2) / 4 * +-GRID[index]",
)

TYPES = (IQ2_XXS, IQ2_XS, IQ3_XXS, IQ3_S, IQ2_S)
