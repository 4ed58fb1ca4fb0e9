"""Q4_K and Q6_K: 256 weights whose sub-blocks have small integer scales, which stay integers.

The sum of a sub-block is an integer, and so is its scale; their products are added up as integers
over all 256 columns.  Only then comes one conversion, and one multiplication by the float16 `d` and
by the scale of the activations.

Layout of 16 rows and 256 columns (row's bytes side by side, as in `legacy`):

    Q4_K   d | dmin | 8 scales x 16 rows | 4 x 16 pairs of minima | 32 x 64 bytes: GGUF's own words
    Q6_K   d | 16 scales x 16 rows | 16 x 192 bytes: the sixteen columns of each scale

A 6-bit scale of Q4_K becomes a byte, which costs 2.8 % of memory.

GGUF keeps four bits of a Q6_K weight in one place and two in another, which makes three runs of
memory to read and much to shift.  Here three bytes hold four weights: three are the lower six bits
of a byte each, and the fourth is what is left over.

    c0 = a & 63   c1 = b & 63   c2 = c & 63   c3 = the upper bits of a, b and c, two of each
"""

from typing import Any

from backends.numba.compile import jit
from backends.numba.int_tile import add_scaled_ints, dot2, dot4, ints_like, start_at, weigh_ints
from backends.numba.kernels.legacy import add_four_columns
from backends.numba.simd import as_ints, floats, to_floats
from backends.numba.simd_memory import (
    load_byte,
    load_byte_pairs,
    load_bytes,
    load_halves,
    load_int,
    load_short,
    load_signed_bytes,
    load_unsigned_bytes,
    store_byte,
    store_int,
    store_short,
)
from backends.numba.tile import add_products, add_scaled, ask_ahead, floats_like, width

Q4_K_BYTES, Q6_K_BYTES = 32 + 32 + 128 + 128 + 2048, 16 * 210


@jit
def add_minima(tile: Any, w: int, scales: int, sums: int) -> Any:
    """Eight minima times minus the sums of 32 columns, two at a time; dmin lies at `w`.

    Kernels do this after a block's products.  Before them, LLVM would still multiply afterwards,
    where the result is used, but read at once, and keep 28 numbers on the stack meanwhile.
    """
    step, total = 4 * width(tile), ints_like(tile)
    for c in range(4):
        total = dot2(total, load_byte_pairs(w + 160 + 32 * c), sums + (6 * c + 2) * step)
    return add_scaled_ints(tile, total, load_halves(w), scales)


@jit
def dot_q4_k(tile: Any, w: int, blocks: int, codes: int, scales: int, sums: int) -> Any:
    step = 4 * width(tile)
    for _ in range(blocks):
        ask_ahead(tile, w, 320)
        total = ints_like(tile)
        for c in range(4):
            low, high = ints_like(tile), ints_like(tile)
            for j in range(8):
                place = w + 320 + 512 * c + 64 * j
                q = load_bytes(place)
                ask_ahead(tile, place, 64)
                low = dot4(low, q & 15, codes + step * j)
                high = dot4(high, q >> 4, codes + step * (8 + j))
            total = weigh_ints(total, low, load_unsigned_bytes(w + 64 + 32 * c))
            total = weigh_ints(total, high, load_unsigned_bytes(w + 80 + 32 * c))
            codes += 16 * step
        tile = add_minima(tile, w + 32, scales, sums)
        tile = add_scaled_ints(tile, total, load_halves(w), scales)
        w += Q4_K_BYTES
        scales += step
        sums += 24 * step
    return tile


@jit
def add_four_scaled(tile: Any, lanes: Any, x: int, scale: Any, minimum: Any) -> Any:
    """Four columns of weights `scale * code - minimum`, codes being unsigned bytes of a lane."""
    step = 4 * width(tile)
    for c in range(4):
        code = to_floats((lanes >> (8 * c)) & 255)
        tile = add_products(tile, code * scale - minimum, x + step * c)
    return tile


@jit
def multiply_q4_k(tile: Any, w: int, blocks: int, x: int, scales: int, sums: int) -> Any:
    step = 4 * width(tile)
    for _ in range(blocks):
        d, dmin = load_halves(w), load_halves(w + 32)
        part = floats_like(tile)
        for c in range(4):
            place = w + 64 + 32 * c
            low = d * to_floats(load_unsigned_bytes(place))
            high = d * to_floats(load_unsigned_bytes(place + 16))
            minima = load_byte_pairs(place + 128)
            low_minimum = dmin * to_floats(minima & 0xFFFF)
            high_minimum = dmin * to_floats(minima >> 16)
            for j in range(8):
                q = load_bytes(w + 320 + 512 * c + 64 * j)
                a, b = as_ints(q & 15), as_ints(q >> 4)
                part = add_four_scaled(part, a, x + 4 * step * j, low, low_minimum)
                part = add_four_scaled(part, b, x + 4 * step * (8 + j), high, high_minimum)
            x += 64 * step
        tile = add_scaled(tile, part, floats(1.0))
        w += Q4_K_BYTES
    return tile


