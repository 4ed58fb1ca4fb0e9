"""The K formats: super-blocks of 256 weights, whose sub-blocks have small integer scales.

Sources: block_q2_K ... block_q8_K in ggml-common.h, dequantize_row_q2_K ... in ggml-quants.c
(0.25).  `d` (and `dmin`) scale the scales; so a sub-block of 16 or 32 weights costs 4 to 8 bits
of scale, not 16.

    field    Q2_K  Q3_K  Q4_K  Q5_K  Q6_K  Q8_K       bytes
    d          2     2     2     2     2     4        float16 (Q8_K: float32) scale of the scales
    dmin       2           2     2                    float16 scale of the minima
    scales    16    12    12    12    16              a scale (and minimum) per sub-block, see below
    qs, ql    64    64   128   128   128   256        low bits of the weights (striped)
    hmask, qh       32          32    64              high bits of the weights (striped)
    bsums                                   32        int16 sums of 16 quants, for dot products
    weights   16    16    32    32    16   256        per sub-block

The order of the operations is ggml's, since each rounds: `(d * scale) * q - (dmin * minimum)`.

>>> b = np.zeros(1, Q6_K.dtype); b["d"] = 0.25; b["scales"] = 3; b["ql"] = 15; b["qh"] = 255
>>> Q6_K.dequantize(b)[0, [0, 64]].tolist()            # 0.25 * 3 * (63 - 32), 0.25 * 3 * (48 - 32)
[23.25, 12.0]
"""

import numpy as np
from jaxtyping import Float32, Shaped, UInt8
from numpy import ndarray

from refimpl.formats.quants.bits import as_words, every_byte, f32, unpack_striped
from refimpl.formats.quants.block import BlockType, Parts
from refimpl.formats.quants.chunks import blockwise
from refimpl.formats.quants.encode import encoder
from refimpl.formats.quants.k_encode import (
    encode_q2_k,
    encode_q3_k,
    encode_q4_k,
    encode_q5_k,
    encode_q6_k,
    encode_q8_k,
)

Blocks = Shaped[ndarray, "n"]


def split_q2_k(b: Blocks) -> Parts:
    """scales, one byte per sub-block: low four bits scale, high four bits minimum."""
    scale = f32(b["scales"] & 15) * f32(b["d"])[:, None]
    minimum = f32(b["scales"] >> 4) * f32(b["dmin"])[:, None]
    return Parts(unpack_striped(b["qs"], 2, run=32), scale, minimum)


def scales_q3_k(scales: UInt8[ndarray, "n 12"]) -> UInt8[ndarray, "n 16"]:
    """Sixteen 6-bit scales A..P in twelve bytes (bit 7 on the left):

    byte 0..7   IIIIAAAA JJJJBBBB ... PPPPHHHH      low four bits
    byte 8..11  MMIIEEAA NNJJFFBB OOKKGGCC PPLLHHDD  high two bits
    """
    low = unpack_striped(scales[:, :8], 4, run=8)
    joined: ndarray = low | unpack_striped(scales[:, 8:], 2, run=4, at=4)
    return joined


def split_q3_k(b: Blocks) -> Parts:
    """hmask holds the third bit of each weight; a zero there subtracts 4."""
    high = unpack_striped(b["hmask"], 1, run=32, at=2)
    q = (unpack_striped(b["qs"], 2, run=32) | high).view(np.int8) - np.int8(4)
    scale = f32(scales_q3_k(b["scales"]).view(np.int8) - np.int8(32)) * f32(b["d"])[:, None]
    return Parts(q, scale)


def scales_q4_k(
    scales: UInt8[ndarray, "n 12"],
) -> tuple[UInt8[ndarray, "n 8"], UInt8[ndarray, "n 8"]]:
    """Eight 6-bit scales A..H and minima a..h in twelve bytes (bit 7 on the left):

    byte 0..3   EEAAAAAA FFBBBBBB GGCCCCCC HHDDDDDD
    byte 4..7   eeaaaaaa ffbbbbbb ggcccccc hhdddddd
    byte 8..11  eeeeEEEE ffffFFFF ggggGGGG hhhhHHHH
    """
    a, b, c = as_words(scales, 4).T  # four scales to a word
    six, four, two = (every_byte(mask, a.dtype) for mask in (0b111111, 0b1111, 0b110000))
    scale = np.stack([a & six, c & four | a >> 2 & two], axis=1)
    minimum = np.stack([b & six, c >> 4 & four | b >> 2 & two], axis=1)
    return scale.view(np.uint8), minimum.view(np.uint8)


