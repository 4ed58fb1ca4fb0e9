"""The bits of masks, each kept once for all constraints of a vocabulary, in compiled code.

Of ten masks that must be made, nine equal one that was made before: other keys were seen, or
another schema was read, but the same tokens may come.  A mask is a base (the part inside a string,
or nothing), so many tokens that are not in the base, and the stop tokens or not.  If all of these
agree with what a row was made of, and each of the tokens stands in it, the row is the mask, for it
has no room for another token.  So it is found without being written, and only new masks touch new
memory.

Glossary: found, the list of tokens that the last walk could read (`grammar_walk`).
"""

from typing import Any

from backends.numba import grammar_layout as g
from backends.numba.compile import jit_masks, jit_masks_cached
from backends.numba.grammar_arrays import int32s, int64s, uint32s_at


@jit_masks
def set_found(h: int, row: Any, n: int) -> None:
    """Sets the bits of the tokens that were found, the first n of the list."""
    found = int32s(h, g.FOUND)
    for i in range(n):
        row[found[i] >> 5] |= 1 << (found[i] & 31)


@jit_masks
def _hash_found(h: int, n: int) -> int:
    """A sum, so that no term waits for the one before."""
    found, x = int32s(h, g.FOUND), 0
    for i in range(n):
        y = found[i] * 0x2545F4914F6CDD1D
        x += y ^ (y >> 29)
    return x


@jit_masks
def _holds_found(h: int, slot: int, n: int) -> bool:
    row, found = uint32s_at(int64s(h, g.ROWS)[slot]), int32s(h, g.FOUND)
    for i in range(n):  # noqa: SIM110
        if not row[found[i] >> 5] >> (found[i] & 31) & 1:
            return False
    return True


@jit_masks
def _bucket(h: int, base: int, tokens: int, hashed: int) -> int:
    """Where the search for a row begins."""
    x = (hashed ^ base * 0x2545F4914F6CDD1D) + tokens
    return (x ^ (x >> 31)) & (int64s(h, g.ROW_FACTS)[g.BUCKETS] - 1)


@jit_masks_cached
def hash_rows(h: int) -> None:
    """Fills the table of rows anew, after it was replaced by a larger one."""
    entries, table = int64s(h, g.ROW_ENTRIES), int32s(h, g.ROW_TABLE)
    facts = int64s(h, g.ROW_FACTS)
    for slot in range(facts[g.N_KEPT]):
        e = g.ROW_COLUMNS * slot
        at = _bucket(h, entries[e + g.R_BASE], entries[e + g.R_TOKENS], entries[e + g.R_HASH])
        while table[at] >= 0:
            at = (at + 1) & (facts[g.BUCKETS] - 1)
        table[at] = slot


@jit_masks
def row_of(h: int, base: int, address: int, n: int, stops: bool) -> int:
    """The number of the row of a base and the n tokens found; FULL if there is no room for it."""
    facts, entries, table = int64s(h, g.ROW_FACTS), int64s(h, g.ROW_ENTRIES), int32s(h, g.ROW_TABLE)
    tokens, hashed = n << 1 | stops, _hash_found(h, n)
    at = _bucket(h, base, tokens, hashed)
    while table[at] >= 0:
        e = g.ROW_COLUMNS * table[at]
        if (
            entries[e + g.R_HASH] == hashed
            and entries[e + g.R_BASE] == base
            and entries[e + g.R_TOKENS] == tokens
            and _holds_found(h, table[at], n)
        ):
            return int(table[at])
        at = (at + 1) & (facts[g.BUCKETS] - 1)
    slot = facts[g.N_KEPT]
    if slot == facts[g.ROOM]:
        return g.FULL
    e = g.ROW_COLUMNS * slot
    entries[e + g.R_BASE], entries[e + g.R_TOKENS], entries[e + g.R_HASH] = base, tokens, hashed
    table[at], facts[g.N_KEPT] = slot, slot + 1
    _write(h, int64s(h, g.ROWS)[slot], address, n, stops)
    return int(slot)


@jit_masks
def _write(h: int, to: int, address: int, n: int, stops: bool) -> None:
    """The base, the tokens found, those spelled like others, and those that end the text."""
    row, facts = uint32s_at(to), int64s(h, g.FACTS)
    if address:
        base = uint32s_at(address)
        for i in range(facts[g.N_WORDS]):
            row[i] = base[i]
    else:
        for i in range(facts[g.N_WORDS]):
            row[i] = 0
    set_found(h, row, n)
    twins, ends = int32s(h, g.TWINS), int32s(h, g.STOPS)
    for i in range(facts[g.N_TWINS]):
        token, twin = twins[2 * i], twins[2 * i + 1]
        if row[token >> 5] >> (token & 31) & 1:
            row[twin >> 5] |= 1 << (twin & 31)
    for i in range(facts[g.N_STOPS] if stops else 0):
        row[ends[i] >> 5] |= 1 << (ends[i] & 31)
