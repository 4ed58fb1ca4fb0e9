"""The only file that knows what processor it runs on: its name for the dot product of bytes.

Processors differ in one function, `dot4` (made in `int_tile`): the sum of four adjacent products of
bytes in each of 16 lanes, which is what quantised matrices are multiplied with.

    AVX-512 VNNI   vpdpbusd: unsigned times signed, added to 32 bits, one instruction
    AVX2           vpmaddubsw and vpmaddwd: by way of 16 bits; exact while |unsigned| < 128
    NEON           sdot: signed times signed, one instruction for each quarter
    others         by the definition, in whatever instructions LLVM finds

The processor is Numba's: NUMBA_CPU_NAME and NUMBA_CPU_FEATURES choose another than the host.

Two more differ in speed only: `dot2`, the same for two numbers of 16 bits, and `look_up`, which
turns 64 nibbles into bytes by a table.  All give the same integers everywhere, so the same weights
and activations give the same bits on any processor.

`DOT_BF16` adds two products of bfloat16 in each lane.  Processors with avx512_bf16 do it in
one instruction, others widen; the roundings are the same, but only the instruction takes subnormal
numbers for zeros (`refimpl.ops.half.flushed`).

Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2 (VPDPBUSD, VPDPWSSD,
VPMADDUBSW, VPMADDWD, VPSHUFB, VDPBF16PS); Arm Architecture Reference Manual (SDOT); LLVM's
intrinsics of them.
"""

from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba.core import config
from numba.extending import intrinsic

from backends.numba.simd import (
    LANES,
    Bytes,
    Floats,
    Ints,
    call,
    constant_lanes,
    i8,
    i16,
    i32,
    splat,
)  # fmt: skip


def features() -> set[str]:
    """What the processor that code is made for can do."""
    named = config.CPU_FEATURES
    if named:
        return {f[1:] for f in named.split(",") if f.startswith("+")}
    if config.CPU_NAME and config.CPU_NAME not in ("host", llvm.get_host_cpu_name()):
        return features_of(config.CPU_NAME)
    return {name for name, has in llvm.get_host_cpu_features().items() if has}


def features_of(cpu: str) -> set[str]:
    """LLVM knows what a processor has but does not tell: enough is known here of what is needed."""
    vnni = {"icelake-client", "icelake-server", "sapphirerapids", "tigerlake", "cascadelake",
            "znver4", "znver5", "graniterapids"}  # fmt: skip
    bfloat = {"sapphirerapids", "graniterapids", "znver4", "znver5", "cooperlake"}
    if cpu in vnni | bfloat:
        has = {"avx512vnni", "avx512bw", "avx2", "ssse3"}
        return has | {"avx512bf16"} if cpu in bfloat else has
    if cpu in {"haswell", "broadwell", "skylake", "alderlake", "znver1", "znver2", "znver3"}:
        return {"avx2", "ssse3"}
    return set()


def instruction_set() -> str:
    """Which of the four ways `dot4` is made: "vnni", "avx2", "neon" or "generic"."""
    has = features()
    if {"avx512vnni", "avx512bw"} <= has:
        return "vnni"
    if "avx2" in has:
        return "avx2"
    return "neon" if "dotprod" in has else "generic"


ISA = instruction_set()
X86 = ISA in ("vnni", "avx2") or "sse2" in features()
BYTE_OFFSET = 128 if ISA == "vnni" else 0
"""What is added to a signed byte of a weight before it is stored: VNNI wants it unsigned."""


# --- the dot product of bytes ---


def dot_vnni(b: Any, total: Any, unsigned: Any, signed: Any) -> Any:
    name = "llvm.x86.avx512.vpdpbusd.512"
    if llvm.llvm_version_info[0] >= 22:
        return call(b, name, Ints.ll, [total, unsigned, signed])
    return call(b, name, Ints.ll, [total, *(b.bitcast(x, Ints.ll) for x in (unsigned, signed))])


