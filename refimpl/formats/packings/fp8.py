"""FP8: weights in float8 and a scale for the matrix, for each row, or for each 128 x 128 block.

    weight              float8 E4M3 or E5M2  [out, in]
    weight_scale        float  [] or [1]: of the matrix;  [out] or [out, 1]: of each row
    weight_scale_inv    float  [ceil(out / 128), ceil(in / 128)]: of each block (DeepSeek)

    weight[o, i] = float8[o, i] * scale

`weight_scale_inv` is the inverse of the factor that the quantiser multiplied by, so it is
multiplied here too: the names differ, the formula does not.  Blocks exist where the config has
`weight_block_size`, whichever of the two names the scale has.  DeepSeek-V3's last blocks of a
matrix may be cut short.

    E4M3   s eeee mmm    (-1)**s * 2**(e - 7) * 1.mmm; no infinity, s 1111 111 is NaN
    E5M2   s eeeee mm    (-1)**s * 2**(e - 15) * 1.mm; infinities and NaN as in float16

Sources: OCP OFP8 1.0 for the numbers; DeepSeek-V3's inference/kernel.py (weight_dequant) and
transformers' finegrained_fp8 and fbgemm_fp8 for the tensors.

>>> block_of((576, 512), (5, 4), (128, 128)), block_of((576, 512), (576, 1), None)
((128, 128), (1, 512))
"""

from collections.abc import Iterator, Mapping
from math import prod
from typing import Any

import ml_dtypes
import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from refimpl.formats.packings.affine import dequantize, grid, scale_shapes
from refimpl.formats.packings.parts import FLOATS, PackedWeight, PackingError, Parts, Scheme, stems
from refimpl.formats.packings.settings import MAX_GROUP
from refimpl.formats.safetensors import SafetensorsDir

FLOAT8 = (np.dtype(ml_dtypes.float8_e4m3fn), np.dtype(ml_dtypes.float8_e5m2))
SCALES = (*FLOATS, np.dtype(ml_dtypes.float8_e8m0fnu))
SCALE_PARTS = (".weight_scale_inv", ".weight_scale")
ACTIVATION_SCALES = (
    ".input_scale",
    ".input_scale_ub",
    ".input_zero_point",
    ".output_scale",
    ".output_zero_point",
    ".activation_scale",
    ".k_scale",
    ".q_scale",
    ".v_scale",
    ".kv_scale",
    ".k_zero_point",
    ".v_zero_point",
)


def find(files: SafetensorsDir, config: Mapping[str, Any]) -> Iterator[PackedWeight]:
    """Every module that has a scale."""
    block = configured_block(config, "weight_block_size")
    for scale in SCALE_PARTS:
        for stem in stems(files, scale):
            yield packed_weight(Parts(files=files, stem=stem), scale, block)


SCHEME = Scheme(find=find, suffixes=SCALE_PARTS, hidden=ACTIVATION_SCALES)


def configured_block(config: Mapping[str, Any], key: str) -> tuple[int, int] | None:
    """[rows, columns] of a block, if the config has it."""
    value = config.get(key)
    if value is None:
        return None
    if not (
        isinstance(value, list | tuple)
        and len(value) == 2
        and all(type(n) is int and 0 < n <= MAX_GROUP for n in value)
    ):
        raise PackingError(f"quantization_config: {key} is {value!r}, not two sizes")
    return value[0], value[1]


def packed_weight(parts: Parts, scale: str, configured: tuple[int, int] | None) -> PackedWeight:
    shape = parts.shape(".weight", FLOAT8, 2)
    block = block_of(shape, parts.files.info(parts.name(scale))[1], configured)
    parts.expect(scale, SCALES, *scale_shapes(shape, block))
    return PackedWeight(
        name=parts.name(".weight"),
        shape=shape,
        parts=parts.present(".weight", scale),
        load=lambda: load(parts, scale, block),
    )


def block_of(
    shape: tuple[int, ...], scale: tuple[int, ...], configured: tuple[int, int] | None
) -> tuple[int, int]:
    """Rows and columns that share a scale."""
    if configured is not None:
        return configured
    return (shape[0], shape[1]) if prod(scale) == 1 else (1, shape[1])


def load(parts: Parts, scale: str, block: tuple[int, int]) -> Float32[ndarray, "out in"]:
    weight = parts.tensor(".weight")
    return dequantize(weight, parts.tensor(scale).reshape(grid(weight.shape, block)), block=block)
