"""IQ1_S and IQ1_M: patterns of eight times -1, 0 or 1, each pattern shifted by plus or minus 1/8.

Sources: block_iq1_s, block_iq1_m in ggml-common.h, dequantize_row_iq1_s and dequantize_row_iq1_m in
ggml-quants.c (0.25).  256 weights a block, 2048 patterns (11 bits) in `grids`.

    IQ1_S  d | qs[32]: low bytes of the indices | qh[8] of uint16, one for each 32 weights:
             D sss ddd ccc bbb aaa     shift is minus, scale, high bits of the four indices
    IQ1_M  qs[32] | qh[16]: a nibble for each 8 weights, D iii (shift is minus, high bits of the
    index)
             | scales[8], as four uint16:  ffff ddd ccc bbb aaa
             scales of four times 16 weights; the ffff, lowest first, are the float16 scale `d`

A weight is `d * (2 * scale + 1) * (q +- 1/8)`.  In eighths, q +- 1/8 is the integer 8 q +- 1, and
the other factor divided by 8 is exact, so the product below rounds as ggml's does.

>>> b = np.zeros(1, IQ1_S.dtype); b["d"] = 1; b["qh"] = 0x9000          # scale 1, shift -1/8
>>> IQ1_S.dequantize(b)[0, 0].item()                                  # 1 * 3 * (-1 - 1/8)
-3.375
"""

import numpy as np
from jaxtyping import Float32, Shaped, UInt8, UInt16
from numpy import ndarray

from refimpl.formats.quants import grids
from refimpl.formats.quants.bits import f32, unpack_in_order
from refimpl.formats.quants.block import BlockType, Parts
from refimpl.formats.quants.chunks import blockwise
from refimpl.formats.quants.encode import encoder
from refimpl.formats.quants.iq1_encode import encode_iq1_m, encode_iq1_s
from refimpl.formats.quants.iq23 import look_up, with_high_bits

Blocks = Shaped[ndarray, "n"]


def shifted(
    index: UInt16[ndarray, "n 32"],
    minus: Shaped[ndarray, "n groups"],
    scale: Float32[ndarray, "n subs"],
) -> Parts:
    """scale * (q +- 1/8), with the sign of the shift per group of equal size."""
    eighths = look_up(grids.IQ1, index) << np.int8(3)
    groups = eighths.reshape(*minus.shape, -1)
    groups += np.where(minus, np.int8(-1), np.int8(1))[..., None]
    return Parts(eighths, scale * np.float32(0.125))


def split_iq1_s(b: Blocks) -> Parts:
    qh = b["qh"]
    high = qh[..., None] >> np.array([0, 3, 6, 9], dtype=np.uint16) & np.uint16(7)
    index = b["qs"] | (high << np.uint16(8)).reshape(-1, 32)
    scale = f32((qh >> np.uint16(12) & np.uint16(7)) * np.uint16(2) + np.uint16(1))
    return shifted(index, qh >= 0x8000, f32(b["d"])[:, None] * scale)


def split_scales_iq1_m(
    scales: UInt8[ndarray, "n 8"],
) -> tuple[Float32[ndarray, "n"], UInt16[ndarray, "n 16"]]:
    """The scattered float16 `d`, and the 3-bit scales of 16 weights each."""
    words = np.ascontiguousarray(scales).view("<u2")
    quarters = words >> np.uint16(12) << np.array([0, 4, 8, 12], dtype=np.uint16)
    d = np.bitwise_or.reduce(quarters, axis=1).view(np.float16)
    threes = words[..., None] >> np.array([0, 3, 6, 9], dtype=np.uint16) & np.uint16(7)
    return f32(d), threes.reshape(-1, 16)


def split_iq1_m(b: Blocks) -> Parts:
    d, scale = split_scales_iq1_m(b["scales"])
    nibbles = unpack_in_order(b["qh"], 4)
    index = with_high_bits(b["qs"], nibbles & np.uint8(7))
    odd = f32(scale * np.uint16(2) + np.uint16(1))
    return shifted(index, nibbles >= 8, d[:, None] * odd)


IQ1_S_STRUCT = np.dtype([("d", "<f2"), ("qs", "u1", (32,)), ("qh", "<u2", (8,))])
IQ1_S = BlockType(
    id=19,
    name="IQ1_S",
    block_size=256,
    dtype=IQ1_S_STRUCT,
    split=split_iq1_s,
    dequantize=blockwise(split_iq1_s, 256),
    quantize=encoder(encode_iq1_s, IQ1_S_STRUCT, 256, needs_importance=True),
    needs_importance=True,
    formula="d * (2 * scale + 1) * (GRID[index] +- 1/8)",
)

IQ1_M_STRUCT = np.dtype([("qs", "u1", (32,)), ("qh", "u1", (16,)), ("scales", "u1", (8,))])
IQ1_M = BlockType(
    id=29,
    name="IQ1_M",
    block_size=256,
    dtype=IQ1_M_STRUCT,
    split=split_iq1_m,
    dequantize=blockwise(split_iq1_m, 256),
    quantize=encoder(encode_iq1_m, IQ1_M_STRUCT, 256),
    formula="d * (2 * scale + 1) * (GRID[index] +- 1/8)",
)

TYPES = (IQ1_S, IQ1_M)
