"""compressed-tensors (vLLM's llm-compressor): one config for integers and float8, packed or not.

    format             stored for a module                                   q
    int-quantized      weight int8 [out, in]                                 as stored
    float-quantized    weight float8 [out, in]                               as stored
    naive-quantized    one of the two
    pack-quantized     weight_packed int32 [out, ceil(in * bits / 32)]       value - 2**(bits - 1)
                       weight_shape int64 [2]: out, in

    weight_scale float, one for each block of `affine`: strategy tensor, channel, group or block
    weight_zero_point, where not symmetric: int8 like the scale, or, beside packed weights, packed
    too, down the columns: int32 [ceil(out * bits / 32), groups]
    weight_g_idx int32 [in]: the group of each input, where actorder is "group" (no longer in 0.20);
    -1 everywhere means that the groups are consecutive inputs

    weight[o, i] = (q[o, i] - zero) * scale

    4 bits     bit 31                               bit 0
    a word     | i7 | i6 | i5 | i4 | i3 | i2 | i1 | i0 |      ik: input 8 * column + k, plus 8

`config_groups` says which modules are stored how (see `groups.py`), and `ignore` which are not.
Widths of 2, 4 and 8 bits are read: for the others, versions of the library disagree on whether a
value may lie across two words.

Source: the compressed-tensors package, compressors/ and quantization/lifecycle/forward.py (0.20).

>>> packed = np.array([[0x0000_00F8]], dtype=np.int32)
>>> unpack_signed(packed, 4, 2).tolist()                           # 8 - 8, 15 - 8
[[0, 7]]
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float32, Int, Int8, Int32, Real
from numpy import ndarray

from refimpl.formats.packings.affine import dequantize, grid, scale_shapes
from refimpl.formats.packings.fields import unpack_words
from refimpl.formats.packings.fp8 import ACTIVATION_SCALES, FLOAT8
from refimpl.formats.packings.groups import PACKED, Group, group_of, read_groups
from refimpl.formats.packings.parts import (
    FLOATS,
    INT8,
    INT32,
    PackedWeight,
    Parts,
    Scheme,
    stems,
)
from refimpl.formats.packings.settings import no_section, one_of, section
from refimpl.formats.safetensors import SafetensorsDir

INT64 = (np.dtype("<i8"),)
COMPANIONS = (".weight_scale", ".weight_zero_point", ".weight_g_idx", ".weight_shape")


def find(files: SafetensorsDir, config: Mapping[str, Any]) -> Iterator[PackedWeight]:
    """Every module that has packed weights or a scale."""
    no_section(config, "transform_config", "rotated weights need the rotation undone")
    one_of(section(config, "sparsity_config"), "format", ("dense",), "dense")
    groups = read_groups(config)
    for part in (".weight_packed", ".weight_scale"):
        for stem in stems(files, part):
            parts = Parts(files=files, stem=stem)
            if part == ".weight_packed" or not parts.has(".weight_packed"):
                yield packed_weight(parts, group_of(parts, config, groups))


SCHEME = Scheme(
    find=find,
    suffixes=(".weight_packed", *COMPANIONS),
    hidden=(*ACTIVATION_SCALES, ".input_g_idx"),
)


def packed_weight(parts: Parts, group: Group) -> PackedWeight:
    stored = ".weight_packed" if group.format == PACKED else ".weight"
    shape = packed_shape(parts, group) if group.format == PACKED else plain_shape(parts, group)
    block = group.block(parts, shape)
    parts.expect(".weight_scale", FLOATS, *scale_shapes(shape, block))
    check_zero_point(parts, group, shape, block)
    if parts.has(".weight_g_idx") or group.act_order:
        parts.expect(".weight_g_idx", INT32, (shape[1],))
    return PackedWeight(
        name=parts.name(".weight"),
        shape=shape,
        parts=parts.present(stored, *COMPANIONS),
        load=lambda: load(parts, group, shape, block),
    )


def plain_shape(parts: Parts, group: Group) -> tuple[int, ...]:
    return parts.shape(".weight", INT8 if group.type == "int" else FLOAT8, 2)


def packed_shape(parts: Parts, group: Group) -> tuple[int, int]:
    """[out, in] from `weight_shape`, if the packed words are as many as it says."""
    parts.expect(".weight_shape", INT64, (2,))
    n_out, n_in = (int(n) for n in parts.tensor(".weight_shape"))
    if n_out < 1 or n_in < 1:
        raise parts.error(f"'.weight_shape' is {[n_out, n_in]}")
    parts.expect(".weight_packed", INT32, (n_out, -(-n_in * group.bits // 32)))
    return n_out, n_in


def check_zero_point(
    parts: Parts, group: Group, shape: tuple[int, ...], block: tuple[int, int]
) -> None:
    """A zero point as long as the scale, packed or not; required if the group is asymmetric."""
    if not parts.has(".weight_zero_point"):
        if not group.symmetric:
            raise parts.error("is not symmetric and has no '.weight_zero_point'")
        return
    down, across = grid(shape, block)
    if has_packed_zero_point(parts):
        parts.expect(".weight_zero_point", INT32, (-(-down * group.bits // 32), across))
    else:
        plain = INT8 if group.type == "int" else FLOAT8
        parts.expect(".weight_zero_point", plain, *scale_shapes(shape, block))


def has_packed_zero_point(parts: Parts) -> bool:
    dtype, _ = parts.files.info(parts.name(".weight_zero_point"))
    return parts.has(".weight_packed") and dtype in INT32


def load(
    parts: Parts, group: Group, shape: tuple[int, ...], block: tuple[int, int]
) -> Float32[ndarray, "out in"]:
    blocks = grid(shape, block)
    columns = groups_of_inputs(parts, blocks[1])
    packed = group.format == PACKED
    q = (
        unpack_signed(parts.tensor(".weight_packed"), group.bits, shape[1])
        if packed
        else parts.tensor(".weight")
    )
    zero = zero_point(parts, group, blocks)
    scale = parts.tensor(".weight_scale").reshape(blocks)
    return dequantize(q, scale, zero=zero, block=block, columns=columns)


def zero_point(
    parts: Parts, group: Group, blocks: tuple[int, int]
) -> Real[ndarray, "row_blocks column_blocks"] | None:
    if not parts.has(".weight_zero_point"):
        return None
    stored = parts.tensor(".weight_zero_point")
    if has_packed_zero_point(parts):
        return unpack_signed(stored.T, group.bits, blocks[0]).T
    return stored.reshape(blocks)


def unpack_signed(
    words: Int32[ndarray, "rows words"], bits: int, n: int
) -> Int8[ndarray, "rows {n}"]:
    """The first n values of each row, less the 2**(bits - 1) that packing added."""
    unsigned = unpack_words(words, bits)[:, :n]
    return (unsigned.astype(np.int16) - (1 << (bits - 1))).astype(np.int8)


def groups_of_inputs(parts: Parts, n_groups: int) -> Int[ndarray, " in"] | None:
    """weight_g_idx, or None if it says nothing."""
    if not parts.has(".weight_g_idx") or np.all(parts.tensor(".weight_g_idx") == -1):
        return None
    return parts.group_index(".weight_g_idx", n_groups)
