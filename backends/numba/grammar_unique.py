"""Arrays of strings that must all differ, in compiled code.

What was read is kept as numbers of interned pairs: a string is (the string without its last
character, that character), a set is (the set before, the string that was added).  Equal strings
have equal numbers, so an item may not end where its number is in the array's set.  Pairs that only
a mask needed are dropped again; those that a state holds stay for ever, as states are values.

>>> from backends.numba.grammar_constraint import compile_json_schema
>>> from backends.numba.grammar_vocabulary import CompiledTries
>>> from refimpl.grammar.masks import Vocabulary, unpack
>>> v = Vocabulary.of([b"</s>", b'["', b"a", b'"]', b'","', b"b"], [0])
>>> schema = {"type": "array", "items": {"type": "string"}, "uniqueItems": True}
>>> c = compile_json_schema(schema, v, CompiledTries(v))
>>> unpack(c.mask(c.state_after([1, 2, 4, 2])), 6).nonzero()[0].tolist()
[2, 5]
"""

from typing import Any

from numba import njit

from backends.numba.grammar_arrays import int32s, int64s
from backends.numba.grammar_frames import changed, look, need, state
from backends.numba.grammar_layout import (
    A_CAP,
    A_UNIQUE,
    ARRAY,
    ARRAY_AFTER,
    ARRAY_COLUMNS,
    ARRAYS,
    BITS,
    DEAD,
    FACTS,
    N_PAIRS,
    NEED_PAIRS,
    PAIR_BUCKETS,
    PAIR_ROOM,
    PAIR_TABLE,
    PAIRS,
    SET_WORDS,
    UNIQUE,
)
from backends.numba.grammar_spelling import read

_jit: Any = njit(cache=True)
_SETS = 1 << 40  # added to the first number of a pair that is a set


@_jit
def _bucket(h: int, a: int, b: int) -> int:
    """Where a pair stands in the table, or would stand."""
    pairs, table = int64s(h, PAIRS), int32s(h, PAIR_TABLE)
    mask = int64s(h, FACTS)[PAIR_BUCKETS] - 1
    x = (a ^ b << 20) * 0x2545F4914F6CDD1D
    at = (x ^ (x >> 29)) & mask
    while table[at] and (pairs[2 * table[at]] != a or pairs[2 * table[at] + 1] != b):
        at = (at + 1) & mask
    return int(at)


@_jit
def _pair(h: int, a: int, b: int) -> int:
    """The number of a pair; DEAD if Python must first make room."""
    table, at = int32s(h, PAIR_TABLE), _bucket(h, a, b)
    if table[at]:
        return int(table[at])
    facts, pairs = int64s(h, FACTS), int64s(h, PAIRS)
    n = facts[N_PAIRS]
    if n == facts[PAIR_ROOM]:
        need(h, NEED_PAIRS, 0, 0)
        return DEAD
    pairs[2 * n], pairs[2 * n + 1] = a, b
    table[at], facts[N_PAIRS] = n, n + 1
    return int(n)


@_jit
def drop_pairs(h: int, n: int) -> None:
    """Forgets the pairs from number n on, the last first, so that no search is cut short."""
    facts, pairs, table = int64s(h, FACTS), int64s(h, PAIRS), int32s(h, PAIR_TABLE)
    for i in range(facts[N_PAIRS] - 1, n - 1, -1):
        table[_bucket(h, pairs[2 * i], pairs[2 * i + 1])] = 0
    facts[N_PAIRS] = n


@_jit
def hash_pairs(h: int) -> None:
    """Fills the table anew, after it was replaced by a larger one."""
    pairs, table = int64s(h, PAIRS), int32s(h, PAIR_TABLE)
    for i in range(1, int64s(h, FACTS)[N_PAIRS]):
        table[_bucket(h, pairs[2 * i], pairs[2 * i + 1])] = i


@_jit
def is_unique_here(h: int, sp: int) -> bool:
    """Whether a string that begins now is an item that must differ from those before it."""
    tag = look(h, sp)
    id = tag & 0xFFFFFFFF
    return tag >> 32 == ARRAY and int32s(h, ARRAYS)[ARRAY_COLUMNS * id + A_UNIQUE] == 1


@_jit
def _end(h: int, string: int, sp: int, top: int) -> tuple[int, int, int]:
    """After an item: the array's set holds it too, unless it did already."""
    tag, pairs, before = look(h, sp), int64s(h, PAIRS), int64s(h, BITS)[SET_WORDS * sp + 1]
    at = before
    while at:
        if pairs[2 * at + 1] == string:
            return DEAD, sp, top
        at = pairs[2 * at] - _SETS
    after = _pair(h, before + _SETS, string)
    if after < 0:
        return DEAD, sp, top
    changed(h, sp, top, tag)
    bits, cap = int64s(h, BITS), int32s(h, ARRAYS)[ARRAY_COLUMNS * (tag & 0xFFFFFFFF) + A_CAP]
    bits[SET_WORDS * top] = min(bits[SET_WORDS * top] + 1, cap)
    bits[SET_WORDS * top + 1] = after
    return state(ARRAY_AFTER, 0, 0), top, top + 1


@_jit
def unique(h: int, q: int, c: int, sp: int, top: int, byte: int) -> tuple[int, int, int, int]:
    """Inside an item; the state's id is the string so far."""
    part, string = q >> 32 & 0xFFFF, q & 0xFFFFFFFF
    if byte == 0x22 and not part:
        q, sp, top = _end(h, string, sp, top)
        return q, 0, sp, top
    part, value = read(part, c, byte)
    if part < 0:
        return DEAD, 0, sp, top
    if part:
        return state(UNIQUE, part, string), value, sp, top
    string = _pair(h, string, value)
    return (state(UNIQUE, 0, string) if string >= 0 else DEAD), 0, sp, top