def shorts_of(b: Any, x: Any) -> Any:
    return b.bitcast(x, ir.VectorType(i16, 2 * x.type.count))


def dot2_vnni(b: Any, total: Any, x: Any, y: Any) -> Any:
    name = "llvm.x86.avx512.vpdpwssd.512"
    if llvm.llvm_version_info[0] >= 22:
        return call(b, name, Ints.ll, [total, shorts_of(b, x), shorts_of(b, y)])
    return call(b, name, Ints.ll, [total, x, y])


def dot2_avx2(b: Any, total: Any, x: Any, y: Any) -> Any:
    def of_half(h: int) -> Any:
        parts = [shorts_of(b, half(b, v, h)) for v in (x, y)]
        words = call(b, "llvm.x86.avx2.pmadd.wd", ir.VectorType(i32, 8), parts)
        return b.add(half(b, total, h), words)

    return joined(b, of_half(0), of_half(1))


def dot2_generic(b: Any, total: Any, x: Any, y: Any) -> Any:
    """By the definition: the lower halves of each lane, and the upper ones."""
    sixteen = ir.Constant(Ints.ll, [16] * LANES)
    low = [b.ashr(b.shl(v, sixteen), sixteen) for v in (x, y)]
    high = [b.ashr(v, sixteen) for v in (x, y)]
    return b.add(total, b.add(b.mul(*low), b.mul(*high)))


def half(b: Any, x: Any, h: int) -> Any:
    n = x.type.count // 2
    return b.shuffle_vector(x, x, constant_lanes([h * n + i for i in range(n)]))


def joined(b: Any, low: Any, high: Any) -> Any:
    return b.shuffle_vector(low, high, constant_lanes(list(range(2 * low.type.count))))


def dot_avx2(b: Any, total: Any, unsigned: Any, signed: Any) -> Any:
    """Two products of 7 by 8 bits fit 16 bits."""
    shorts, words = ir.VectorType(i16, 16), ir.VectorType(i32, 8)
    ones = ir.Constant(shorts, [1] * 16)

    def of_half(h: int) -> Any:
        parts = [half(b, x, h) for x in (unsigned, signed)]
        pairs = call(b, "llvm.x86.avx2.pmadd.ub.sw", shorts, parts)
        return b.add(half(b, total, h), call(b, "llvm.x86.avx2.pmadd.wd", words, [pairs, ones]))

    return joined(b, of_half(0), of_half(1))


def dot_wide_avx2(b: Any, total: Any, x: Any, y: Any) -> Any:
    """Signed times signed: even and odd bytes apart, as 16 bits."""
    shorts, words = ir.VectorType(i16, 16), ir.VectorType(i32, 8)
    eight = ir.Constant(shorts, [8] * 16)

    def of_half(h: int) -> Any:
        sum_ = half(b, total, h)
        wide = [b.bitcast(half(b, v, h), shorts) for v in (x, y)]
        for parts in (
            [b.ashr(b.shl(v, eight), eight) for v in wide],
            [b.ashr(v, eight) for v in wide],
        ):
            sum_ = b.add(sum_, call(b, "llvm.x86.avx2.pmadd.wd", words, parts))
        return sum_

    return joined(b, of_half(0), of_half(1))


def dot_neon(b: Any, total: Any, x: Any, y: Any) -> Any:
    """Signed times signed, sixteen bytes at a time."""
    name = "llvm.aarch64.neon.sdot.v4i32.v16i8"
    parts = []
    for q in range(4):
        lanes, some = (
            constant_lanes([4 * q + i for i in range(4)]),
            constant_lanes([16 * q + i for i in range(16)]),
        )
        arguments = [b.shuffle_vector(total, total, lanes)]
        arguments += [b.shuffle_vector(v, v, some) for v in (x, y)]
        parts.append(call(b, name, ir.VectorType(i32, 4), arguments))
    return joined(b, joined(b, parts[0], parts[1]), joined(b, parts[2], parts[3]))


