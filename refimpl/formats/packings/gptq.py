"""GPTQ: integers of 2, 3, 4 or 8 bits with a scale and a zero point for each group of inputs.

    qweight   int32  [in * bits / 32, out]       a column is a bit string over the inputs
    qzeros    int32  [groups, out * bits / 32]   a row is a bit string over the outputs
    scales    float  [groups, out]
    g_idx     int32  [in]                        the group of each input; else i // group_size

    4 bits     bit 31                               bit 0
    qweight    | q7 | q6 | q5 | q4 | q3 | q2 | q1 | q0 |      qk: input 8 * row + k, one output
    qzeros     | z7 | z6 | z5 | z4 | z3 | z2 | z1 | z0 |      zk: output 8 * column + k

    weight[o, i] = (q[i, o] - zero[g, o]) * scale[g, o],  g = g_idx[i]

The first version of the format (checkpoint_format "gptq", the default) stores zero - 1, the second
("gptq_v2") zero itself.  A zero of 0 comes out of the first as 2**bits - 1, and is read as 0, as
AutoGPTQ's PyTorch code does; exllama's kernels read 2**bits there, which no quantiser makes.  3
bits lie across words as `fields` shows.

`desc_act` (act-order: inputs are quantised in the order of their importance) needs g_idx and
nothing else.  `sym` fixes the zero at 2**(bits - 1) and stores it all the same.  Some writers call
"gptq" what is "gptq_v2"; with `sym` that shows as zeros one too high, and is refused.

Sources: Frantar et al., GPTQ (2022), for the algorithm; AutoGPTQ's and GPTQModel's QuantLinear.pack
for the format.

>>> qzeros = np.array([[0x0000_0007]], dtype=np.int32)             # eight outputs of 4 bits
>>> zero_points(qzeros, bits=4, stored_less_one=True).tolist()
[[8, 1, 1, 1, 1, 1, 1, 1]]
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32, Int32, UInt8
from numpy import ndarray

from refimpl.errors import UnsupportedError
from refimpl.formats.packings.affine import dequantize
from refimpl.formats.packings.fields import unpack_words
from refimpl.formats.packings.parts import FLOATS, INT32, PackedWeight, Parts, Scheme, stems
from refimpl.formats.packings.settings import group_size, no_section, one_of, whole
from refimpl.formats.safetensors import SafetensorsDir

BITS = (2, 3, 4, 8)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the config says of every module."""

    bits: int
    group_size: int
    stored_less_one: bool
    symmetric: bool
    act_order: bool


def read_settings(config: Mapping[str, Any]) -> Settings:
    """The settings, or a refusal of what would be read wrongly."""
    whole(config, "bits", 1, 32)
    no_section(config, "dynamic", "modules with bits of their own are not read")
    if config.get("is_marlin_format"):
        raise UnsupportedError("quantization_config: is_marlin_format is not supported (gptq is)")
    one_of(config, "pack_dtype", ("int32",), "int32")
    return Settings(
        bits=one_of(config, "bits", BITS),
        group_size=group_size(config),
        stored_less_one=one_of(config, "checkpoint_format", ("gptq", "gptq_v2"), "gptq") == "gptq",
        symmetric=config.get("sym") is True,
        act_order=config.get("desc_act") is True,
    )


def find(files: SafetensorsDir, config: Mapping[str, Any]) -> Iterator[PackedWeight]:
    """Every module that has a `.qweight`."""
    settings = read_settings(config)
    for stem in stems(files, ".qweight"):
        yield packed_weight(Parts(files=files, stem=stem), settings)


SCHEME = Scheme(find=find, suffixes=(".qweight", ".qzeros", ".scales", ".g_idx"))


def packed_weight(parts: Parts, settings: Settings) -> PackedWeight:
    n_in, n_out = check_shapes(parts, settings)
    return PackedWeight(
        name=parts.name(".weight"),
        shape=(n_out, n_in),
        parts=parts.present(".qweight", ".qzeros", ".scales", ".g_idx"),
        load=lambda: load(parts, settings),
    )


def check_shapes(parts: Parts, settings: Settings) -> tuple[int, int]:
    """(in, out), if all parts agree on them."""
    bits = settings.bits
    words, n_out = parts.shape(".qweight", INT32, 2)
    if words * 32 % bits or n_out * bits % 32:
        raise parts.error(
            f"'.qweight' has shape {[words, n_out]}, which {bits}-bit values do not fill"
        )
    n_in = words * 32 // bits
    size = n_in if settings.group_size == -1 else settings.group_size
    if n_in % size:
        raise parts.error(f"group_size {size} does not divide its {n_in} inputs")
    groups = n_in // size
    parts.expect(".scales", FLOATS, (groups, n_out))
    parts.expect(".qzeros", INT32, (groups, n_out * bits // 32))
    if parts.has(".g_idx") or (settings.act_order and groups > 1):
        parts.expect(".g_idx", INT32, (n_in,))
    return n_in, n_out


def load(parts: Parts, settings: Settings) -> Float32[ndarray, "out in"]:
    """The weights, once the values of g_idx and the zero points are known to make sense."""
    scale = parts.tensor(".scales").T  # [out, groups]
    zero = zero_points(
        parts.tensor(".qzeros"), bits=settings.bits, stored_less_one=settings.stored_less_one
    ).T
    check_symmetry(parts, settings, zero)
    columns = parts.group_index(".g_idx", scale.shape[1]) if parts.has(".g_idx") else None
    q = unpack_words(parts.tensor(".qweight").T, settings.bits)  # [out, in]
    block = (1, q.shape[1] // scale.shape[1])
    return dequantize(q, scale, zero=zero, block=block, columns=columns)


def zero_points(
    qzeros: Int32[ndarray, "groups words"], *, bits: int, stored_less_one: bool
) -> UInt8[ndarray, "groups out"]:
    stored = unpack_words(qzeros, bits)
    mask = np.uint8((1 << bits) - 1)
    return (stored + np.uint8(1)) & mask if stored_less_one else stored


def check_symmetry(parts: Parts, settings: Settings, zero: UInt8[ndarray, "out groups"]) -> None:
    """`sym` means one zero point; all of them one higher is gptq_v2 under the older name."""
    middle = 1 << (settings.bits - 1)
    if settings.symmetric and settings.stored_less_one and np.all(zero == middle + 1):
        raise parts.error(
            f"is symmetric, yet its zero points are all {middle + 1} where {middle} is the middle: "
            'the files are gptq_v2; put "checkpoint_format": "gptq_v2" into quantization_config'
        )
