"""Numbers and vectors from memory, widened as they are loaded, and back, rounded as stored.

Memory is named by plain integer addresses, and nothing need be aligned.  Rounding is to nearest,
ties to even.

Source: LLVM Language Reference ("load", "store", "Intrinsic Functions": `llvm.prefetch`).
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from backends.numba.simd import (
    LANES,
    Bytes,
    Floats,
    Ints,
    Vec,
    at,
    convert,
    f16,
    f32,
    i8,
    i16,
    i32,
    i64,
)


def loader(result: Any, memory: Any, widen: Any) -> Any:
    """Load a number or a vector of `memory` type and widen it."""

    @intrinsic
    def function(context: Any, address: Any) -> Any:
        def generate(context: Any, b: Any, sig: Any, args: Any) -> Any:
            return widen(b, b.load(at(b, args[0], memory), align=1))

        return result(types.intp), generate

    return function


def lanes_of(element: Any) -> Any:
    return ir.VectorType(element, LANES)


def widen_bfloat(b: Any, x: Any) -> Any:
    """A bfloat16 is the upper half of a float32."""
    high = b.shl(b.zext(x, Ints.ll), ir.Constant(Ints.ll, [16] * LANES))
    return b.bitcast(high, Floats.ll)


load_floats = loader(Floats, Floats.ll, lambda b, x: x)
load_halves = loader(Floats, lanes_of(f16), lambda b, x: b.fpext(x, Floats.ll))
load_bfloats = loader(Floats, lanes_of(i16), widen_bfloat)
load_ints = loader(Ints, Ints.ll, lambda b, x: x)
load_signed_bytes = loader(Ints, lanes_of(i8), lambda b, x: b.sext(x, Ints.ll))
load_unsigned_bytes = loader(Ints, lanes_of(i8), lambda b, x: b.zext(x, Ints.ll))


def pairs_of_shorts(b: Any, x: Any) -> Any:
    return b.bitcast(b.zext(x, ir.VectorType(i16, 2 * LANES)), Ints.ll)


load_byte_pairs = loader(Ints, ir.VectorType(i8, 2 * LANES), pairs_of_shorts)
"""Two unsigned bytes to a lane, as its lower and its upper 16 bits (for `dot2`)."""
load_bytes = loader(Bytes, Bytes.ll, lambda b, x: x)


def narrow_to_bfloat(b: Any, x: Any) -> Any:
    """Round to nearest, ties to even, on the bits (of finite numbers)."""
    bits = b.bitcast(x, Ints.ll)
    sixteen, one = (ir.Constant(Ints.ll, [n] * LANES) for n in (16, 1))
    odd = b.and_(b.lshr(bits, sixteen), one)
    rounded = b.add(b.add(bits, odd), ir.Constant(Ints.ll, [0x7FFF] * LANES))
    return b.trunc(b.lshr(rounded, sixteen), lanes_of(i16))


def storer(vec: Vec, narrow: Any) -> Any:
    @intrinsic
    def function(context: Any, address: Any, x: Any) -> Any:
        def generate(context: Any, b: Any, sig: Any, args: Any) -> Any:
            value = narrow(b, args[1])
            b.store(value, at(b, args[0], value.type), align=1)
            return context.get_dummy_value()

        return types.void(types.intp, vec), generate

    return function


store_floats = storer(Floats, lambda b, x: x)
store_halves = storer(Floats, lambda b, x: b.fptrunc(x, lanes_of(f16)))
store_bfloats = storer(Floats, narrow_to_bfloat)
store_ints = storer(Ints, lambda b, x: x)
store_as_bytes = storer(Ints, lambda b, x: b.trunc(x, lanes_of(i8)))
store_bytes = storer(Bytes, lambda b, x: x)


load_float = loader(types.float32, f32, lambda b, x: x)
load_half = loader(types.float32, f16, lambda b, x: b.fpext(x, f32))
load_int = loader(types.int32, i32, lambda b, x: x)
load_short = loader(types.int32, i16, lambda b, x: b.zext(x, i32))
load_byte = loader(types.int32, i8, lambda b, x: b.zext(x, i32))
load_word = loader(types.intp, i64, lambda b, x: x)


def scalar_storer(memory: Any, narrow: Any) -> Any:
    @intrinsic
    def function(context: Any, address: Any, x: Any) -> Any:
        def generate(context: Any, b: Any, sig: Any, args: Any) -> Any:
            b.store(narrow(b, args[1], sig.args[1]), at(b, args[0], memory), align=1)
            return context.get_dummy_value()

        return types.void(types.intp, types.unliteral(x)), generate

    return function


store_float = scalar_storer(f32, lambda b, x, t: convert(b, x, t, f32))
store_half = scalar_storer(f16, lambda b, x, t: b.fptrunc(convert(b, x, t, f32), f16))
store_int = scalar_storer(i32, lambda b, x, t: convert(b, x, t, i32))
store_short = scalar_storer(i16, lambda b, x, t: convert(b, x, t, i16))
store_byte = scalar_storer(i8, lambda b, x, t: convert(b, x, t, i8))


@intrinsic
def prefetch(context: Any, address: Any) -> Any:
    """Ask for a cache line that is needed soon (into the second-level cache)."""

    def generate(context: Any, b: Any, sig: Any, args: Any) -> Any:
        kind = ir.FunctionType(ir.VoidType(), [i8.as_pointer(), i32, i32, i32])
        function = cgutils.get_or_insert_function(b.module, kind, "llvm.prefetch.p0")
        b.call(function, [at(b, args[0], i8), i32(0), i32(2), i32(1)])
        return context.get_dummy_value()

    return types.void(types.intp), generate
