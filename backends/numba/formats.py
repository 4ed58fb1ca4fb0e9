"""Which kernels multiply which block type: a table, and the compiled entry points it leads to.

>>> FORMATS["Q8_0"].group_bytes, FORMATS["Q8_0"].columns
(544, 32)
>>> format_of("IQ4_XS").name
'spread_256'
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from backends.numba import matmul, repack
from backends.numba.activations import FLOATS, HALVES, PAIRS, Q8_0, Q8_K
from backends.numba.compile import Entry, specialise
from backends.numba.kernels import floats, k, k_more, legacy, legacy_more, spread, tables
from refimpl.formats.quants import block_type

Kernel = Callable[..., Any]

STEPS = {
    FLOATS: (4, 0.0, 0.0), HALVES: (4, 0.0, 0.0), PAIRS: (2, 0.0, 0.0),
    Q8_0: (1, 1 / 8, 3 / 8), Q8_K: (1, 1 / 64, 3 / 8),
}  # fmt: skip
"""Bytes of codes, scales and sums that a packing takes per column and token."""


@dataclass(frozen=True, kw_only=True)
class Format:
    """How matrices of one block type lie in memory here, and what multiplies them."""

    name: str
    columns: int
    """Of a block."""
    group_bytes: int
    """Of 16 rows of a block."""
    exact: Kernel
    """Times float32 activations."""
    quantised: Kernel | None = None
    """Times activations quantised as `packing` says."""
    rounded: Kernel | None = None
    """Times activations rounded to 16 bits as `packing` says."""
    packing: int = FLOATS
    put: Kernel | None = None
    """Interleaves one row's block; None: spread by NumPy."""
    row_bytes: int = 0
    """GGUF's bytes of a block of one row."""

    def packing_for(self, act: str) -> int:
        if act == "none" or (act == "q8" and self.quantised is None):
            return FLOATS
        return self.packing

    def multiplier(self, act: str) -> Entry:
        """What multiplies a matrix with packed activations."""
        return multiplier(self.name, self.packing_for(act))

    def repacker(self) -> Entry:
        return repacker(self.name)

    def row_reader(self) -> Entry:
        return row_reader(self.name)


def table(*formats: Format) -> dict[str, Format]:
    return {f.name: f for f in formats}


