"""Q2_K, Q3_K and Q5_K: `k` with other numbers of bits.

In Q2_K and Q3_K a byte holds two bits of four columns that are 32 apart: word i of half n, shifted
by 2 s, is columns 128 n + 32 s + 4 i and the three after it.  Third and fifth bits lie the same
way, one bit for each 32 columns, in eight words.

    Q2_K   d | dmin | 16 bytes of scale and minimum x 16 rows | 16 x 64 bytes
    Q3_K   d | 16 scales x 16 rows | 8 x 64 third bits | 16 x 64 bytes
    Q5_K   d | dmin | 8 scales x 16 rows | 4 x 16 pairs of minima | 8 x 64 fifth bits | 32 x 64

The 6-bit scales become bytes: Q3_K takes 3.6 % more than in the file, Q5_K 2.3 %.
"""

from typing import Any

from backends.numba.compile import jit
from backends.numba.int_tile import add_scaled_ints, dot4, ints_like, weigh_ints, weigh_numbers
from backends.numba.kernels.k import add_four_scaled, add_minima, six_bits
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
from backends.numba.tile import add_scaled, ask_ahead, floats_like, width

Q2_K_BYTES, Q3_K_BYTES, Q5_K_BYTES = 16 * 84, 32 + 256 + 512 + 1024, 320 + 512 + 2048


