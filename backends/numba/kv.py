"""How keys and values lie in memory, for each type a cache may keep them in.

Sixteen tokens make a page.  A key/value head's pages follow one another, so that its next block is
where processors expect it: with all heads' pages of sixteen tokens together, each came from memory
a third as fast.  Within a page keys lie coordinate by coordinate (the sixteen tokens' numbers of a
coordinate together) and values token by token:

    keys      [coordinate][16 tokens]        a query's scores of 16 keys come from whole vectors
    values    [16 tokens][coordinate]        a weighted sum of values does, too

    slot 35 = page 2, token 3

Blocks of the engine may have any size.  If it is a multiple of 16 a page holds neighbours of one
sequence and is read where it lies; else 16 tokens are gathered into a page first (`attention`).
In both cases attention then does the same to a page, so the block size changes no bit.

In q8_0 a head's coordinates are cut into blocks of 32; after a page's codes come its float16
scales, [coordinate / 32][16 tokens] for keys and [16 tokens][coordinate / 32] for values.

Each type has four functions, filled in when the entry points are made (`attention.entries`): how a
vector of keys and one of values is loaded, how a token is stored, and how it is gathered.
"""

from typing import Any

import numpy as np

from backends.numba.compile import jit
from backends.numba.simd import larger, magnitude, max_floats, round_half_away, to_floats, to_ints
from backends.numba.simd_memory import (
    load_bfloats,
    load_byte,
    load_floats,
    load_half,
    load_halves,
    load_int,
    load_short,
    load_signed_bytes,
    store_as_bytes,
    store_bfloats,
    store_byte,
    store_floats,
    store_half,
    store_halves,
    store_int,
    store_short,
)

F = np.float32


# --- a vector of a page: sixteen keys' coordinate d, or a value's coordinates 16c .. 16c + 15 ---


@jit
def key_f32(page: int, d: int, width: int) -> Any:
    return load_floats(page + 64 * d)


@jit
def value_f32(page: int, token: int, c: int, width: int) -> Any:
    return load_floats(page + 4 * (token * width + 16 * c))


@jit
def key_f16(page: int, d: int, width: int) -> Any:
    return load_halves(page + 32 * d)


@jit
def value_f16(page: int, token: int, c: int, width: int) -> Any:
    return load_halves(page + 2 * (token * width + 16 * c))


@jit
def key_bf16(page: int, d: int, width: int) -> Any:
    return load_bfloats(page + 32 * d)


@jit
def value_bf16(page: int, token: int, c: int, width: int) -> Any:
    return load_bfloats(page + 2 * (token * width + 16 * c))


