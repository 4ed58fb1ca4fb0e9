"""Activations as kernels read them: rows of numbers, packed tile by tile.

A tile of T tokens is one token or eight (`tile`).  Its numbers lie by column, and the tokens'
numbers of a column side by side, so that one address and an offset per token reach them:

    floats    [column][token]                         float32
    codes     [column / 4][token][4]                  int8, four columns to a word
    scales    [block][token]                          float32
    sums      [32 columns][3][token]                  int32: minus the sum of the first 16 codes,
                                                      of the other 16, and of all 32

For a matrix that is not quantised, or act="none", the floats are the activations themselves.  For
act="q8" a row is quantised as ggml's reference does (`quantize_row_q8_0_ref`,
`quantize_row_q8_K_ref`; `refimpl.formats.quants.dot`), every operation in its order, so that the
integers are ggml's in every bit:

    q8_0   32 columns   d = max|x| / 127, q = round(x * (1 / d)), ties away from 0; d as float16
    q8_k  256 columns   i = -127 / (x of largest magnitude), q = round(i * x), to even; d = 1 / i
"""

from numba import types

from backends.numba.compile import jit
from backends.numba.simd import (
    larger,
    load_float,
    load_floats,
    load_int,
    magnitude,
    max_floats,
    nearest,
    round_half_away,
    store_as_bytes,
    store_float,
    store_int,
    sum_ints,
    through_half,
    to_ints,
)  # fmt: skip

FLOATS, Q8_0, Q8_K = 0, 1, 2
"""The three packings, as numbers for compiled code."""

ZERO, ONE = 0.0, 1.0


@jit
def pack_floats(row: int, n: int, padded: int, out: int, width: int, t: int) -> None:
    """Row of n floats to token t of a tile, and zeros up to whole blocks of 32."""
    for k in range(n):
        store_int(out + 4 * (k * width + t), load_int(row + 4 * k))
    for k in range(n, padded):
        store_int(out + 4 * (k * width + t), 0)


@jit
def put_codes(q, codes: int, width: int, t: int, scratch: int) -> None:  # type: ignore[no-untyped-def]
    """Sixteen codes are four words, each to its column group."""
    store_as_bytes(scratch, q)
    for j in range(4):
        store_int(codes + 4 * (j * width + t), load_int(scratch + 4 * j))


@jit
def put_sums(a: int, b: int, sums: int, width: int, t: int) -> None:
    store_int(sums + 4 * t, -a)
    store_int(sums + 4 * (width + t), -b)
    store_int(sums + 4 * (2 * width + t), -a - b)


@jit
def pack_q8_0(
    row: int, n: int, codes: int, scales: int, sums: int, width: int, t: int, scratch: int
) -> None:
    for block in range(n // 32):
        x = row + 128 * block
        a, b = load_floats(x), load_floats(x + 64)
        most = max_floats(larger(magnitude(a), magnitude(b)))
        d = most / types.float32(127.0)
        inverse = types.float32(0.0)
        if d != types.float32(0.0):
            inverse = types.float32(1.0) / d
        p, q = to_ints(round_half_away(a * inverse)), to_ints(round_half_away(b * inverse))
        put_codes(p, codes + 32 * block * width, width, t, scratch)
        put_codes(q, codes + (32 * block + 16) * width, width, t, scratch)
        store_float(scales + 4 * (block * width + t), through_half(d))
        put_sums(sum_ints(p), sum_ints(q), sums + 12 * block * width, width, t)


@jit
def largest(row: int) -> float:
    """Of 256 numbers the first one of largest magnitude, with its sign."""
    most = magnitude(load_floats(row))
    for j in range(1, 16):
        most = larger(magnitude(load_floats(row + 64 * j)), most)
    top = max_floats(most)
    x = types.float32(0.0)
    for k in range(256):
        x = load_float(row + 4 * k)
        if abs(x) == top:
            break
    return x


@jit
def pack_q8_k(
    row: int, n: int, codes: int, scales: int, sums: int, width: int, t: int, scratch: int
) -> None:
    for block in range(n // 256):
        x = row + 1024 * block
        top = largest(x)
        inverse, d = types.float32(0.0), types.float32(0.0)
        if top != types.float32(0.0):
            inverse = types.float32(-127.0) / top
            d = types.float32(1.0) / inverse
        for j in range(8):
            p = to_ints(nearest(load_floats(x + 128 * j) * inverse))
            q = to_ints(nearest(load_floats(x + 128 * j + 64) * inverse))
            put_codes(p, codes + (256 * block + 32 * j) * width, width, t, scratch)
            put_codes(q, codes + (256 * block + 32 * j + 16) * width, width, t, scratch)
            put_sums(sum_ints(p), sum_ints(q), sums + 12 * (8 * block + j) * width, width, t)
        store_float(scales + 4 * (block * width + t), d)
