"""Four-bit floating point with a shared scale: MXFP4 (OCP) and NVFP4 (NVIDIA).

Sources: OCP Microscaling Formats (MX) 1.0, section 5; block_mxfp4, block_nvfp4 in ggml-common.h and
ggml_e8m0_to_fp32_half, ggml_ue4m3_to_fp32 in ggml-impl.h (0.25).

    E2M1  s e e m     0 0.5 1 1.5 2 3 4 6 and their negatives; stored here doubled, so that they are
                      integers, and the scales below are halved to make up for it
    MXFP4  e | qs[16]        32 weights; e is E8M0, the power of two 2**(e - 127)
    NVFP4  d[4] | qs[32]     64 weights in four groups of 16; d[i] is E4M3 without its sign bit

In both, byte j of a group holds weight j in its low and weight j + half in its high bits.  What
ggml does not do: E8M0's 255 is NaN in the specification, here it is 2**128 (finite after
halving), and E4M3's 0x7F is 0 instead of NaN (but 0xFF, whose top bit counts for nothing
elsewhere, is 240).

>>> b = np.zeros(1, MXFP4.dtype); b["e"] = 128; b["qs"] = 0xA7
>>> MXFP4.dequantize(b)[0, [0, 16]].tolist()             # 2 * 6, 2 * -1
[12.0, -2.0]
"""

import numpy as np
from jaxtyping import Int8, Shaped, UInt8
from numpy import ndarray

from refimpl.formats.quants.bits import unpack_striped
from refimpl.formats.quants.block import BlockType, Parts
from refimpl.formats.quants.chunks import blockwise
from refimpl.formats.quants.encode import encoder
from refimpl.formats.quants.mx_encode import encode_mxfp4, encode_nvfp4
from refimpl.formats.quants.mx_values import E2M1_DOUBLED, e8m0_halved, ue4m3_halved

Blocks = Shaped[ndarray, "n"]


def e2m1(packed: UInt8[ndarray, "n bytes"], run: int) -> Int8[ndarray, "n weights"]:
    return E2M1_DOUBLED.take(unpack_striped(packed, 4, run=run))


def split_mxfp4(b: Blocks) -> Parts:
    return Parts(e2m1(b["qs"], run=16), e8m0_halved()[b["e"]][:, None])


def split_nvfp4(b: Blocks) -> Parts:
    return Parts(e2m1(b["qs"], run=8), ue4m3_halved()[b["d"]])


MXFP4_STRUCT = np.dtype([("e", "u1"), ("qs", "u1", (16,))])
MXFP4 = BlockType(
    id=39,
    name="MXFP4",
    block_size=32,
    dtype=MXFP4_STRUCT,
    split=split_mxfp4,
    dequantize=blockwise(split_mxfp4, 32),
    quantize=encoder(encode_mxfp4, MXFP4_STRUCT, 32),
    formula="2**(e - 128) * (2 * E2M1)",
)

NVFP4_STRUCT = np.dtype([("d", "u1", (4,)), ("qs", "u1", (32,))])
NVFP4 = BlockType(
    id=40,
    name="NVFP4",
    block_size=64,
    dtype=NVFP4_STRUCT,
    split=split_nvfp4,
    dequantize=blockwise(split_nvfp4, 64),
    quantize=encoder(encode_nvfp4, NVFP4_STRUCT, 64),
    formula="(d / 2) * (2 * E2M1)",
)

TYPES = (MXFP4, NVFP4)