@jit
def dot_q2_k(tile: Any, w: int, blocks: int, codes: int, scales: int, sums: int) -> Any:
    step = 4 * width(tile)
    for _ in range(blocks):
        total, minima = ints_like(tile), ints_like(tile)
        for sub in range(16):  # columns 16 sub ..: half n, shift 2 s, odd or even sixteen h
            n, s, h = sub // 8, sub // 2 % 4, sub % 2
            some = ints_like(tile)
            ask_ahead(tile, w + Q2_K_BYTES // 16 * sub, Q2_K_BYTES // 16)
            for i in range(4):
                q = load_bytes(w + 320 + 512 * n + 256 * h + 64 * i)
                some = dot4(some, (q >> (2 * s)) & 3, codes + step * (4 * sub + i))
            both = load_unsigned_bytes(w + 64 + 16 * sub)
            total = weigh_ints(total, some, both & 15)
            minima = weigh_numbers(minima, both >> 4, sums + (3 * (sub // 2) + h) * step)
        tile = add_scaled_ints(tile, total, load_halves(w), scales)
        tile = add_scaled_ints(tile, minima, load_halves(w + 32) / 32, scales)  # of -32 sum(x)
        w += Q2_K_BYTES
        codes += 64 * step
        scales += step
        sums += 24 * step
    return tile


@jit
def multiply_q2_k(tile: Any, w: int, blocks: int, x: int, scales: int, sums: int) -> Any:
    step = 4 * width(tile)
    for _ in range(blocks):
        d, dmin = load_halves(w), load_halves(w + 32)
        for sub in range(16):
            n, s, h = sub // 8, sub // 2 % 4, sub % 2
            part = floats_like(tile)
            both = load_unsigned_bytes(w + 64 + 16 * sub)
            scale, minimum = d * to_floats(both & 15), dmin * to_floats(both >> 4)
            for i in range(4):
                q = (load_bytes(w + 320 + 512 * n + 256 * h + 64 * i) >> (2 * s)) & 3
                part = add_four_scaled(part, as_ints(q), x + 4 * step * i, scale, minimum)
            tile = add_scaled(tile, part, floats(1.0))
            x += 16 * step
        w += Q2_K_BYTES
    return tile


@jit
def put_q2_k(row: int, block: int, r: int, columns: int) -> None:
    """GGUF: scales[16] qs[64] d dmin."""
    store_short(block + 2 * r, load_short(row + 80))
    store_short(block + 32 + 2 * r, load_short(row + 82))
    for s in range(16):
        store_byte(block + 64 + 16 * s + r, load_byte(row + s))
    for j in range(16):
        store_int(block + 320 + 64 * j + 4 * r, load_int(row + 16 + 4 * j))


@jit
def three_bits(w: int, sub: int, i: int) -> Any:
    """Four columns of sub-block `sub`, 0 .. 7."""
    n, s, h = sub // 8, sub // 2 % 4, sub % 2
    low = load_bytes(w + 800 + 512 * n + 256 * h + 64 * i) >> (2 * s)
    top = load_bytes(w + 288 + 256 * h + 64 * i) >> (4 * n + s)
    return (low & 3) | ((top & 1) << 2)


@jit
def dot_q3_k(tile: Any, w: int, blocks: int, codes: int, scales: int, sums: int) -> Any:
    step = 4 * width(tile)
    for _ in range(blocks):
        total = ints_like(tile)
        for sub in range(16):
            some, scale = ints_like(tile), load_signed_bytes(w + 32 + 16 * sub)
            ask_ahead(tile, w + Q3_K_BYTES // 16 * sub, Q3_K_BYTES // 16)
            for i in range(4):
                some = dot4(some, three_bits(w, sub, i), codes + step * (4 * sub + i))
            # Codes are 4 too large; at hand is -32 sum(x), so all is made 8 times too large.
            total = weigh_ints(total, some, scale * 8)
            total = weigh_numbers(total, scale, sums + (3 * (sub // 2) + sub % 2) * step)
        tile = add_scaled_ints(tile, total, load_halves(w) / 8, scales)
        w += Q3_K_BYTES
        codes += 64 * step
        scales += step
        sums += 24 * step
    return tile


@jit
def multiply_q3_k(tile: Any, w: int, blocks: int, x: int, scales: int, sums: int) -> Any:
    step = 4 * width(tile)
    for _ in range(blocks):
        d = load_halves(w)
        for sub in range(16):
            part = floats_like(tile)
            for i in range(4):
                part = add_four_columns(part, three_bits(w, sub, i) - 4, x + 4 * step * i)
            tile = add_scaled(tile, part, d * to_floats(load_signed_bytes(w + 32 + 16 * sub)))
            x += 16 * step
        w += Q3_K_BYTES
    return tile


@jit
def put_q3_k(row: int, block: int, r: int, columns: int) -> None:
    """GGUF: hmask[32] qs[64] scales[12] d; scales as in `refimpl.formats.quants.k.scales_q3_k`."""
    store_short(block + 2 * r, load_short(row + 108))
    for s in range(16):
        low = (load_byte(row + 96 + s % 8) >> (4 * (s // 8))) & 15
        high = (load_byte(row + 104 + s % 4) >> (2 * (s // 4))) & 3
        store_byte(block + 32 + 16 * s + r, (low | high << 4) - 32)
    for j in range(8):
        store_int(block + 288 + 64 * j + 4 * r, load_int(row + 4 * j))
    for j in range(16):
        store_int(block + 800 + 64 * j + 4 * r, load_int(row + 32 + 4 * j))


@jit
def dot_q5_k(tile: Any, w: int, blocks: int, codes: int, scales: int, sums: int) -> Any:
    step = 4 * width(tile)
    for _ in range(blocks):
        ask_ahead(tile, w, 832)
        total = ints_like(tile)
        for c in range(4):
            low, high = ints_like(tile), ints_like(tile)
            for j in range(8):
                place = w + 832 + 512 * c + 64 * j
                ask_ahead(tile, place, 64)
                q, top = load_bytes(place), load_bytes(w + 320 + 64 * j) >> (2 * c)
                low = dot4(low, (q & 15) | ((top & 1) << 4), codes + step * j)
                high = dot4(high, (q >> 4) | ((top & 2) << 3), codes + step * (8 + j))
            total = weigh_ints(total, low, load_unsigned_bytes(w + 64 + 32 * c))
            total = weigh_ints(total, high, load_unsigned_bytes(w + 80 + 32 * c))
            codes += 16 * step
        tile = add_minima(tile, w + 32, scales, sums)
        tile = add_scaled_ints(tile, total, load_halves(w), scales)
        w += Q5_K_BYTES
        scales += step
        sums += 24 * step
    return tile


@jit
def multiply_q5_k(tile: Any, w: int, blocks: int, x: int, scales: int, sums: int) -> Any:
    step = 4 * width(tile)
    for _ in range(blocks):
        d, dmin = load_halves(w), load_halves(w + 32)
        for sub in range(8):
            part = floats_like(tile)
            scale = d * to_floats(load_unsigned_bytes(w + 64 + 16 * sub))
            minima = load_byte_pairs(w + 192 + 32 * (sub // 2))
            minimum = dmin * to_floats((minima >> (16 * (sub % 2))) & 0xFFFF)
            for j in range(8):
                q = load_bytes(w + 832 + 512 * (sub // 2) + 64 * j) >> (4 * (sub % 2))
                top = load_bytes(w + 320 + 64 * j) >> sub
                lanes = as_ints((q & 15) | ((top & 1) << 4))
                part = add_four_scaled(part, lanes, x + 4 * step * j, scale, minimum)
            tile = add_scaled(tile, part, floats(1.0))
            x += 32 * step
        w += Q5_K_BYTES
    return tile


@jit
def put_q5_k(row: int, block: int, r: int, columns: int) -> None:
    """GGUF: d dmin scales[12] qh[32] qs[128]."""
    store_short(block + 2 * r, load_short(row))
    store_short(block + 32 + 2 * r, load_short(row + 2))
    for s in range(8):
        store_byte(block + 64 + 16 * s + r, six_bits(row + 4, s, 0))
        store_byte(block + 192 + 32 * (s // 2) + 2 * r + s % 2, six_bits(row + 4, s, 4))
    for j in range(8):
        store_int(block + 320 + 64 * j + 4 * r, load_int(row + 16 + 4 * j))
    for j in range(32):
        store_int(block + 832 + 64 * j + 4 * r, load_int(row + 48 + 4 * j))
