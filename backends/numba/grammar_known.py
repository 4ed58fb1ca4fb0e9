"""Masks of states that were made: what they are kept under, and how they are found again.

A mask looks at the state and at the frames that some token's bytes read, and at nothing else.  So
it is kept under the state and those frames, as in `refimpl.grammar.masks`; of most frames only the
tag, since a walk that asks for what a frame holds (keys seen, number of items) notes that.  A
*shape* says what was looked at: the number of frames, and a bit for each whose contents were read.
"""

from backends.numba import grammar_layout as g
from backends.numba.compile import jit_masks, jit_masks_cached
from backends.numba.grammar_arrays import int32s, int64s
from backends.numba.grammar_stacks import mix
from backends.numba.grammar_strings import unnamed


@jit_masks
def alike(h: int, q: int, c: int, sp: int) -> tuple[int, int]:
    """A name for the state, the same for states that no token can tell apart."""
    kind, id = q >> 48, q & 0xFFFFFFFF
    if kind == g.KEY and id != g.OTHER and not q >> 32 & 0xFFFF and _is_as_other(h, id, sp):
        return q | g.OTHER, c
    if kind != g.STRING:
        return q, c
    strings, i = int32s(h, g.STRINGS), g.STRING_COLUMNS * id
    count, reach = c >> 32, int64s(h, g.FACTS)[g.LONGEST]
    lo = min(max(strings[i + g.S_LO] - count, 0), reach + 1)
    hi = strings[i + g.S_HI] - count if strings[i + g.S_HI] >= 0 else reach + 1
    counts = (lo << 16 | min(hi, reach + 1)) << 32
    return q >> 32 << 32 | strings[i + g.S_RESULT], counts | (c & 0xFFFFFFFF)


@jit_masks
def _is_as_other(h: int, node: int, sp: int) -> bool:
    """Whether any key may come, and no token that closes one can make this one a name."""
    trie, facts = int32s(h, g.TRIE), int64s(h, g.FACTS)
    if trie[g.TRIE_COLUMNS * node + g.T_NAME] >= 0 or not unnamed(h, int64s(h, g.TAG)[sp]):
        return False
    y, end = node + 1, trie[g.TRIE_COLUMNS * node + g.T_SKIP]
    while y < end:
        point = trie[g.TRIE_COLUMNS * y + g.T_POINT]
        if facts[g.CLOSED_BY + min(point >> 6, 2)] >> (point & 63 if point < 128 else 0) & 1:
            return False
        y = trie[g.TRIE_COLUMNS * y + g.T_SKIP]
    return True


@jit_masks
def _bucket(h: int, q: int, c: int, sp: int, shape: int) -> int:
    """Where the search for a mask begins."""
    tags, bits, parent = int64s(h, g.TAG), int64s(h, g.BITS), int32s(h, g.PARENT)
    x = mix(mix(q, c), shape)
    for i in range(shape >> g.MAX_DEPTHS):
        x = mix(x, tags[sp])
        if shape >> i & 1:
            for j in range(g.SET_WORDS):
                x = mix(x, bits[g.SET_WORDS * sp + j])
        sp = parent[sp]
    return x & (int64s(h, g.FACTS)[g.MASK_BUCKETS] - 1)


@jit_masks
def _same_frames(h: int, a: int, b: int, shape: int) -> bool:
    tags, bits, parent = int64s(h, g.TAG), int64s(h, g.BITS), int32s(h, g.PARENT)
    for i in range(shape >> g.MAX_DEPTHS):
        if tags[a] != tags[b]:
            return False
        if shape >> i & 1:
            for j in range(g.SET_WORDS):
                if bits[g.SET_WORDS * a + j] != bits[g.SET_WORDS * b + j]:
                    return False
        a, b = parent[a], parent[b]
    return True


@jit_masks
def find(h: int, q: int, c: int, sp: int) -> int:
    """The number of the row of a known mask, or DEAD."""
    entries, table, shapes = int64s(h, g.ENTRIES), int32s(h, g.MASK_TABLE), int64s(h, g.SHAPES)
    mask, frames = int64s(h, g.FACTS)[g.MASK_BUCKETS] - 1, int32s(h, g.DEPTH)[sp] + 1
    first = g.SHAPE_COLUMNS * (q >> 48) + 1
    for k in range(first, first + shapes[first - 1]):
        shape = shapes[k]
        if shape >> g.MAX_DEPTHS > frames:
            continue
        bucket = _bucket(h, q, c, sp, shape)
        while table[bucket] >= 0:
            e = g.ENTRY_COLUMNS * table[bucket]
            if (
                entries[e + g.E_Q] == q
                and entries[e + g.E_C] == c
                and entries[e + g.E_SHAPE] == shape
                and _same_frames(h, sp, entries[e + g.E_SP], shape)
            ):
                return int(entries[e + g.E_ROW])
            bucket = (bucket + 1) & mask
    return g.DEAD


@jit_masks
def _is_known(h: int, kind: int, shape: int) -> bool:
    shapes, first = int64s(h, g.SHAPES), g.SHAPE_COLUMNS * kind + 1
    for k in range(first, first + shapes[first - 1]):  # noqa: SIM110
        if shapes[k] == shape:
            return True
    return False


@jit_masks
def shape_of(h: int, kind: int, n: int) -> int:
    """The shape of n frames as they were read; of all they hold, if a kind has many shapes."""
    shapes, at, whole = int64s(h, g.SHAPES), g.SHAPE_COLUMNS * kind, (1 << n) - 1
    shape = n << g.MAX_DEPTHS | int64s(h, g.FACTS)[g.READ] & whole
    if shapes[at] >= g.FEW_SHAPES and not _is_known(h, kind, shape):
        shape |= whole
    if not _is_known(h, kind, shape):
        shapes[at] += 1
        shapes[at + shapes[at]] = shape
    return shape


@jit_masks
def put(h: int, entry: int) -> None:
    """Puts the entry of a mask into the table."""
    entries, table, e = int64s(h, g.ENTRIES), int32s(h, g.MASK_TABLE), g.ENTRY_COLUMNS * entry
    q, c, sp = entries[e + g.E_Q], entries[e + g.E_C], entries[e + g.E_SP]
    bucket = _bucket(h, q, c, sp, entries[e + g.E_SHAPE])
    while table[bucket] >= 0:
        bucket = (bucket + 1) & (int64s(h, g.FACTS)[g.MASK_BUCKETS] - 1)
    table[bucket] = entry


@jit_masks_cached
def hash_masks(h: int) -> None:
    """Fills the table of masks anew, after it was replaced by a larger one."""
    for entry in range(int64s(h, g.FACTS)[g.N_MASKS]):
        put(h, entry)
