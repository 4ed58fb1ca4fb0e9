"""A mask in one compiled call: look it up, or walk the vocabulary's tries and remember it.

Inside a string a token without a quote stays inside, whatever the document around it: that part of
the mask depends on the string's state alone.  It is kept once for all constraints of a vocabulary,
and only the few tokens that hold a quote are walked each time.
"""

from backends.numba import grammar_layout as g
from backends.numba.compile import jit_masks, jit_masks_cached, jit_masks_pasted
from backends.numba.grammar_arrays import int32s, int64s, uint8s, uint32s, uint32s_at
from backends.numba.grammar_frames import look, note_bits
from backends.numba.grammar_known import alike, find, put, shape_of
from backends.numba.grammar_rows import row_of, set_found
from backends.numba.grammar_stacks import advance, mix
from backends.numba.grammar_strings import unnamed
from backends.numba.grammar_unique import drop_pairs
from backends.numba.grammar_walk import walk

STAY = -1


@jit_masks_cached
def accepts(h: int, q: int, sp: int) -> bool:
    """Whether the text may end here."""
    kind, id = q >> 48, q & 0xFFFFFFFF
    if kind == g.NUMBER and sp == 0:
        return int32s(h, g.NUMBERS)[g.NUMBER_COLUMNS * id + g.N_DONE] > 0
    if kind == g.FOREIGN and sp == 0:
        return uint8s(h, g.FINAL)[id] == 1
    return kind == g.END


# --- the part of a string's mask that stays inside


@jit_masks
def _inside_name(h: int, q: int, c: int, sp: int) -> tuple[int, int]:
    """What the tokens without a quote depend on; (DEAD, 0) if there is no such short name."""
    kind = q >> 48
    if q >> 32 & 0xFFFF:
        return g.DEAD, 0
    room, id = int64s(h, g.FACTS)[g.LONGEST] + 1, q & 0xFFFFFFFF
    if kind == g.TEXT:
        free = int32s(h, g.TEXTS)[g.TEXT_COLUMNS * id + g.X_STAYS]
        return (g.STRING, room) if free else (q, 0)
    if kind == g.PATTERN_KEY:
        return (g.STRING, room) if _is_any_key(h, id, sp) else _pattern_key_name(h, q, sp)
    if kind == g.STRING:
        hi = int32s(h, g.STRINGS)[g.STRING_COLUMNS * id + g.S_HI]
        return g.STRING, room if hi < 0 else min(hi - (c >> 32), room)
    if kind == g.UNIQUE:
        return g.STRING, room
    if kind == g.FOREIGN and uint8s(h, g.OPEN)[id]:
        return g.FOREIGN, 0
    if kind == g.KEY and unnamed(h, look(h, sp)):
        return g.STRING, room
    return g.DEAD, 0


@jit_masks
def _is_any_key(h: int, id: int, sp: int) -> bool:
    """Whether every character may follow: it changes nothing, or no key at all is a dead end."""
    states, i, allowed = int32s(h, g.KEY_STATES), g.KEY_COLUMNS * id, unnamed(h, look(h, sp))
    if states[i + g.K_STAYS]:
        return True
    begin = states[i + g.K_BEGIN]
    for state in range(begin, begin + states[i + g.K_COUNT]):
        if not states[g.KEY_COLUMNS * state + g.K_REACH] & allowed:
            return False
    return True


@jit_masks
def _pattern_key_name(h: int, q: int, sp: int) -> tuple[int, int]:
    """The same for a key with patterns, as long as no name it can become was used before."""
    tag, states, i = look(h, sp), int32s(h, g.KEY_STATES), g.KEY_COLUMNS * (q & 0xFFFFFFFF)
    bits = int64s(h, g.BITS)
    note_bits(h, sp)
    for name in range(states[i + g.K_LO], states[i + g.K_HI]):
        if bits[g.SET_WORDS * sp + (name >> 6)] >> (name & 63) & 1:
            return g.DEAD, 0
    return q, int64s(h, g.FACTS)[g.SERIAL] << 32 | unnamed(h, tag)


@jit_masks
def _inside_bucket(h: int, q: int, c: int) -> int:
    """Where a name stands in the table, or would stand."""
    entries, table = int64s(h, g.INSIDE_ENTRIES), int32s(h, g.INSIDE_TABLE)
    mask = int64s(h, g.INSIDE_FACTS)[g.BUCKETS] - 1
    bucket = mix(q, c) & mask
    while table[bucket] >= 0:
        e = 2 * table[bucket]
        if entries[e] == q and entries[e + 1] == c:
            break
        bucket = (bucket + 1) & mask
    return int(bucket)


