"""Arrays of strings that must all differ, in compiled code.

What was read is kept as numbers of interned pairs: a string is (the string without its last
character, that character), a set is (the set before, the string that was added).  Equal strings
have equal numbers, so an item may not end where its number is in the array's set.  Pairs that only
a mask needed are dropped again; those that a state holds stay for ever, as states are values.

>>> from backends.numba.grammar_constraint import compile_json_schema
>>> from backends.numba.grammar_vocabulary import CompiledTries
>>> from refimpl.grammar.masks import Vocabulary, unpack
>>> v = Vocabulary.of([b"</s>", b"[", b"]", b",", b'"', b"a"], [0])
>>> schema = {"type": "array", "items": {"type": "string"}, "uniqueItems": True}
>>> c = compile_json_schema(schema, v, CompiledTries(v))
>>> unpack(c.mask(c.state_after([1, 4, 5, 4, 3, 4, 5])), 6).nonzero()[0].tolist()  # ["a","a
[1, 2, 3, 5]
"""

from backends.numba import grammar_layout as g
from backends.numba.compile import jit_masks, jit_masks_cached, jit_masks_inlined
from backends.numba.grammar_arrays import int32s, int64s
from backends.numba.grammar_frames import changed, look, need, note_bits, state
from backends.numba.grammar_spelling import read

_SETS = 1 << 40  # added to the first number of a pair that is a set


@jit_masks
def _bucket(h: int, a: int, b: int) -> int:
    """Where a pair stands in the table, or would stand."""
    pairs, table = int64s(h, g.PAIRS), int32s(h, g.PAIR_TABLE)
    mask = int64s(h, g.FACTS)[g.PAIR_BUCKETS] - 1
    x = (a ^ b << 20) * 0x2545F4914F6CDD1D
    at = (x ^ (x >> 29)) & mask
    while table[at] and (pairs[2 * table[at]] != a or pairs[2 * table[at] + 1] != b):
        at = (at + 1) & mask
    return int(at)


@jit_masks
def _pair(h: int, a: int, b: int) -> int:
    """The number of a pair; DEAD if Python must first make room."""
    table, at = int32s(h, g.PAIR_TABLE), _bucket(h, a, b)
    if table[at]:
        return int(table[at])
    facts, pairs = int64s(h, g.FACTS), int64s(h, g.PAIRS)
    n = facts[g.N_PAIRS]
    if n == facts[g.PAIR_ROOM]:
        need(h, g.NEED_PAIRS, 0, 0)
        return g.DEAD
    pairs[2 * n], pairs[2 * n + 1] = a, b
    table[at], facts[g.N_PAIRS] = n, n + 1
    return int(n)


@jit_masks
def drop_pairs(h: int, n: int) -> None:
    """Forgets the pairs from number n on, the last first, so that no search is cut short."""
    facts, pairs, table = int64s(h, g.FACTS), int64s(h, g.PAIRS), int32s(h, g.PAIR_TABLE)
    for i in range(facts[g.N_PAIRS] - 1, n - 1, -1):
        table[_bucket(h, pairs[2 * i], pairs[2 * i + 1])] = 0
    facts[g.N_PAIRS] = n


@jit_masks_cached
def hash_pairs(h: int) -> None:
    """Fills the table anew, after it was replaced by a larger one."""
    pairs, table = int64s(h, g.PAIRS), int32s(h, g.PAIR_TABLE)
    for i in range(1, int64s(h, g.FACTS)[g.N_PAIRS]):
        table[_bucket(h, pairs[2 * i], pairs[2 * i + 1])] = i


@jit_masks
def is_unique_here(h: int, sp: int) -> bool:
    """Whether a string that begins now is an item that must differ from those before it."""
    tag = look(h, sp)
    id = tag & 0xFFFFFFFF
    return tag >> 32 == g.ARRAY and int32s(h, g.ARRAYS)[g.ARRAY_COLUMNS * id + g.A_UNIQUE] == 1


@jit_masks
def _end(h: int, string: int, sp: int, top: int) -> tuple[int, int, int]:
    """After an item: the array's set holds it too, unless it did already."""
    note_bits(h, sp)
    tag, pairs, before = look(h, sp), int64s(h, g.PAIRS), int64s(h, g.BITS)[g.SET_WORDS * sp + 1]
    at = before
    while at:
        if pairs[2 * at + 1] == string:
            return g.DEAD, sp, top
        at = pairs[2 * at] - _SETS
    after = _pair(h, before + _SETS, string)
    if after < 0:
        return g.DEAD, sp, top
    changed(h, sp, top, tag)
    bits, cap = (
        int64s(h, g.BITS),
        int32s(h, g.ARRAYS)[g.ARRAY_COLUMNS * (tag & 0xFFFFFFFF) + g.A_CAP],
    )
    bits[g.SET_WORDS * top] = min(bits[g.SET_WORDS * top] + 1, cap)
    bits[g.SET_WORDS * top + 1] = after
    return state(g.ARRAY_AFTER, 0, 0), top, top + 1


@jit_masks_inlined
def unique(h: int, q: int, c: int, sp: int, top: int, byte: int) -> tuple[int, int, int, int]:
    """Inside an item; the state's id is the string so far."""
    part, string = q >> 32 & 0xFFFF, q & 0xFFFFFFFF
    if byte == 0x22 and not part:
        q, sp, top = _end(h, string, sp, top)
        return q, 0, sp, top
    part, value = read(part, c, byte)
    if part < 0:
        return g.DEAD, 0, sp, top
    if part:
        return state(g.UNIQUE, part, string), value, sp, top
    string = _pair(h, string, value)
    return (state(g.UNIQUE, 0, string) if string >= 0 else g.DEAD), 0, sp, top
