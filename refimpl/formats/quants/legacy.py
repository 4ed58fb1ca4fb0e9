"""The first formats of ggml: 32 weights share a scale `d` and, in the `_1` kinds, a minimum `m`.

Sources: block_q4_0 ... block_q8_1 in ggml-common.h; dequantize_row_q4_0 ... in ggml-quants.c
(0.25).  A `_0` format stores signed steps around zero, a `_1` format unsigned steps above a
minimum.  Nothing here rounds but the last operations: one product, or a product and then a sum
(two roundings; an engine that fuses them into one gives other bits).

    field   Q4_0  Q4_1  Q5_0  Q5_1  Q8_0  Q8_1        bytes
    d         2     2     2     2     2     2         float16 scale
    m, s            2           2           2         float16 minimum; in Q8_1 d * sum(qs)
    qh                    4     4                     bit j: fifth bit of weight j
    qs       16    16    16    16    32    32         weight j     = low  four bits of byte j
                                                      weight 16+j = high four bits of byte j
                                                      (Q8: one int8 a weight)

>>> b = np.zeros(1, Q4_0.dtype); b["d"] = 0.5; b["qs"] = 0x9F       # nibbles 15 and 9
>>> Q4_0.dequantize(b)[0, [0, 16]].tolist()                         # 0.5 * (15 - 8), 0.5 * (9 - 8)
[3.5, 0.5]
"""

import numpy as np
from jaxtyping import Shaped, UInt8
from numpy import ndarray

from refimpl.formats.quants.bits import f32, unpack_in_order, unpack_striped
from refimpl.formats.quants.block import BlockType, Parts
from refimpl.formats.quants.chunks import blockwise
from refimpl.formats.quants.encode import encoder
from refimpl.formats.quants.legacy_encode import (
    encode_q4_0,
    encode_q4_1,
    encode_q5_0,
    encode_q5_1,
    encode_q8_0,
    encode_q8_1,
    row_error_weights,
)

Blocks = Shaped[ndarray, "n"]


def five_bits(b: Blocks) -> UInt8[ndarray, "n 32"]:
    """The nibbles of `qs`, each with its fifth bit from `qh`."""
    q: ndarray = unpack_striped(b["qs"], 4, run=16) | unpack_in_order(b["qh"], 1, at=4)
    return q


def split_q4_0(b: Blocks) -> Parts:
    q = unpack_striped(b["qs"], 4, run=16).view(np.int8) - np.int8(8)
    return Parts(q, f32(b["d"])[:, None])


def split_q4_1(b: Blocks) -> Parts:
    return Parts(unpack_striped(b["qs"], 4, run=16), f32(b["d"])[:, None], -f32(b["m"])[:, None])


def split_q5_0(b: Blocks) -> Parts:
    return Parts(five_bits(b).view(np.int8) - np.int8(16), f32(b["d"])[:, None])


def split_q5_1(b: Blocks) -> Parts:
    return Parts(five_bits(b), f32(b["d"])[:, None], -f32(b["m"])[:, None])


def split_q8(b: Blocks) -> Parts:
    return Parts(b["qs"], f32(b["d"])[:, None])


Q4_0_STRUCT = np.dtype([("d", "<f2"), ("qs", "u1", (16,))])
Q4_0 = BlockType(
    id=2,
    name="Q4_0",
    block_size=32,
    dtype=Q4_0_STRUCT,
    split=split_q4_0,
    dequantize=blockwise(split_q4_0, 32),
    quantize=encoder(encode_q4_0, Q4_0_STRUCT, 32, weigh=row_error_weights),
    formula="d * (q - 8)",
)

Q4_1_STRUCT = np.dtype([("d", "<f2"), ("m", "<f2"), ("qs", "u1", (16,))])
Q4_1 = BlockType(
    id=3,
    name="Q4_1",
    block_size=32,
    dtype=Q4_1_STRUCT,
    split=split_q4_1,
    dequantize=blockwise(split_q4_1, 32),
    quantize=encoder(encode_q4_1, Q4_1_STRUCT, 32, weigh=row_error_weights),
    formula="d * q + m",
)

Q5_0_STRUCT = np.dtype([("d", "<f2"), ("qh", "u1", (4,)), ("qs", "u1", (16,))])
Q5_0 = BlockType(
    id=6,
    name="Q5_0",
    block_size=32,
    dtype=Q5_0_STRUCT,
    split=split_q5_0,
    dequantize=blockwise(split_q5_0, 32),
    quantize=encoder(encode_q5_0, Q5_0_STRUCT, 32, weigh=row_error_weights),
    formula="d * (q - 16)",
)

Q5_1_STRUCT = np.dtype([("d", "<f2"), ("m", "<f2"), ("qh", "u1", (4,)), ("qs", "u1", (16,))])
Q5_1 = BlockType(
    id=7,
    name="Q5_1",
    block_size=32,
    dtype=Q5_1_STRUCT,
    split=split_q5_1,
    dequantize=blockwise(split_q5_1, 32),
    quantize=encoder(encode_q5_1, Q5_1_STRUCT, 32, weigh=row_error_weights),
    formula="d * q + m",
)

Q8_0_STRUCT = np.dtype([("d", "<f2"), ("qs", "i1", (32,))])
Q8_0 = BlockType(
    id=8,
    name="Q8_0",
    block_size=32,
    dtype=Q8_0_STRUCT,
    split=split_q8,
    dequantize=blockwise(split_q8, 32),
    quantize=encoder(encode_q8_0, Q8_0_STRUCT, 32),
    formula="d * q",
)

Q8_1_STRUCT = np.dtype([("d", "<f2"), ("s", "<f2"), ("qs", "i1", (32,))])
Q8_1 = BlockType(
    id=9,
    name="Q8_1",
    block_size=32,
    dtype=Q8_1_STRUCT,
    split=split_q8,
    dequantize=blockwise(split_q8, 32),
    quantize=encoder(encode_q8_1, Q8_1_STRUCT, 32),
    formula="d * q",
)

TYPES = (Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q8_1)
