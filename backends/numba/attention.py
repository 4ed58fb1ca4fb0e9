"""Paged attention: four queries at a time over pages of sixteen keys.

The queries of a sequence that share a key/value head (its tokens times the heads of a group) are
taken four at a time, a tile: each page is loaded once for all four.  Keys come in stretches of
`STRETCH` positions, counted from position 0 of the sequence:

1. scores of the stretch, page by page; a key outside a query's view scores -inf;
2. the largest score so far; what was gathered before shrinks by e^(old - new);
3. weights e^(score - largest), and their sum;
4. values times weights, page by page, added to what was gathered.

That is online softmax (`refimpl.ops.attention.attend_online`) with stretches for blocks.  Where a
stretch ends depends on positions alone, and a key that a query does not see adds exact zeros.  So
which queries share a tile, how a prompt is cut, and where pages lie cannot change a bit.

A thread's scratch memory, w being the head's width (`kv.head_width`):

    queries [w][4] | gathered [4][w] | largest [4][16] | sums [4][16] | scores [4][STRETCH] | a page
"""

from functools import cache
from typing import Any

import numpy as np

from backends.numba.compile import Entry, jit, jit_call, specialise
from backends.numba.functions import exp, soft_cap
from backends.numba.kv import BYTES_PER_COORDINATE, TYPES
from backends.numba.records import layers_at, model_at, step_at
from backends.numba.simd import (
    floats,
    ints,
    lane_numbers,
    larger,
    max_floats,
    sum_floats,
    where_less,
)
from backends.numba.simd_memory import (
    load_float,
    load_floats,
    load_int,
    prefetch,
    store_float,
    store_floats,
)
from backends.numba.tile import (
    add_products,
    add_products_apart,
    four,
    load_tile,
    store_tile,
)  # fmt: skip

KEY: Any = None
VALUE: Any = None
PUT: Any = None
TAKE: Any = None
PART = 0
"""Filled in for each type of cache (`kv.TYPES`); a page has `PART` bytes for each coordinate."""

F = np.float32
STRETCH = 512
ROW = 4 * STRETCH
"""Bytes of a row of scores."""
LOWEST, HIDDEN = F(-3e38), F(-np.inf)
AHEAD = 64
"""Positions between a page and the one that is asked for from memory meanwhile."""


def scratch_bytes(width: int) -> int:
    """What a thread needs for heads of this width."""
    return 32 * width + 512 + 4 * ROW + 64 * width + 64


@cache
def entries(kind: str) -> tuple[Entry, Entry]:
    """`store` and `attend` for one type of cache."""
    names = TYPES[kind] | {"PART": BYTES_PER_COORDINATE[kind]}
    return specialise(store, f"store_{kind}", **names), specialise(
        attend, f"attend_{kind}", **names
    )


