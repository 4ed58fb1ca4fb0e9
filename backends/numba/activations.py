"""Activations as kernels read them: rows of numbers, packed tile by tile.

A tile has one token or a few (`tile`).  Its numbers lie by column, and the tokens' numbers of a
column side by side, so that one address and an offset per token reach them:

    floats    [column][token]                         float32
    halves    [column][token]                         float32, of numbers rounded to float16
    pairs     [column / 2][token][2]                  bfloat16, two columns to a word
    codes     [column / 4][token][4]                  int8, four columns to a word
    scales    [block][token]                          float32
    sums      [32 columns][3][token]                  int32: what offsets and minima of weights need

With act="none" the floats are the activations themselves.  With act="half" float16 weights read
`halves`, and bfloat16 weights `pairs` (`refimpl.ops.half`).  With act="q8" or "half" quantised
weights read a row that is quantised as ggml's reference does (`quantize_row_q8_0_ref`,
`quantize_row_q8_K_ref`; `refimpl.formats.quants.dot`), every operation in its order, so that the
integers are ggml's in every bit:

    q8_0   32 columns   d = max|x| / 127, q = round(x * (1 / d)), ties away from 0; d as float16
    q8_k  256 columns   i = -127 / (x of largest magnitude), q = round(i * x), to even; d = 1 / i

With a and b the sums of the first and the other 16 codes of 32 columns, `sums` are

    q8_0   -a       -b       -a - b
    q8_k   -32 a    -32 b    two halves of 16 bits: -a - b of these 32 columns and of the next
                             (for every second 32 columns)

since Q6_K stores its weights 32 too large, and the minima of 64 columns are one `dot2`.
"""

from typing import Any

from numba import types

from backends.numba.compile import jit
from backends.numba.simd import (
    floats,
    larger,
    magnitude,
    max_floats,
    nearest,
    round_half_away,
    sum_ints,
    through_half,
    to_ints,
    where_less,
)
from backends.numba.simd_memory import (
    load_float,
    load_floats,
    load_halves,
    load_int,
    store_as_bytes,
    store_bfloats,
    store_float,
    store_floats,
    store_halves,
    store_int,
)

FLOATS, Q8_0, Q8_K, HALVES, PAIRS = range(5)
"""The packings, as numbers for compiled code."""

ZERO, ONE = 0.0, 1.0


@jit
def pack_floats(row: int, n: int, padded: int, out: int, width: int, t: int) -> None:
    """Row of n floats to token t of a tile, and zeros up to whole blocks of 32."""
    for k in range(n):
        store_int(out + 4 * (k * width + t), load_int(row + 4 * k))
    for k in range(n, padded):
        store_int(out + 4 * (k * width + t), 0)


@jit
def sixteen(row: int, k: int, n: int, scratch: int) -> Any:
    """Numbers k .. k + 15 of a row of n, zeros after the last; uses 64 bytes of `scratch`."""
    if k + 16 <= n:
        x = load_floats(row + 4 * k)
    else:
        store_floats(scratch, floats(types.float32(ZERO)))
        for i in range(n - k):
            store_int(scratch + 4 * i, load_int(row + 4 * (k + i)))
        x = load_floats(scratch)
    return x


@jit
def pack_halves(row: int, n: int, padded: int, out: int, width: int, t: int, scratch: int) -> None:
    for k in range(0, padded, 16):
        store_halves(scratch, sixteen(row, k, n, scratch))
        store_floats(scratch, load_halves(scratch))
        for i in range(16):
            store_int(out + 4 * ((k + i) * width + t), load_int(scratch + 4 * i))


@jit
def pack_pairs(row: int, n: int, padded: int, out: int, width: int, t: int, scratch: int) -> None:
    for k in range(0, padded, 16):
        store_bfloats(scratch, sixteen(row, k, n, scratch))
        for i in range(8):
            store_int(out + 4 * ((k // 2 + i) * width + t), load_int(scratch + 4 * i))


@jit
def put_codes(q: Any, codes: int, width: int, t: int, scratch: int) -> None:
    """Sixteen codes are four words, each to its column group."""
    if width == 1:
        store_as_bytes(codes, q)
    else:
        store_as_bytes(scratch, q)
        for j in range(4):
            store_int(codes + 4 * (j * width + t), load_int(scratch + 4 * j))


@jit
def put_sums(a: int, b: int, c: int, sums: int, width: int, t: int) -> None:
    store_int(sums + 4 * t, a)
    store_int(sums + 4 * (width + t), b)
    store_int(sums + 4 * (2 * width + t), c)


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
        first, second = -sum_ints(p), -sum_ints(q)
        put_sums(first, second, first + second, sums + 12 * block * width, width, t)


@jit
def largest(row: int) -> float:
    """Of 256 numbers the first one of largest magnitude, with its sign."""
    most, least = load_floats(row), load_floats(row)
    for j in range(1, 16):
        x = load_floats(row + 64 * j)
        most, least = larger(x, most), where_less(x, least, x, least)
    top, bottom = max_floats(most), max_floats(floats(types.float32(0.0)) - least)
    found = top if top > bottom else -bottom
    if top == bottom:  # both x and -x occur
        for k in range(256):
            found = load_float(row + 4 * k)
            if abs(found) == top:
                break
    return found


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
        after = 0
        for j in range(7, -1, -1):  # backwards: a pair of sums lies with its first
            p = to_ints(nearest(load_floats(x + 128 * j) * inverse))
            q = to_ints(nearest(load_floats(x + 128 * j + 64) * inverse))
            put_codes(p, codes + (256 * block + 32 * j) * width, width, t, scratch)
            put_codes(q, codes + (256 * block + 32 * j + 16) * width, width, t, scratch)
            a, b = -sum_ints(p), -sum_ints(q)
            pair, after = ((a + b) & 0xFFFF) | (after << 16), a + b
            put_sums(32 * a, 32 * b, pair, sums + 12 * (8 * block + j) * width, width, t)
        store_float(scales + 4 * (block * width + t), d)