@jit
def six_bits(row: int, s: int, at: int) -> int:
    """Scale s (at = 0) or minimum s (at = 4) of the twelve bytes (`refimpl.formats.quants.k`)."""
    bits = load_byte(row + at + s) & 63
    if s >= 4:
        bits = (load_byte(row + 4 + s) >> at & 15) | (load_byte(row + at + s - 4) >> 6) << 4
    return bits


@jit
def put_q4_k(row: int, block: int, r: int, columns: int) -> None:
    store_short(block + 2 * r, load_short(row))
    store_short(block + 32 + 2 * r, load_short(row + 2))
    for s in range(8):
        store_byte(block + 64 + 16 * s + r, six_bits(row + 4, s, 0))
        store_byte(block + 192 + 32 * (s // 2) + 2 * r + s % 2, six_bits(row + 4, s, 4))
    for j in range(32):
        store_int(block + 320 + 64 * j + 4 * r, load_int(row + 16 + 4 * j))


@jit
def four_of_three(w: int) -> Any:
    """Four vectors of Q6_K's codes, four columns each, from 192 bytes."""
    a, b, c = load_bytes(w), load_bytes(w + 64), load_bytes(w + 128)
    return a & 63, b & 63, c & 63, ((a >> 2) & 48) | ((b >> 4) & 12) | (c >> 6)


@jit
def dot_q6_k(tile: Any, w: int, blocks: int, codes: int, scales: int, sums: int) -> Any:
    step = 4 * width(tile)
    for _ in range(blocks):
        ask_ahead(tile, w, 288)
        total = ints_like(tile)
        for n in range(16):  # columns 16 n .. 16 n + 15
            s = start_at(tile, sums + (3 * (n // 2) + n % 2) * step)  # codes are 32 too large
            place = w + 288 + 192 * n
            ask_ahead(tile, place, 192)
            c0, c1, c2, c3 = four_of_three(place)
            s = dot4(s, c0, codes)
            s = dot4(s, c1, codes + step)
            s = dot4(s, c2, codes + 2 * step)
            s = dot4(s, c3, codes + 3 * step)
            total = weigh_ints(total, s, load_signed_bytes(w + 32 + 16 * n))
            codes += 4 * step
        tile = add_scaled_ints(tile, total, load_halves(w), scales)
        w += Q6_K_BYTES
        scales += step
        sums += 24 * step
    return tile


@jit
def multiply_q6_k(tile: Any, w: int, blocks: int, x: int, scales: int, sums: int) -> Any:
    step = 4 * width(tile)
    for _ in range(blocks):
        d = load_halves(w)
        for n in range(16):
            part = floats_like(tile)
            c0, c1, c2, c3 = four_of_three(w + 288 + 192 * n)
            part = add_four_columns(part, c0 - 32, x)
            part = add_four_columns(part, c1 - 32, x + 4 * step)
            part = add_four_columns(part, c2 - 32, x + 8 * step)
            part = add_four_columns(part, c3 - 32, x + 12 * step)
            tile = add_scaled(tile, part, d * to_floats(load_signed_bytes(w + 32 + 16 * n)))
            x += 16 * step
        w += Q6_K_BYTES
    return tile


@jit
def four_codes(row: int, n: int, j: int) -> int:
    """Columns 16 n + 4 j .. + 3 of GGUF's ql[128] qh[64], a byte each.

    Each half of the columns has 64 bytes of ql and 32 of qh.
    """
    half, quarter, odd = n // 8, n // 2 % 4, n % 2
    low = load_int(row + 64 * half + 32 * (quarter % 2) + 16 * odd + 4 * j) >> (4 * (quarter // 2))
    top = load_int(row + 128 + 32 * half + 16 * odd + 4 * j) >> (2 * quarter)
    return (low & 0x0F0F0F0F) | ((top & 0x03030303) << 4)


@jit
def put_q6_k(row: int, block: int, r: int, columns: int) -> None:
    """GGUF: ql[128] qh[64] scales[16] d."""
    store_short(block + 2 * r, load_short(row + 208))
    for n in range(16):
        store_byte(block + 32 + 16 * n + r, load_byte(row + 192 + n))
        place, rest = block + 288 + 192 * n + 4 * r, four_codes(row, n, 3)
        store_int(place, four_codes(row, n, 0) | (rest & 0x30303030) << 2)
        store_int(place + 64, four_codes(row, n, 1) | (rest & 0x0C0C0C0C) << 4)
        store_int(place + 128, four_codes(row, n, 2) | (rest & 0x03030303) << 6)