@jit
def key_q8(page: int, d: int, width: int) -> Any:
    scales = load_halves(page + 16 * width + 32 * (d // 32))
    return to_floats(load_signed_bytes(page + 16 * d)) * scales


@jit
def value_q8(page: int, token: int, c: int, width: int) -> Any:
    scale = load_half(page + 16 * width + 2 * (token * (width // 32) + c // 2))
    return to_floats(load_signed_bytes(page + token * width + 16 * c)) * scale


# --- storing a token's head; `row` are `width` floats, padded with zeros ---
# A number type first rounds sixteen numbers at a time into `scratch`, then moves them one by one.


@jit
def move_words(source: int, page: int, token: int, width: int) -> None:
    """Coordinates of a token, apart by 16, as keys lie."""
    for d in range(width):
        store_int(page + 64 * d + 4 * token, load_int(source + 4 * d))


@jit
def move_shorts(source: int, page: int, token: int, width: int) -> None:
    for d in range(width):
        store_short(page + 32 * d + 2 * token, load_short(source + 2 * d))


@jit
def put_f32(row: int, keys: int, values: int, token: int, width: int, is_key: int) -> None:
    if is_key:
        move_words(row, keys, token, width)
    else:
        for d in range(0, width, 16):
            store_floats(values + 4 * (token * width + d), load_floats(row + 4 * d))


@jit
def put_f16(row: int, keys: int, values: int, token: int, width: int, is_key: int) -> None:
    target = row if is_key else values + 2 * token * width
    for d in range(0, width, 16):  # in place: a half never overtakes the floats still to be read
        store_halves(target + 2 * d, load_floats(row + 4 * d))
    if is_key:
        move_shorts(row, keys, token, width)


@jit
def put_bf16(row: int, keys: int, values: int, token: int, width: int, is_key: int) -> None:
    target = row if is_key else values + 2 * token * width
    for d in range(0, width, 16):
        store_bfloats(target + 2 * d, load_floats(row + 4 * d))
    if is_key:
        move_shorts(row, keys, token, width)


@jit
def put_q8(row: int, keys: int, values: int, token: int, width: int, is_key: int) -> None:
    """As ggml's reference quantises (`activations`), but for the floats' own place in `row`."""
    for block in range(width // 32):
        x = row + 128 * block
        a, b = load_floats(x), load_floats(x + 64)
        d = max_floats(larger(magnitude(a), magnitude(b))) / F(127.0)
        inverse = F(0.0)
        if d != F(0.0):
            inverse = F(1.0) / d
        p, q = to_ints(round_half_away(a * inverse)), to_ints(round_half_away(b * inverse))
        if is_key:
            store_half(keys + 16 * width + 32 * block + 2 * token, d)
            store_as_bytes(x, p)
            store_as_bytes(x + 16, q)
            for i in range(32):
                store_byte(keys + 16 * (32 * block + i) + token, load_byte(x + i))
        else:
            store_half(values + 16 * width + 2 * (token * (width // 32) + block), d)
            store_as_bytes(values + token * width + 32 * block, p)
            store_as_bytes(values + token * width + 32 * block + 16, q)


# --- gathering one token from a page into another ---


@jit
def take_32(page: int, t: int, out: int, u: int, width: int, is_key: int) -> None:
    for d in range(width):
        if is_key:
            store_int(out + 64 * d + 4 * u, load_int(page + 64 * d + 4 * t))
        else:
            store_int(out + 4 * (u * width + d), load_int(page + 4 * (t * width + d)))


@jit
def take_16(page: int, t: int, out: int, u: int, width: int, is_key: int) -> None:
    for d in range(width):
        if is_key:
            store_short(out + 32 * d + 2 * u, load_short(page + 32 * d + 2 * t))
        else:
            store_short(out + 2 * (u * width + d), load_short(page + 2 * (t * width + d)))


@jit
def take_q8(page: int, t: int, out: int, u: int, width: int, is_key: int) -> None:
    scales = 16 * width
    for d in range(width):
        if is_key:
            store_byte(out + 16 * d + u, load_byte(page + 16 * d + t))
        else:
            store_byte(out + u * width + d, load_byte(page + t * width + d))
    for b in range(width // 32):
        if is_key:
            x, y = scales + 32 * b + 2 * t, scales + 32 * b + 2 * u
        else:
            x, y = scales + 2 * (t * (width // 32) + b), scales + 2 * (u * (width // 32) + b)
        store_short(out + y, load_short(page + x))


TYPES: dict[str, dict[str, Any]] = {
    "float32": {"KEY": key_f32, "VALUE": value_f32, "PUT": put_f32, "TAKE": take_32},
    "float16": {"KEY": key_f16, "VALUE": value_f16, "PUT": put_f16, "TAKE": take_16},
    "bfloat16": {"KEY": key_bf16, "VALUE": value_bf16, "PUT": put_bf16, "TAKE": take_16},
    "q8_0": {"KEY": key_q8, "VALUE": value_q8, "PUT": put_q8, "TAKE": take_q8},
}

BYTES_PER_COORDINATE = {"float32": 64, "float16": 32, "bfloat16": 32, "q8_0": 17}
"""Of a page and a head: sixteen numbers, in q8_0 and their share of the scales."""


def head_width(kind: str, head_dim: int) -> int:
    """A head's coordinates, filled up with zeros to whole vectors (in q8_0 to whole blocks)."""
    step = 32 if kind == "q8_0" else 16
    return -(-head_dim // step) * step