def dot_generic(b: Any, total: Any, x: Any, y: Any) -> Any:
    """Signed times signed, by the definition.

    (LLVM's `vector.partial.reduce.add` looks like it, but may add any lanes to any.)
    """
    wide = ir.VectorType(i32, 4 * LANES)
    product = b.mul(b.sext(x, wide), b.sext(y, wide))
    for k in range(4):
        lanes = constant_lanes([4 * i + k for i in range(LANES)])
        total = b.add(total, b.shuffle_vector(product, product, lanes))
    return total


DOT = {"vnni": dot_vnni, "avx2": dot_avx2, "neon": dot_neon, "generic": dot_generic}
DOT2 = {"vnni": dot2_vnni, "avx2": dot2_avx2, "neon": dot2_generic, "generic": dot2_generic}
DOT_WIDE = {"vnni": dot_vnni, "avx2": dot_wide_avx2, "neon": dot_neon, "generic": dot_generic}


# --- the dot product of pairs of bfloat16 ---


class BFloat(ir.Type):
    """LLVM's name for bfloat16, which llvmlite does not know."""

    def __str__(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BFloat)

    def __hash__(self) -> int:
        return hash(BFloat)


def pairs_bf16(b: Any, total: Any, x: Any, y: Any) -> Any:
    """vdpbf16ps; its own rule is that subnormal numbers, given or made, are zero."""
    kind = ir.VectorType(BFloat(), 2 * LANES)
    parts = [b.bitcast(v, kind) for v in (x, y)]
    return call(b, "llvm.x86.avx512bf16.dpbf16ps.512", Floats.ll, [total, *parts])


def pairs_generic(b: Any, total: Any, x: Any, y: Any) -> Any:
    """In the instruction's order: first the upper numbers of a pair, then the lower ones."""
    sixteen, upper = (ir.Constant(Ints.ll, [n] * LANES) for n in (16, 0xFFFF0000))
    for cut in (lambda v: b.and_(v, upper), lambda v: b.shl(v, sixteen)):
        wide = [b.bitcast(cut(v), Floats.ll) for v in (x, y)]
        total = call(b, "llvm.fma.v16f32", Floats.ll, [*wide, total])
    return total


DOT_BF16 = pairs_bf16 if "avx512bf16" in features() else pairs_generic


# --- a table of sixteen bytes ---


def shuffle_bytes(b: Any, table: Any, index: Any) -> Any:
    """table[index], for 16 entries; `table` holds them four times over."""
    if ISA == "vnni":
        return call(b, "llvm.x86.avx512.pshuf.b.512", Bytes.ll, [table, index])
    if ISA == "avx2":
        name, kind = "llvm.x86.avx2.pshuf.b", ir.VectorType(i8, 32)
        return joined(
            b, *(call(b, name, kind, [half(b, v, h) for v in (table, index)]) for h in (0, 1))
        )
    result = ir.Constant(Bytes.ll, None)
    for k in range(16):  # select, entry by entry; NEON's `tbl` would be one instruction
        here = b.icmp_unsigned("==", index, ir.Constant(Bytes.ll, [k] * 64))
        entry = splat(b, b.extract_element(table, i32(k)), Bytes.ll)
        result = b.select(here, entry, result)
    return result


def constant_table(values: list[int], offset: int) -> Any:
    """Sixteen bytes, four times over; `offset` is added to each (modulo 256)."""
    stored = [(v + offset) & 255 for v in values] * 4

    @intrinsic
    def table(context: Any) -> Any:
        def generate(context: Any, b: Any, sig: Any, args: Any) -> Any:
            return ir.Constant(Bytes.ll, stored)

        return Bytes(), generate

    return table


@intrinsic
def look_up(context: Any, table: Any, index: Any) -> Any:
    """table[index] in every byte; `table` are 16 entries, repeated four times."""

    def generate(context: Any, b: Any, sig: Any, args: Any) -> Any:
        return shuffle_bytes(b, *args)

    return Bytes(Bytes, Bytes), generate