FORMATS = table(
    Format(
        name="F32", columns=32, group_bytes=2048, row_bytes=128,
        exact=floats.multiply_f32, put=floats.put_words,
    ),
    Format(
        name="F16", columns=32, group_bytes=1024, row_bytes=64,
        exact=floats.multiply_f16, put=floats.put_shorts,
        rounded=floats.multiply_f16, packing=HALVES,
    ),
    Format(
        name="BF16", columns=32, group_bytes=1024, row_bytes=64,
        exact=floats.multiply_bf16, put=floats.put_pairs,
        rounded=floats.dot_bf16, packing=PAIRS,
    ),
    Format(
        name="Q8_0", columns=32, group_bytes=legacy.Q8_0_BYTES, row_bytes=34, packing=Q8_0,
        exact=legacy.multiply_q8_0, quantised=legacy.dot_q8_0, put=legacy.put_q8_0,
    ),
    Format(
        name="Q4_0", columns=32, group_bytes=legacy.Q4_0_BYTES, row_bytes=18, packing=Q8_0,
        exact=legacy.multiply_q4_0, quantised=legacy.dot_q4_0, put=legacy.put_q4_0,
    ),
    Format(
        name="Q4_K", columns=256, group_bytes=k.Q4_K_BYTES, row_bytes=144, packing=Q8_K,
        exact=k.multiply_q4_k, quantised=k.dot_q4_k, put=k.put_q4_k,
    ),
    Format(
        name="Q6_K", columns=256, group_bytes=k.Q6_K_BYTES, row_bytes=210, packing=Q8_K,
        exact=k.multiply_q6_k, quantised=k.dot_q6_k, put=k.put_q6_k,
    ),
    Format(
        name="Q4_1", columns=32, group_bytes=legacy_more.Q4_1_BYTES, row_bytes=20, packing=Q8_0,
        exact=legacy_more.multiply_q4_1, quantised=legacy_more.dot_q4_1, put=legacy_more.put_q4_1,
    ),
    Format(
        name="Q5_0", columns=32, group_bytes=legacy_more.Q5_0_BYTES, row_bytes=22, packing=Q8_0,
        exact=legacy_more.multiply_q5_0, quantised=legacy_more.dot_q5_0, put=legacy_more.put_q5_0,
    ),
    Format(
        name="Q5_1", columns=32, group_bytes=legacy_more.Q5_1_BYTES, row_bytes=24, packing=Q8_0,
        exact=legacy_more.multiply_q5_1, quantised=legacy_more.dot_q5_1, put=legacy_more.put_q5_1,
    ),
    Format(
        name="MXFP4", columns=32, group_bytes=tables.MXFP4_BYTES, row_bytes=17, packing=Q8_0,
        exact=tables.multiply_mxfp4, quantised=tables.dot_mxfp4, put=tables.put_mxfp4,
    ),
    Format(
        name="IQ4_NL", columns=32, group_bytes=tables.IQ4_NL_BYTES, row_bytes=18, packing=Q8_0,
        exact=tables.multiply_iq4_nl, quantised=tables.dot_iq4_nl, put=tables.put_iq4_nl,
    ),
    Format(
        name="Q2_K", columns=256, group_bytes=k_more.Q2_K_BYTES, row_bytes=84, packing=Q8_K,
        exact=k_more.multiply_q2_k, quantised=k_more.dot_q2_k, put=k_more.put_q2_k,
    ),
    Format(
        name="Q3_K", columns=256, group_bytes=k_more.Q3_K_BYTES, row_bytes=110, packing=Q8_K,
        exact=k_more.multiply_q3_k, quantised=k_more.dot_q3_k, put=k_more.put_q3_k,
    ),
    Format(
        name="Q5_K", columns=256, group_bytes=k_more.Q5_K_BYTES, row_bytes=176, packing=Q8_K,
        exact=k_more.multiply_q5_k, quantised=k_more.dot_q5_k, put=k_more.put_q5_k,
    ),
    Format(
        name="spread_32", columns=32, group_bytes=spread.BLOCK_BYTES, packing=Q8_0,
        exact=spread.multiply_spread, quantised=spread.dot_spread_32,
    ),
    Format(
        name="spread_256", columns=256, group_bytes=8 * spread.BLOCK_BYTES, packing=Q8_K,
        exact=spread.multiply_spread_256, quantised=spread.dot_spread_256,
    ),
)  # fmt: skip


def format_of(block_name: str) -> Format:
    """The format of a GGUF block type: its own, or the general one for its block size."""
    if block_name in FORMATS:
        return FORMATS[block_name]
    return FORMATS["spread_256" if block_type(block_name).block_size == 256 else "spread_32"]


@cache
def multiplier(name: str, packing: int) -> Entry:
    f = FORMATS[name]
    codes, scales, sums = STEPS[packing]
    label = "exact" if packing == FLOATS else "half" if f.rounded else "q8"
    kernels = {"exact": f.exact, "half": f.rounded, "q8": f.quantised}
    return specialise(
        matmul.multiply,
        f"multiply_{name}_{label}",
        KERNEL=kernels[label],
        GROUP_BYTES=f.group_bytes,
        CODE_BYTES=codes * f.columns,
        SCALE_BYTES=int(scales * f.columns),
        SUM_BYTES=int(sums * f.columns),
    )


@cache
def repacker(name: str) -> Entry:
    f = FORMATS[name]
    return specialise(
        repack.interleave,
        f"interleave_{name}",
        PUT=f.put,
        GROUP_BYTES=f.group_bytes,
        ROW_BYTES=f.row_bytes,
        COLUMNS=f.columns,
    )


@cache
def row_reader(name: str) -> Entry:
    f = FORMATS[name]
    return specialise(
        repack.read_row,
        f"read_{name}",
        KERNEL=f.exact,
        GROUP_BYTES=f.group_bytes,
        COLUMNS=f.columns,
    )