@jit_masks_cached
def hash_inside(h: int) -> None:
    entries, table = int64s(h, g.INSIDE_ENTRIES), int32s(h, g.INSIDE_TABLE)
    for slot in range(int64s(h, g.INSIDE_FACTS)[g.N_KEPT]):
        table[_inside_bucket(h, entries[2 * slot], entries[2 * slot + 1])] = slot


@jit_masks_pasted
def _inside(h: int, name: int, count: int, q: int, c: int, sp: int) -> int:
    """The number of the inner part; MISSING or FULL if it must be asked for again."""
    bucket, table = _inside_bucket(h, name, count), int32s(h, g.INSIDE_TABLE)
    if table[bucket] >= 0:
        return int(table[bucket])
    facts, entries = int64s(h, g.INSIDE_FACTS), int64s(h, g.INSIDE_ENTRIES)
    slot, n = facts[g.N_KEPT], 0
    if slot == facts[g.ROOM]:
        return g.FULL
    row = uint32s_at(int64s(h, g.INSIDE_ROWS)[slot])
    words = int64s(h, g.FACTS)[g.N_WORDS]
    if name == g.STRING:  # how many characters a token has is known; escapes are tried
        within = uint32s(h, g.WITHIN)
        for i in range(words):
            row[i] = within[words * count + i]
        n = walk(h, q, c, sp, g.ESCAPED)
    elif name == g.FOREIGN:
        plain = uint32s(h, g.PLAIN)
        for i in range(words):
            row[i] = plain[i]
    else:
        for i in range(words):
            row[i] = 0
        n = walk(h, q, c, sp, g.BODY)
    if int64s(h, g.FACTS)[g.N_NEEDS]:
        return g.MISSING
    set_found(h, row, n)
    entries[2 * slot], entries[2 * slot + 1] = name, count
    table[bucket], facts[g.N_KEPT] = slot, slot + 1
    return int(slot)


# --- a mask


@jit_masks_pasted
def _make(h: int, q: int, c: int, sp: int) -> int:
    """The number of the row of the tokens that can be read, or why there is none yet."""
    facts, base, address = int64s(h, g.FACTS), 0, 0
    name, count = _inside_name(h, q, c, sp)
    if name < 0:
        n = walk(h, q, c, sp, g.WHOLE)
    else:
        slot = _inside(h, name, count, q, c, sp)
        if slot < 0:
            return slot
        base = int64s(h, g.INSIDE_FACTS)[g.BEFORE] + slot
        address = int64s(h, g.INSIDE_ROWS)[slot]
        n = walk(h, q, c, sp, g.REST if name == g.FOREIGN else g.QUOTED)
    if facts[g.RECORDING]:
        return g.RECORDED
    return g.MISSING if facts[g.N_NEEDS] else row_of(h, base, address, n, accepts(h, q, sp))


@jit_masks_pasted
def _mask(h: int, q: int, c: int, sp: int) -> int:
    """The number of the state's mask; or MISSING, RECORDED, FULL, and then it must be repeated."""
    facts, entries = int64s(h, g.FACTS), int64s(h, g.ENTRIES)
    if q >> 48 == g.FOREIGN:
        q = g.FOREIGN << 48 | int64s(h, g.ALIKE)[q & 0xFFFFFFFF]
    name, counts = alike(h, q, c, sp)
    row = find(h, name, counts, sp)
    if row >= 0:
        return row
    entry = facts[g.N_MASKS]
    if entry == facts[g.MASK_ROOM]:
        return g.FULL
    base = int32s(h, g.DEPTH)[sp]
    facts[g.N_NEEDS], facts[g.RECORDING] = 0, 0
    facts[g.BASE], facts[g.LOWEST], facts[g.READ] = base, base, 0
    pairs = facts[g.N_PAIRS]
    row = _make(h, q, c, sp)
    drop_pairs(h, pairs)
    n = base - facts[g.LOWEST] + 1
    if row >= 0 and n <= g.MAX_DEPTHS:
        e = g.ENTRY_COLUMNS * entry
        entries[e + g.E_Q], entries[e + g.E_C], entries[e + g.E_SP] = name, counts, sp
        entries[e + g.E_SHAPE], entries[e + g.E_ROW] = shape_of(h, name >> 48, n), row
        put(h, entry)
        facts[g.N_MASKS] = entry + 1
    return row


@jit_masks_cached
def advance_and_mask(h: int, q: int, c: int, sp: int, token: int) -> tuple[int, int, int, int]:
    """Both in one call: the state after a token, or the same state for `STAY`, and its mask."""
    if token != STAY:
        q, c, sp = advance(h, q, c, sp, token)
    return q, c, sp, _mask(h, q, c, sp) if q >= 0 else q
