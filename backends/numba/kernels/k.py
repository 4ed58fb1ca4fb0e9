"""Q4_K and Q6_K: 256 weights whose sub-blocks have small integer scales, which stay integers.

The sum of a sub-block is an integer, and so is its scale; their products are added up as integers
over all 256 columns.  Only then comes one conversion, and one multiplication by the float16 `d` and
by the scale of the activations.

Layout of 16 rows and 256 columns (row's bytes side by side, as in `legacy`):

    Q4_K   d | dmin | 8 scales x 16 rows | 8 minima x 16 rows | 32 x 64 bytes: GGUF's own words
    Q6_K   d | 16 scales x 16 rows | for each half of the columns: 16 x 64 `ql`, 8 x 64 `qh`

A 6-bit scale of Q4_K becomes a byte, which costs 2.8 % of memory.
"""

from typing import Any

from backends.numba.compile import jit
from backends.numba.kernels.legacy import add_four_columns
from backends.numba.simd import (
    as_ints,
    floats,
    load_byte,
    load_bytes,
    load_halves,
    load_int,
    load_short,
    load_signed_bytes,
    load_unsigned_bytes,
    store_byte,
    store_int,
    store_short,
    to_floats,
)  # fmt: skip
from backends.numba.tile import (
    add_products,
    add_scaled,
    add_scaled_ints,
    dot4,
    floats_like,
    ints_like,
    less_offset,
    prefetch_weights,
    weigh_ints,
    weigh_numbers,
    width,
)  # fmt: skip

AHEAD = 8192
"""How many bytes ahead Q6_K asks for weights.  It reads three runs of bytes in turn, which confuses
the processor's own foresight; with one run, in huge pages, that is better than any help."""
Q4_K_BYTES, Q6_K_BYTES = 32 + 32 + 128 + 128 + 2048, 16 * 210


@jit
def dot_q4_k(tile: Any, w: int, blocks: int, codes: int, scales: int, sums: int) -> Any:
    step = 4 * width(tile)
    for _ in range(blocks):
        total, minima = ints_like(tile), ints_like(tile)
        for c in range(4):
            low, high = ints_like(tile), ints_like(tile)
            for j in range(8):
                place = w + 320 + 512 * c + 64 * j
                q = load_bytes(place)
                low = dot4(low, q & 15, codes + step * j)
                high = dot4(high, q >> 4, codes + step * (8 + j))
            total = weigh_ints(total, low, load_unsigned_bytes(w + 64 + 32 * c))
            total = weigh_ints(total, high, load_unsigned_bytes(w + 80 + 32 * c))
            minima = weigh_numbers(minima, load_unsigned_bytes(w + 192 + 32 * c), sums + 2 * step)
            minima = weigh_numbers(minima, load_unsigned_bytes(w + 208 + 32 * c), sums + 5 * step)
            codes += 16 * step
            sums += 6 * step
        tile = add_scaled_ints(tile, total, load_halves(w), scales)
        tile = add_scaled_ints(tile, minima, load_halves(w + 32), scales)
        w += Q4_K_BYTES
        scales += step
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
            low_minimum = dmin * to_floats(load_unsigned_bytes(place + 128))
            high_minimum = dmin * to_floats(load_unsigned_bytes(place + 144))
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
        store_byte(block + 192 + 16 * s + r, six_bits(row + 4, s, 4))
    for j in range(32):
        store_int(block + 320 + 64 * j + 4 * r, load_int(row + 16 + 4 * j))


@jit
def dot_q6_k(tile: Any, w: int, blocks: int, codes: int, scales: int, sums: int) -> Any:
    step = 4 * width(tile)
    for _ in range(blocks):
        total = ints_like(tile)
        for j in range(5):
            prefetch_weights(tile, w + 64 * j + AHEAD)
        for h in range(4):  # half h // 2 of the columns; columns 0-15 or 16-31 of each 32 in it
            half, odd = h // 2, h % 2
            place, x = w + 288 + 1536 * half + 256 * odd, codes + (32 * half + 4 * odd) * step
            first, scale = sums + (12 * half + odd) * step, w + 32 + 128 * half + 16 * odd
            a, c = less_offset(tile, first, 5), less_offset(tile, first + 6 * step, 5)
            for j in range(4):
                p, top = load_bytes(place + 64 * j), load_bytes(place + 1024 + 64 * j)
                a = dot4(a, (p & 15) | ((top << 4) & 48), x + step * j)
                c = dot4(c, (p >> 4) | (top & 48), x + step * (16 + j))
                prefetch_weights(tile, place + 64 * j + AHEAD)
                prefetch_weights(tile, place + 1024 + 64 * j + AHEAD)
            total = weigh_ints(total, a, load_signed_bytes(scale))
            total = weigh_ints(total, c, load_signed_bytes(scale + 64))
            b, d = less_offset(tile, first + 3 * step, 5), less_offset(tile, first + 9 * step, 5)
            for j in range(4):
                q, top = load_bytes(place + 512 + 64 * j), load_bytes(place + 1024 + 64 * j)
                b = dot4(b, (q & 15) | ((top << 2) & 48), x + step * (8 + j))
                d = dot4(d, (q >> 4) | ((top >> 2) & 48), x + step * (24 + j))
                prefetch_weights(tile, place + 512 + 64 * j + AHEAD)
            total = weigh_ints(total, b, load_signed_bytes(scale + 32))
            total = weigh_ints(total, d, load_signed_bytes(scale + 96))
        tile = add_scaled_ints(tile, total, load_halves(w), scales)
        w += Q6_K_BYTES
        codes += 64 * step
        scales += step
        sums += 24 * step
    return tile


@jit
def multiply_q6_k(tile: Any, w: int, blocks: int, x: int, scales: int, sums: int) -> Any:
    step = 4 * width(tile)
    for _ in range(blocks):
        d = load_halves(w)
        for n in range(16):  # columns 16n .. 16n + 15: quarter of a half, first or second sixteen
            half, quarter, odd = n // 8, n // 2 % 4, n % 2
            place = w + 288 + 1536 * half + 256 * odd
            part = floats_like(tile)
            for j in range(4):
                low = load_bytes(place + 512 * (quarter % 2) + 64 * j) >> (4 * (quarter // 2))
                top = load_bytes(place + 1024 + 64 * j) >> (2 * quarter)
                q = ((low & 15) | ((top & 3) << 4)) - 32
                part = add_four_columns(part, q, x + 4 * step * j)
            tile = add_scaled(tile, part, d * to_floats(load_signed_bytes(w + 32 + 16 * n)))
            x += 16 * step
        w += Q6_K_BYTES
    return tile


@jit
def put_q6_k(row: int, block: int, r: int, columns: int) -> None:
    """GGUF: ql[128] qh[64] scales[16] d; each half of the columns has 64 of ql and 32 of qh."""
    store_short(block + 2 * r, load_short(row + 208))
    for s in range(16):
        store_byte(block + 32 + 16 * s + r, load_byte(row + 192 + s))
    for half in range(2):
        place = block + 288 + 1536 * half + 4 * r
        for j in range(16):
            store_int(place + 64 * j, load_int(row + 64 * half + 4 * j))
        for j in range(8):
            store_int(place + 1024 + 64 * j, load_int(row + 128 + 32 * half + 4 * j))
