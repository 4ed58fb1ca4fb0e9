"""AWQ: 4-bit integers with a scale and a zero point for each group of inputs ("gemm" packing).

    qweight   int32  [in, out / 8]
    qzeros    int32  [groups, out / 8]
    scales    float  [groups, out]

Eight outputs share a word, in the order in which AutoAWQ's kernel wants to take them apart: pairs
of 16-bit lanes, so the even ones come first.

              bit 31                               bit 0
    a word    | o7 | o5 | o3 | o1 | o6 | o4 | o2 | o0 |       ok: output 8 * column + k

    weight[o, i] = (q[i, o] - zero[g, o]) * scale[g, o],  g = i // group_size

Zero points are packed like weights and stored as they are.

Sources: Lin et al., AWQ (2023), for the algorithm; AutoAWQ's WQLinear_GEMM for the format.

>>> word = np.array([[0x7531_6420]], dtype=np.int32)
>>> unpack_gemm(word).tolist()
[[0, 1, 2, 3, 4, 5, 6, 7]]
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float32, Int32, UInt8
from numpy import ndarray

from refimpl.errors import UnsupportedError
from refimpl.formats.packings.affine import dequantize
from refimpl.formats.packings.fields import unpack_words
from refimpl.formats.packings.parts import FLOATS, INT32, PackedWeight, Parts, Scheme, stems
from refimpl.formats.packings.settings import group_size, one_of, whole
from refimpl.formats.safetensors import SafetensorsDir

NIBBLE_OF_OUTPUT = np.array([0, 4, 1, 5, 2, 6, 3, 7])  # the inverse of 0 2 4 6 1 3 5 7


def find(files: SafetensorsDir, config: Mapping[str, Any]) -> Iterator[PackedWeight]:
    """Every module that has a `.qweight`."""
    whole(config, "bits", 1, 32, 4)
    one_of(config, "bits", (4,), 4)
    one_of(config, "version", ("gemm",), one_of(config, "format", ("gemm",), "gemm"))
    one_of(config, "zero_point", (True,), True)
    if config.get("backend") == "llm-awq":
        raise UnsupportedError('quantization_config: backend "llm-awq" packs otherwise than "gemm"')
    size = group_size(config)
    for stem in stems(files, ".qweight"):
        yield packed_weight(Parts(files=files, stem=stem), size)


SCHEME = Scheme(find=find, suffixes=(".qweight", ".qzeros", ".scales"))


def packed_weight(parts: Parts, group_size: int) -> PackedWeight:
    n_in, words = parts.shape(".qweight", INT32, 2)
    size = n_in if group_size == -1 else group_size
    if n_in % size:
        raise parts.error(f"group_size {size} does not divide its {n_in} inputs")
    parts.expect(".scales", FLOATS, (n_in // size, words * 8))
    parts.expect(".qzeros", INT32, (n_in // size, words))
    return PackedWeight(
        name=parts.name(".weight"),
        shape=(words * 8, n_in),
        parts=parts.present(".qweight", ".qzeros", ".scales"),
        load=lambda: load(parts, size),
    )


def load(parts: Parts, size: int) -> Float32[ndarray, "out in"]:
    q = unpack_gemm(parts.tensor(".qweight"))
    zero = unpack_gemm(parts.tensor(".qzeros"))
    return dequantize(q.T, parts.tensor(".scales").T, zero=zero.T, block=(1, size))


def unpack_gemm(words: Int32[ndarray, "rows words"]) -> UInt8[ndarray, "rows out"]:
    nibbles = unpack_words(words, 4).reshape(*words.shape, 8)
    return nibbles[:, :, NIBBLE_OF_OUTPUT].reshape(len(words), -1)
