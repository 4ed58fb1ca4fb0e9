"""MXFP4 as gpt-oss stores its experts: 4-bit floats, 32 of which share a power of two.

    NAME_blocks   uint8  [experts, out, groups, 16]     32 values of 4 bits
    NAME_scales   uint8  [experts, out, groups]         E8M0: the power of two 2**(s - 127)

    a byte    bit 7      bit 0
              | odd | even |         the value of the even input, then that of the odd one
    E2M1      s e e m                0 0.5 1 1.5 2 3 4 6 and, from 8 on, their negatives

    NAME[expert, i, o] = E2M1[expert, o, i] * 2**(scale[expert, o, i // 32] - 127)

The result is [experts, in, out], because that is how transformers' gpt-oss multiplies (x @ w), and
the name is the blocks' without `_blocks`.  ggml's MXFP4 holds the same numbers in another order:
its bytes pair value j with value j + 16.

What is exact: everything; a product too large for float32 is infinite.  The scale 255 is NaN in
the specification.  (transformers makes 2**128 of it, infinite in float32; no file has it.)

Sources: OCP Microscaling Formats (MX) 1.0, sections 5 and 6; transformers'
convert_moe_packed_tensors for the order.

>>> blocks = np.zeros((1, 1, 16), dtype=np.uint8)
>>> blocks[0, 0, :2] = 0x21, 0xF0                                 # 0.5, 1, 0, -6
>>> expand(blocks, np.array([[128]], dtype=np.uint8))[0, :4].tolist()
[1.0, 2.0, 0.0, -12.0]
"""

from collections.abc import Iterator, Mapping
from typing import Any

import ml_dtypes
import numpy as np
from jaxtyping import Float32, UInt8
from numpy import ndarray

from refimpl.formats.packings.parts import UINT8, PackedWeight, Parts, Scheme, stems
from refimpl.formats.quants.bits import unpack_in_order
from refimpl.formats.safetensors import SafetensorsDir

# float4_e2m1fn keeps the sign of zero, as transformers' table does.
E2M1 = np.arange(16, dtype=np.uint8).view(ml_dtypes.float4_e2m1fn).astype(np.float32)


def find(files: SafetensorsDir, config: Mapping[str, Any]) -> Iterator[PackedWeight]:
    """Every name that has `_blocks`."""
    for stem in stems(files, "_blocks"):
        yield packed_weight(Parts(files=files, stem=stem))


SCHEME = Scheme(find=find, suffixes=("_blocks", "_scales"))


def packed_weight(parts: Parts) -> PackedWeight:
    experts, n_out, groups, n_bytes = parts.shape("_blocks", UINT8, 4)
    if n_bytes != 16:
        raise parts.error(f"a group of {n_bytes} bytes; MXFP4 has 16, for 32 weights")
    parts.expect("_scales", UINT8, (experts, n_out, groups))
    return PackedWeight(
        name=parts.stem,
        shape=(experts, groups * 32, n_out),
        parts=parts.present("_blocks", "_scales"),
        load=lambda: load(parts),
    )


def load(parts: Parts) -> Float32[ndarray, "experts in out"]:
    blocks, scales = parts.tensor("_blocks"), parts.tensor("_scales")
    experts, n_out, groups, _ = blocks.shape
    weights = np.empty((experts, groups * 32, n_out), np.float32)
    for e in range(experts):
        weights[e] = expand(blocks[e], scales[e]).T
    return weights


def expand(
    blocks: UInt8[ndarray, "out groups 16"], scales: UInt8[ndarray, "out groups"]
) -> Float32[ndarray, "out in"]:
    """One expert's matrix, a row for each output."""
    values = E2M1[unpack_in_order(blocks.reshape(-1, 16), 4)].reshape(*scales.shape, 32)
    power = scales.view(ml_dtypes.float8_e8m0fnu).astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(values * power[:, :, None]).reshape(len(scales), -1)