def _scaled_q4_k(b: Blocks) -> tuple[Float32[ndarray, "n 8"], Float32[ndarray, "n 8"]]:
    scale, minimum = scales_q4_k(b["scales"])
    return f32(scale) * f32(b["d"])[:, None], f32(minimum) * f32(b["dmin"])[:, None]


def split_q4_k(b: Blocks) -> Parts:
    return Parts(unpack_striped(b["qs"], 4, run=32), *_scaled_q4_k(b))


def split_q5_k(b: Blocks) -> Parts:
    high = unpack_striped(b["qh"], 1, run=32, at=4)
    return Parts(unpack_striped(b["qs"], 4, run=32) | high, *_scaled_q4_k(b))


def split_q6_k(b: Blocks) -> Parts:
    high = unpack_striped(b["qh"], 2, run=32, at=4)
    q = (unpack_striped(b["ql"], 4, run=64) | high).view(np.int8) - np.int8(32)
    return Parts(q, f32(b["scales"]) * f32(b["d"])[:, None])


def split_q8_k(b: Blocks) -> Parts:
    return Parts(b["qs"], b["d"][:, None])


Q2_K_STRUCT = np.dtype(
    [("scales", "u1", (16,)), ("qs", "u1", (64,)), ("d", "<f2"), ("dmin", "<f2")]
)
Q2_K = BlockType(
    id=10,
    name="Q2_K",
    block_size=256,
    dtype=Q2_K_STRUCT,
    split=split_q2_k,
    dequantize=blockwise(split_q2_k, 256),
    quantize=encoder(encode_q2_k, Q2_K_STRUCT, 256),
    formula="(d * scale) * q - dmin * minimum",
)

Q3_K_STRUCT = np.dtype(
    [("hmask", "u1", (32,)), ("qs", "u1", (64,)), ("scales", "u1", (12,)), ("d", "<f2")]
)
Q3_K = BlockType(
    id=11,
    name="Q3_K",
    block_size=256,
    dtype=Q3_K_STRUCT,
    split=split_q3_k,
    dequantize=blockwise(split_q3_k, 256),
    quantize=encoder(encode_q3_k, Q3_K_STRUCT, 256),
    formula="(d * (scale - 32)) * (q - 4)",
)

Q4_K_STRUCT = np.dtype(
    [("d", "<f2"), ("dmin", "<f2"), ("scales", "u1", (12,)), ("qs", "u1", (128,))]
)
Q4_K = BlockType(
    id=12,
    name="Q4_K",
    block_size=256,
    dtype=Q4_K_STRUCT,
    split=split_q4_k,
    dequantize=blockwise(split_q4_k, 256),
    quantize=encoder(encode_q4_k, Q4_K_STRUCT, 256),
    formula="(d * scale) * q - dmin * minimum",
)

Q5_K_STRUCT = np.dtype(
    [
        ("d", "<f2"),
        ("dmin", "<f2"),
        ("scales", "u1", (12,)),
        ("qh", "u1", (32,)),
        ("qs", "u1", (128,)),
    ]
)
Q5_K = BlockType(
    id=13,
    name="Q5_K",
    block_size=256,
    dtype=Q5_K_STRUCT,
    split=split_q5_k,
    dequantize=blockwise(split_q5_k, 256),
    quantize=encoder(encode_q5_k, Q5_K_STRUCT, 256),
    formula="(d * scale) * q - dmin * minimum",
)

Q6_K_STRUCT = np.dtype(
    [("ql", "u1", (128,)), ("qh", "u1", (64,)), ("scales", "i1", (16,)), ("d", "<f2")]
)
Q6_K = BlockType(
    id=14,
    name="Q6_K",
    block_size=256,
    dtype=Q6_K_STRUCT,
    split=split_q6_k,
    dequantize=blockwise(split_q6_k, 256),
    quantize=encoder(encode_q6_k, Q6_K_STRUCT, 256),
    formula="(d * scale) * (q - 32)",
)

Q8_K_STRUCT = np.dtype([("d", "<f4"), ("qs", "i1", (256,)), ("bsums", "<i2", (16,))])
Q8_K = BlockType(
    id=15,
    name="Q8_K",
    block_size=256,
    dtype=Q8_K_STRUCT,
    split=split_q8_k,
    dequantize=blockwise(split_q8_k, 256),
    quantize=encoder(encode_q8_k, Q8_K_STRUCT, 256),
    formula="d * q",
)

TYPES = (Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, Q8_K)
