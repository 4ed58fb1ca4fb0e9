"""Types that are not blocks: one number each, in ggml's numbering.

Their `dtype` is a plain NumPy dtype and their block holds one weight, so that code which walks a
file needs no special case.  The integers are stored by some files (routing tables, positions);
ggml itself refuses to turn integers and F64 into weights.  Here they do dequantise, rounded once to
float32, because a reader who asks for the values of a tensor should get them.

>>> BF16.dequantize(np.array([0.1], BF16.dtype)).tolist()     # 8 significant bits of 0.1
[[0.10009765625]]
"""

from functools import cache

import ml_dtypes
import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from refimpl.formats.quants.block import BlockType


def _widen(values: ndarray) -> Float32[ndarray, "*blocks 1"]:
    with np.errstate(all="ignore"):
        return values.astype(np.float32, copy=False)[..., None]


@cache
def f16_values() -> Float32[ndarray, "65536"]:
    return np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)


def _widen_f16(values: ndarray) -> Float32[ndarray, "*blocks 1"]:
    """By table: NumPy's own conversion takes the numbers one by one."""
    return f16_values().take(values.view(np.uint16))[..., None]


def _plain(id: int, name: str, dtype: np.dtype) -> BlockType:
    def store(
        weights: Float32[ndarray, "*blocks 1"],
        importance: Float32[ndarray, "..."] | None = None,
    ) -> ndarray:
        with np.errstate(all="ignore"):
            return weights[..., 0].astype(dtype)

    return BlockType(
        id=id,
        name=name,
        block_size=1,
        dtype=dtype,
        dequantize=_widen_f16 if dtype == np.float16 else _widen,
        formula="x",
        quantize=store if dtype.kind not in "i" else None,
    )


F32 = _plain(0, "F32", np.dtype("<f4"))
F16 = _plain(1, "F16", np.dtype("<f2"))
I8 = _plain(24, "I8", np.dtype("i1"))
I16 = _plain(25, "I16", np.dtype("<i2"))
I32 = _plain(26, "I32", np.dtype("<i4"))
I64 = _plain(27, "I64", np.dtype("<i8"))
F64 = _plain(28, "F64", np.dtype("<f8"))
BF16 = _plain(30, "BF16", np.dtype(ml_dtypes.bfloat16))

TYPES = (F32, F16, I8, I16, I32, I64, F64, BF16)
