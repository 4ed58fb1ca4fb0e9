"""Weights of one or two bits, or of one trit: the formats of models that were trained that way.

Sources: block_q1_0, block_q2_0, block_tq1_0, block_tq2_0 in ggml-common.h and their
dequantize_row_* in ggml-quants.c (0.25).  One float16 scale `d` and no minimum.

    Q1_0   d | qs[16]          128 weights; bit j of the string: 1 means +d, 0 means -d
    Q2_0   d | qs[16]           64 weights; field j of two bits, minus 1: -d, 0, +d, +2d
    TQ2_0  qs[64] | d          256 weights; two bits striped over runs of 32 bytes, minus 1
    TQ1_0  qs[48] qh[4] | d    256 weights, five trits to a byte

A TQ1_0 byte is the fraction q / 256 of a number 0.t0 t1 t2 t3 t4 in base 3: multiply by 3 and the
digit t0 comes out above the point; multiply the rest by 3 for t1, and so on.  Trits are striped: 32
bytes hold weights 0..159, 16 bytes hold 160..239, and the four of `qh` (four trits each) 240..255.

>>> b = np.zeros(1, Q2_0.dtype); b["d"] = 0.5; b["qs"] = 0b11_10_01_00
>>> Q2_0.dequantize(b)[0, :4].tolist()
[-0.5, 0.0, 0.5, 1.0]
"""

import numpy as np
from jaxtyping import Int8, Shaped, UInt8
from numpy import ndarray

from refimpl.formats.quants.bits import f32, unpack_in_order, unpack_striped
from refimpl.formats.quants.block import BlockType, Parts
from refimpl.formats.quants.chunks import blockwise
from refimpl.formats.quants.encode import encoder
from refimpl.formats.quants.ternary_encode import (
    encode_q1_0,
    encode_q2_0,
    encode_tq1_0,
    encode_tq2_0,
)

Blocks = Shaped[ndarray, "n"]


def split_q1_0(b: Blocks) -> Parts:
    sign = unpack_in_order(b["qs"], 1, at=1).view(np.int8) - np.int8(1)
    return Parts(sign, f32(b["d"])[:, None])


def split_q2_0(b: Blocks) -> Parts:
    return Parts(unpack_in_order(b["qs"], 2).view(np.int8) - np.int8(1), f32(b["d"])[:, None])


def split_tq2_0(b: Blocks) -> Parts:
    q = unpack_striped(b["qs"], 2, run=32).view(np.int8) - np.int8(1)
    return Parts(q, f32(b["d"])[:, None])


def unpack_trits(packed: UInt8[ndarray, "n run"], digits: int) -> Int8[ndarray, "n trits"]:
    """Trits -1, 0, 1 striped over one run of bytes.

    `digit = rest * 3 // 256` is 0, 1 or 2; comparing with the two thresholds stays in bytes.
    """
    rest = [
        packed * np.uint8(3**i) for i in range(digits)
    ]  # modulo 256: the digits before are gone
    q = np.concatenate(rest, axis=1)
    return (q > 85).view(np.int8) - (q < 171).view(np.int8)


def split_tq1_0(b: Blocks) -> Parts:
    pieces = (b["qs"][:, :32], 5), (b["qs"][:, 32:], 5), (b["qh"], 4)
    q = np.concatenate([unpack_trits(packed, digits) for packed, digits in pieces], axis=1)
    return Parts(q, f32(b["d"])[:, None])


TQ1_0_STRUCT = np.dtype([("qs", "u1", (48,)), ("qh", "u1", (4,)), ("d", "<f2")])
TQ1_0 = BlockType(
    id=34,
    name="TQ1_0",
    block_size=256,
    dtype=TQ1_0_STRUCT,
    split=split_tq1_0,
    dequantize=blockwise(split_tq1_0, 256),
    quantize=encoder(encode_tq1_0, TQ1_0_STRUCT, 256),
    formula="d * trit",
)

TQ2_0_STRUCT = np.dtype([("qs", "u1", (64,)), ("d", "<f2")])
TQ2_0 = BlockType(
    id=35,
    name="TQ2_0",
    block_size=256,
    dtype=TQ2_0_STRUCT,
    split=split_tq2_0,
    dequantize=blockwise(split_tq2_0, 256),
    quantize=encoder(encode_tq2_0, TQ2_0_STRUCT, 256),
    formula="d * (q - 1)",
)

Q1_0_STRUCT = np.dtype([("d", "<f2"), ("qs", "u1", (16,))])
Q1_0 = BlockType(
    id=41,
    name="Q1_0",
    block_size=128,
    dtype=Q1_0_STRUCT,
    split=split_q1_0,
    dequantize=blockwise(split_q1_0, 128),
    quantize=encoder(encode_q1_0, Q1_0_STRUCT, 128),
    formula="d * (2 * q - 1)",
)

Q2_0_STRUCT = np.dtype([("d", "<f2"), ("qs", "u1", (16,))])
Q2_0 = BlockType(
    id=42,
    name="Q2_0",
    block_size=64,
    dtype=Q2_0_STRUCT,
    split=split_q2_0,
    dequantize=blockwise(split_q2_0, 64),
    quantize=encoder(encode_q2_0, Q2_0_STRUCT, 64),
    formula="d * (q - 1)",
)

TYPES = (TQ1_0, TQ2_0, Q1_0, Q2_0)