def store(step_address: int, layer_number: int, thread: int, threads: int) -> None:
    """The new tokens' keys and values into their slots."""
    step = step_at(step_address)
    model, plan, cache, buffers = model_at(step.model), step.plan, step.cache, step.buffers
    keys = cache.keys + layer_number * cache.layer_bytes
    values = cache.values + layer_number * cache.layer_bytes
    n, row = model.head_dim, buffers.scratch + thread * buffers.scratch_bytes
    pairs = plan.n * model.kv_heads  # of a token and a head
    for pair in range(pairs * thread // threads, pairs * (thread + 1) // threads):
        t, head = pair // model.kv_heads, pair % model.kv_heads
        slot = load_int(plan.slots + 4 * t)
        page = head * cache.head_bytes + slot // 16 * cache.page_bytes
        place = buffers.kv_bytes * t + 4 * n * head
        copy_padded(buffers.k + place, n, row, cache.width)
        PUT(row, keys + page, values + page, slot % 16, cache.width, 1)
        copy_padded(buffers.v + place, n, row, cache.width)
        PUT(row, keys + page, values + page, slot % 16, cache.width, 0)


@jit
def copy_padded(source: int, n: int, out: int, width: int) -> None:
    for d in range(n):
        store_float(out + 4 * d, load_float(source + 4 * d))
    for d in range(n, width):
        store_float(out + 4 * d, F(0.0))


def attend(step_address: int, layer_number: int, thread: int, threads: int) -> None:
    """Every `threads`-th tile of four queries, from tile number `thread` on."""
    step = step_at(step_address)
    model, plan = model_at(step.model), step.plan
    number = 0
    for s in range(plan.n_sequences):
        queries = (load_int(plan.starts + 4 * s + 4) - load_int(plan.starts + 4 * s)) * (
            model.heads // model.kv_heads
        )
        for first in range(0, queries, 4):
            for head in range(model.kv_heads):
                if number % threads == thread:
                    attend_tile(
                        step, layer_number, thread, s, queries, first, head, KEY, VALUE, TAKE, PART
                    )
                number += 1


@jit
def attend_tile(
    step: Any, layer_number: int, thread: int, s: int, queries: int, first: int, head: int,
    key: Any, value: Any, take: Any, part: int,
) -> None:  # fmt: skip
    """Queries first .. first + 3 of sequence s, which read key/value head `head`."""
    model, plan, cache, buffers = model_at(step.model), step.plan, step.cache, step.buffers
    layer = layers_at(model.layers, model.n_layers)[layer_number]
    place = layer_number * cache.layer_bytes + head * cache.head_bytes
    keys, values = cache.keys + place, cache.values + place
    group, width, start = model.heads // model.kv_heads, cache.width, load_int(plan.starts + 4 * s)
    q = buffers.scratch + thread * buffers.scratch_bytes
    gathered = q + 16 * width
    largest = gathered + 16 * width
    sums, scores = largest + 256, largest + 512
    spare = scores + 4 * ROW
    table = plan.tables + 4 * s * plan.table_width
    lowest, highest = 1 << 60, 0
    for r in range(4):
        query = min(first + r, queries - 1)  # a tile that is not full repeats its last query
        t, h = start + query // group, head * group + query % group
        load_query(buffers.q + t * buffers.q_bytes + 4 * model.head_dim * h, model.head_dim,
                   q + 4 * r, width)  # fmt: skip
        begin(largest + 64 * r, sums + 64 * r, gathered + 4 * width * r, width, layer.sinks, h)
        position = load_int(plan.positions + 4 * t)
        lowest = min(lowest, seen_from(position, layer.window))
        highest = max(highest, position)
    for stretch in range(lowest // STRETCH * STRETCH, highest + 1, STRETCH):
        some = max(stretch, lowest // 16 * 16)
        last = min(stretch + STRETCH - 1, highest)
        for p in range(some, last + 1, 16):
            page = find_page(keys, p, highest, table, plan, cache, take, spare, 1)
            ahead = page_ahead(keys, p, highest, table, plan, cache, spare)
            tile = four()
            for d in range(width):
                ask(ahead, d, part)
                tile = add_products(tile, key(page, d, width), q + 16 * d)
            store_tile(tile, scores + 4 * (p - stretch), ROW)
        for r in range(4):
            position = load_int(plan.positions + 4 * (start + min(first + r, queries - 1) // group))
            weigh(
                scores + ROW * r, some - stretch, last - stretch, stretch,
                seen_from(position, layer.window), position, model.attn_scale, model.attn_cap,
                largest + 64 * r, sums + 64 * r, gathered + 4 * width * r, width,
            )  # fmt: skip
        for p in range(some, last + 1, 16):
            page = find_page(values, p, highest, table, plan, cache, take, spare, 0)
            ahead = page_ahead(values, p, highest, table, plan, cache, spare)
            before, after = max(0, lowest - p), min(16, last + 1 - p)  # beyond: not this sequence's
            for c in range(width // 16):
                tile = load_tile(four(), gathered + 64 * c, 4 * width)
                for token in range(before, after):
                    ask(ahead, 16 * c + token, part)
                    weight = scores + 4 * (p - stretch + token)
                    tile = add_products_apart(tile, value(page, token, c, width), weight, ROW)
                store_tile(tile, gathered + 64 * c, 4 * width)
    for r in range(min(4, queries - first)):
        t, h = start + (first + r) // group, head * group + (first + r) % group
        total = sum_floats(load_floats(sums + 64 * r))
        out = buffers.a + t * buffers.q_bytes + 4 * model.head_dim * h
        for d in range(model.head_dim):
            y = load_float(gathered + 4 * (width * r + d)) / total
            store_float(out + 4 * d, y + F(0.0))  # -0 + 0 = 0: a hidden key's zero leaves no trace


@jit
def seen_from(position: int, window: int) -> int:
    """The first position a query sees; window 0 is none."""
    return max(0, position - window + 1) if window else 0


@jit
def load_query(source: int, n: int, out: int, width: int) -> None:
    """One query beside three others."""
    for d in range(n):
        store_float(out + 16 * d, load_float(source + 4 * d))
    for d in range(n, width):
        store_float(out + 16 * d, F(0.0))


@jit
def begin(largest: int, sums: int, gathered: int, width: int, sinks: int, head: int) -> None:
    """Before the first key.  A sink is a first key without a value."""
    store_floats(largest, floats(LOWEST))
    store_floats(sums, floats(F(0.0)))
    for d in range(0, width, 16):
        store_floats(gathered + 4 * d, floats(F(0.0)))
    if sinks != 0:
        store_floats(largest, floats(load_float(sinks + 4 * head)))
        store_float(sums, F(1.0))


@jit
def slot_of(table: int, block_size: int, position: int) -> int:
    return load_int(table + 4 * (position // block_size)) * block_size + position % block_size


@jit
def find_page(
    pages: int, position: int, last: int, table: int, plan: Any, cache: Any, take: Any, spare: int,
    is_key: int,
) -> int:  # fmt: skip
    """The page of positions position .. position + 15: where it lies, or gathered into `spare`."""
    size = plan.block_size
    if size % 16 == 0:
        slot = slot_of(table, size, position)
        return pages + slot // 16 * cache.page_bytes
    for u in range(min(16, last - position + 1)):
        slot = slot_of(table, size, position + u)
        page = pages + slot // 16 * cache.page_bytes
        take(page, slot % 16, spare, u, cache.width, is_key)
    return spare


@jit
def page_ahead(
    pages: int, position: int, last: int, table: int, plan: Any, cache: Any, spare: int
) -> int:  # fmt: skip
    """The page that is needed `AHEAD` positions later; where pages are gathered, none is."""
    size = plan.block_size
    if size % 16 == 0:
        slot = slot_of(table, size, min(position + AHEAD, last))
        return pages + slot // 16 * cache.page_bytes
    return spare


@jit
def ask(page: int, i: int, part: int) -> None:
    """For the line of memory that begins in the i-th part of a page, if one does.

    Between products, one at a time: the whole page at once would fill the queues to memory.
    """
    if part * i % 64 < part:
        prefetch(page + part * i)


@jit_call
def weigh(
    scores: int, first: int, last: int, origin: int, seen: int, position: int,
    scale: float, cap: float, largest: int, sums: int, gathered: int, width: int,
) -> None:  # fmt: skip
    """Scores first..last of a stretch that begins at position `origin` become weights, in place."""
    top = floats(LOWEST)
    lanes, nothing = lane_numbers(), floats(HIDDEN)
    for i in range(first, last + 1, 16):
        x = load_floats(scores + 4 * i) * F(scale)
        if cap != 0.0:
            x = soft_cap(x, cap)
        number = lanes + (origin + i)
        x = where_less(number, ints(seen), nothing, x)
        x = where_less(ints(position), number, nothing, x)
        store_floats(scores + 4 * i, x)
        top = larger(x, top)
    old = load_floats(largest)
    new = larger(floats(max_floats(top)), old)
    shrink = exp(old - new)
    total = load_floats(sums) * shrink
    for d in range(0, width, 16):
        store_floats(gathered + 4 * d, load_floats(gathered + 4 * d) * shrink)
    for i in range(first, last + 1, 16):
        weight = exp(load_floats(scores + 4 * i) - new)
        store_floats(scores + 4 * i, weight)
        total = total + weight
    store_floats(largest, new)
    store_floats(sums, total)
