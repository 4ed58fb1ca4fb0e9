"""Sums of integers in a tile: products of bytes, and how they become floats.

Four products of bytes and their sum are one instruction (`processor`).  A sum over a block of
columns stays an integer for as long as its scales are, and is exact: only `add_scaled_ints` rounds.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from backends.numba.processor import DOT, DOT2, DOT_WIDE, ISA
from backends.numba.simd import Bytes, Floats, Ints, call, f32, i32, splat
from backends.numba.tile import each, number


@intrinsic
def ints_like(context: Any, tile: Any) -> Any:
    """An empty tile of integers for the same tokens."""
    kind = tile.of(Ints)

    def generate(context: Any, b: Any, sig: Any, args: Any) -> Any:
        return ir.Constant(kind.ll, None)

    return kind(tile), generate


@intrinsic
def start_at(context: Any, tile: Any, address: Any) -> Any:
    """Where a sum of integers begins: at a number of each token."""
    kind = tile.of(Ints)

    def generate(context: Any, b: Any, sig: Any, args: Any) -> Any:
        return each(b, kind, lambda t: number(b, args[1], t, i32))

    return kind(tile, types.intp), generate


@intrinsic
def less_offset(context: Any, tile: Any, address: Any, bits: Any) -> Any:
    """Where a sum begins whose weights are stored 2**bits too large: at -2**bits * sum(x).

    The address holds -sum(x); shifting costs less than multiplying.
    """
    kind = tile.of(Ints)

    def generate(context: Any, b: Any, sig: Any, args: Any) -> Any:
        shift = splat(b, b.trunc(args[2], i32), Ints.ll)
        return each(b, kind, lambda t: b.shl(number(b, args[1], t, i32), shift))

    return kind(tile, types.intp, types.intp), generate


def byte_dot(ways: Any) -> Any:
    @intrinsic
    def function(context: Any, tile: Any, weights: Any, address: Any) -> Any:
        def generate(context: Any, b: Any, sig: Any, args: Any) -> Any:
            def token(t: int) -> Any:
                x = b.bitcast(number(b, args[2], t, i32), Bytes.ll)
                return ways[ISA](b, b.extract_value(args[0], t), args[1], x)

            return each(b, tile, token)

        return tile(tile, Bytes, types.intp), generate

    return function


dot4 = byte_dot(DOT)
"""tile[t] += four weights times the four bytes of token t, in each row; weights are below 128."""

dot4_wide = byte_dot(DOT_WIDE)
"""The same for weights of eight bits (stored with `BYTE_OFFSET`)."""


@intrinsic
def dot2(context: Any, tile: Any, pairs: Any, address: Any) -> Any:
    """tile[t] += two products of 16-bit numbers: of each lane's halves with those of token t."""

    def generate(context: Any, b: Any, sig: Any, args: Any) -> Any:
        def token(t: int) -> Any:
            x = number(b, args[2], t, i32)
            return DOT2[ISA](b, b.extract_value(args[0], t), args[1], x)

        return each(b, tile, token)

    return tile(tile, Ints, types.intp), generate


@intrinsic
def add_scaled_ints(context: Any, tile: Any, sums: Any, scale: Any, address: Any) -> Any:
    """tile[t] += sums[t] * (scale * scale of x[t]): from integers back to floats."""

    def generate(context: Any, b: Any, sig: Any, args: Any) -> Any:
        def token(t: int) -> Any:
            both = b.fmul(args[2], number(b, args[3], t, f32))
            value = b.sitofp(b.extract_value(args[1], t), Floats.ll)
            return call(b, "llvm.fma.v16f32", Floats.ll, [value, both, b.extract_value(args[0], t)])

        return each(b, tile, token)

    return tile(tile, sums, Floats, types.intp), generate


@intrinsic
def weigh_ints(context: Any, tile: Any, sums: Any, scale: Any) -> Any:
    """tile[t] += sums[t] * scale, all integers: the small scales inside a K block."""

    def generate(context: Any, b: Any, sig: Any, args: Any) -> Any:
        def token(t: int) -> Any:
            product = b.mul(b.extract_value(args[1], t), args[2])
            return b.add(b.extract_value(args[0], t), product)

        return each(b, tile, token)

    return tile(tile, sums, Ints), generate


@intrinsic
def weigh_numbers(context: Any, tile: Any, scale: Any, address: Any) -> Any:
    """tile[t] += scale * x[t], all integers."""

    def generate(context: Any, b: Any, sig: Any, args: Any) -> Any:
        def token(t: int) -> Any:
            product = b.mul(args[1], number(b, args[2], t, i32))
            return b.add(b.extract_value(args[0], t), product)

        return each(b, tile, token)

    return tile(tile, Ints, types.intp), generate
