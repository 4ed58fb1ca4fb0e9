"""bitsandbytes: 4-bit entries of a table (NF4, FP4), and LLM.int8().

    NAME                                   uint8 [ceil(n / 2), 1]   two entries a byte
    NAME.absmax                            float32 [blocks]         largest magnitude of each block
    NAME.quant_map                         float32 [16]             the table
    NAME.quant_state.bitsandbytes__nf4     uint8                    JSON: shape, blocksize, ..

    a byte    bit 7        bit 0
              | even | odd |          the first of two weights in the high bits

    weight[k] = quant_map[entry[k]] * absmax[k // blocksize],  k counting along the rows

With double quantisation the absmax is itself stored in 8 bits, `absmax` being uint8 then:

    absmax[b] = nested_quant_map[entry[b]] * nested_absmax[b // nested_blocksize] + nested_offset

NF4's table has the quantiles of a normal distribution; it is read from the file.  LLM.int8() is

    weight    int8 [out, in];    SCB    float32 [out], largest magnitude of each row
    weight[o, i] = weight[o, i] * SCB[o] / 127

This format is what its library computes, so each operation here is the library's, in float32 and
rounded: one for a plain 4-bit weight, three with double quantisation, two for int8, where the
library multiplies by a rounded 1/127.  (It then casts to the `dtype` of the state; here float32
stays.)

Sources: Dettmers et al., QLoRA (2023), appendix E, and LLM.int8() (2022); bitsandbytes'
functional.py (QuantState, dequantize_4bit).

>>> table = np.linspace(-1, 1, 16, dtype=np.float32)
>>> entries = unpack_entries(np.array([0xF0, 0x0F], dtype=np.uint8))
>>> by_block(table[entries], np.array([2, 3], dtype=np.float32), 2).tolist()
[2.0, -2.0, -3.0, 3.0]
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import inf, prod
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8
from numpy import ndarray

from refimpl.formats.packings.parts import (
    FLOAT32,
    INT8,
    UINT8,
    PackedWeight,
    PackingError,
    Parts,
    Scheme,
    stems,
)
from refimpl.formats.packings.settings import whole
from refimpl.formats.quants.bits import unpack_in_order
from refimpl.formats.safetensors import SafetensorsDir

STATES = (".quant_state.bitsandbytes__nf4", ".quant_state.bitsandbytes__fp4")
PLAIN = (".absmax", ".quant_map")
NESTED = (".nested_absmax", ".nested_quant_map")
MAX_STATE_BYTES = 100_000  # a state has about 200
MAX_SIZE = 1 << 48
ONE_127TH = np.float32(7.874015718698502e-3)  # the library's constant


@dataclass(frozen=True, kw_only=True)
class State:
    """What the JSON of a 4-bit tensor says; `nested_blocksize` is 0 without double quantisation."""

    shape: tuple[int, ...]
    blocksize: int
    nested_blocksize: int
    nested_offset: float


def find(files: SafetensorsDir, config: Mapping[str, Any]) -> Iterator[PackedWeight]:
    """Every tensor with a quant_state, and every module with an SCB."""
    for state in STATES:
        for stem in stems(files, state):
            yield packed_4bit(Parts(files=files, stem=stem), state)
    for stem in stems(files, ".SCB"):
        yield packed_int8(Parts(files=files, stem=stem))


SCHEME = Scheme(find=find, suffixes=(*STATES, *PLAIN, *NESTED, ".SCB", ".weight_format"))


def packed_4bit(parts: Parts, state_part: str) -> PackedWeight:
    state = read_state(parts, state_part)
    check_sizes(parts, state)
    return PackedWeight(
        name=parts.stem,
        shape=state.shape,
        parts=parts.present("", state_part, *PLAIN, *NESTED),
        load=lambda: load_4bit(parts, state),
    )


def read_state(parts: Parts, part: str) -> State:
    (n_bytes,) = parts.shape(part, UINT8, 1)
    if n_bytes > MAX_STATE_BYTES:
        raise parts.error(f"{part!r} has {n_bytes} bytes, too many for a state")
    try:
        facts = json.loads(parts.tensor(part).tobytes())
        return state_from(facts)
    except (ValueError, RecursionError, PackingError) as cause:
        raise parts.error(f"{part!r} cannot be used: {cause}") from None


def state_from(facts: Any) -> State:
    """The fields that decide what the weights are."""
    if not isinstance(facts, Mapping):
        raise PackingError("its JSON is not an object")
    shape, offset = facts.get("shape"), facts.get("nested_offset", 0.0)
    if not (
        isinstance(shape, list)
        and 0 < len(shape) <= 8
        and all(type(n) is int and n > 0 for n in shape)
    ):
        raise PackingError(f"shape is {shape!r}, not a list of sizes")
    if isinstance(offset, bool) or not isinstance(offset, int | float) or not abs(offset) < inf:
        raise PackingError(f"nested_offset is {offset!r}, not a finite number")
    return State(
        shape=tuple(shape),
        blocksize=whole(facts, "blocksize", 1, MAX_SIZE),
        nested_blocksize=whole(facts, "nested_blocksize", 0, MAX_SIZE, 0),
        nested_offset=offset,
    )


def check_sizes(parts: Parts, state: State) -> None:
    """Every part is as long as the state says."""
    n = prod(state.shape)
    n_bytes, blocks = -(-n // 2), -(-n // state.blocksize)
    parts.expect("", UINT8, (n_bytes, 1), (1, n_bytes), (n_bytes,))
    parts.expect(".quant_map", FLOAT32, (16,))
    if state.nested_blocksize:
        parts.expect(".absmax", UINT8, (blocks,))
        parts.expect(".nested_absmax", FLOAT32, (-(-blocks // state.nested_blocksize),))
        parts.expect(".nested_quant_map", FLOAT32, (256,))
    else:
        parts.expect(".absmax", FLOAT32, (blocks,))


def load_4bit(parts: Parts, state: State) -> Float32[ndarray, "..."]:
    entries = unpack_entries(parts.tensor("").reshape(-1))[: prod(state.shape)]
    with np.errstate(over="ignore", invalid="ignore"):
        absmax = load_absmax(parts, state)
        weights = by_block(parts.tensor(".quant_map")[entries], absmax, state.blocksize)
    return weights.reshape(state.shape)


def load_absmax(parts: Parts, state: State) -> Float32[ndarray, " blocks"]:
    absmax = parts.tensor(".absmax")
    if not state.nested_blocksize:
        return np.asarray(absmax)
    values = parts.tensor(".nested_quant_map")[absmax]
    scaled = by_block(values, parts.tensor(".nested_absmax"), state.nested_blocksize)
    return np.asarray(scaled + np.float32(state.nested_offset))


def unpack_entries(packed: UInt8[ndarray, " bytes"]) -> UInt8[ndarray, " entries"]:
    """The high half of each byte, then its low half."""
    return unpack_in_order(packed[:, None], 4)[:, ::-1].reshape(-1)


def by_block(
    values: Float32[ndarray, " n"], scales: Float32[ndarray, " blocks"], blocksize: int
) -> Float32[ndarray, " n"]:
    """Each value times its block's scale; the last block may be short."""
    n_whole = len(values) // blocksize
    end = n_whole * blocksize
    product = np.empty_like(values)
    whole_blocks = values[:end].reshape(n_whole, blocksize)
    np.multiply(whole_blocks, scales[:n_whole, None], out=product[:end].reshape(whole_blocks.shape))
    product[end:] = values[end:] * scales[n_whole:]
    return product


def packed_int8(parts: Parts) -> PackedWeight:
    shape = parts.shape(".weight", INT8, 2)
    parts.expect(".SCB", FLOAT32, (shape[0],))
    check_layout(parts)
    return PackedWeight(
        name=parts.name(".weight"),
        shape=shape,
        parts=parts.present(".weight", ".SCB", ".weight_format"),
        load=lambda: load_int8(parts),
    )


def check_layout(parts: Parts) -> None:
    """`weight_format` 0 is row by row; the others were for tensor cores, in old versions."""
    if not parts.has(".weight_format"):
        return
    parts.expect(".weight_format", UINT8, (), (1,))
    layout = int(parts.tensor(".weight_format").reshape(-1)[0])
    if layout:
        raise parts.error(f"'.weight_format' is {layout}; only 0, row by row, is read")


def load_int8(parts: Parts) -> Float32[ndarray, "out in"]:
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = parts.tensor(".weight").astype(np.float32) * parts.tensor(".SCB")[:, None]
        return np.asarray(scaled * ONE_127TH)
