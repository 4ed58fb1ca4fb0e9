"""IQ4_NL and IQ4_XS: four bits that index a fixed table of uneven steps (finer near zero).

Sources: block_iq4_nl, block_iq4_xs and kvalues_iq4nl in ggml-common.h, dequantize_row_iq4_nl and
dequantize_row_iq4_xs in ggml-quants.c (0.25).

    IQ4_NL  d | qs[16]                                 32 weights
    IQ4_XS  d | scales_h | scales_l[4] | qs[128]      256 weights in eight sub-blocks of 32

Within 32 weights, byte j holds weight j in its low four bits and weight 16 + j in its high ones.
The 6-bit scale of sub-block i, less 32: low four bits in nibble i of `scales_l`, high two in bits
2i and 2i + 1 of `scales_h`.

>>> b = np.zeros(1, IQ4_NL.dtype); b["d"] = 0.5; b["qs"] = 0xF8
>>> IQ4_NL.dequantize(b)[0, [0, 16]].tolist()                      # 0.5 * 1, 0.5 * 113
[0.5, 56.5]
"""

import numpy as np
from jaxtyping import Int8, Shaped, UInt8
from numpy import ndarray

from refimpl.formats.quants.bits import f32, unpack_in_order, unpack_striped
from refimpl.formats.quants.block import BlockType, Parts
from refimpl.formats.quants.chunks import blockwise
from refimpl.formats.quants.encode import encoder
from refimpl.formats.quants.iq4_encode import encode_iq4_nl, encode_iq4_xs
from refimpl.formats.quants.iq4_values import VALUES

Blocks = Shaped[ndarray, "n"]


def values(qs: UInt8[ndarray, "n bytes"]) -> Int8[ndarray, "n weights"]:
    return VALUES.take(unpack_striped(qs, 4, run=16))


def split_iq4_nl(b: Blocks) -> Parts:
    return Parts(values(b["qs"]), f32(b["d"])[:, None])


def scales_iq4_xs(b: Blocks) -> Int8[ndarray, "n 8"]:
    low = unpack_in_order(b["scales_l"], 4)
    high = b["scales_h"][:, None] >> np.arange(0, 16, 2, dtype=np.uint16) & np.uint16(3)
    scale: ndarray = (low | high.astype(np.uint8) << np.uint8(4)).view(np.int8) - np.int8(32)
    return scale


def split_iq4_xs(b: Blocks) -> Parts:
    return Parts(values(b["qs"]), f32(scales_iq4_xs(b)) * f32(b["d"])[:, None])


IQ4_NL_STRUCT = np.dtype([("d", "<f2"), ("qs", "u1", (16,))])
IQ4_NL = BlockType(
    id=20,
    name="IQ4_NL",
    block_size=32,
    dtype=IQ4_NL_STRUCT,
    split=split_iq4_nl,
    dequantize=blockwise(split_iq4_nl, 32),
    quantize=encoder(encode_iq4_nl, IQ4_NL_STRUCT, 32),
    formula="d * VALUES[q]",
)

IQ4_XS_STRUCT = np.dtype(
    [("d", "<f2"), ("scales_h", "<u2"), ("scales_l", "u1", (4,)), ("qs", "u1", (128,))]
)
IQ4_XS = BlockType(
    id=23,
    name="IQ4_XS",
    block_size=256,
    dtype=IQ4_XS_STRUCT,
    split=split_iq4_xs,
    dequantize=blockwise(split_iq4_xs, 256),
    quantize=encoder(encode_iq4_xs, IQ4_XS_STRUCT, 256),
    formula="(d * (scale - 32)) * VALUES[q]",
)

TYPES = (IQ4_NL, IQ4_XS)
