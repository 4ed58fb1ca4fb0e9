"""A mask in one compiled call: look it up, or walk the vocabulary's trie and remember it.

A mask looks at the state and at the frames that some token's bytes read, and at nothing else.  So
it is kept under the state and the contents of those frames, as in `refimpl.grammar.masks`.

Slice.  Inside a string nearly every token is allowed, and it is the same set each time: tokens
without a quote, a backslash or a control character.  Where any such characters may follow, that
set is copied, and only the other tokens are walked.
"""

from typing import Any

from numba import njit

from backends.numba.grammar_arrays import int32s, int64s, uint8s, uint32s
from backends.numba.grammar_spelling import DEAD
from backends.numba.grammar_steps import (
    ARRAY_AFTER,
    BITS,
    COLON,
    DEPTH,
    END,
    FACTS,
    FOREIGN,
    KEY,
    LONGEST,
    LOWEST,
    N_DONE,
    N_NEEDS,
    NUMBER,
    NUMBER_COLUMNS,
    NUMBERS,
    OBJECT_COMMA,
    OBJECT_FIRST,
    OTHER,
    PARENT,
    RECORDING,
    S_HI,
    S_LO,
    SCRATCH,
    SET_WORDS,
    STRING,
    STRING_COLUMNS,
    STRINGS,
    TABLE,
    TAG,
    VALUE,
    WORD,
    WORDS,
    _bits,
    _node,
    is_open,
    step,
)

_jit: Any = njit(cache=True)

# More places in the header.
(WHOLE, REST, PLAIN, PATH, MASKS, ENTRIES, TABLE_OF_MASKS, TWINS, STOPS, FINAL, OPEN, TEXT, STARTS,
 TABLE_OF_NODES, TAILS, TAIL_TOKENS, ALIKE) = range(21, 38)  # fmt: skip
PLACES = 38
# More places in FACTS.
(N_NODES, N_MASKS, DEPTHS, N_WHOLE, N_REST, N_WORDS, N_TWINS, N_STOPS, MASK_ROOM,
 MASK_BUCKETS, NODE_BUCKETS, N_TAILS) = range(8, 20)  # fmt: skip
FACTS_SIZE = 20
MISSING, RECORDED, FULL = -2, -3, -4  # what a call may answer instead
E_Q, E_C, E_SP, E_N, ENTRY_COLUMNS = range(5)
MAX_DEPTHS = 16  # frames deeper than this are looked at one state at a time


@_jit
def _mix(a: int, b: int) -> int:
    x = (a ^ b) * 0x2545F4914F6CDD1D
    return x ^ (x >> 29)


@_jit
def _mix_frame(h: int, x: int, sp: int) -> int:
    bits = int64s(h, BITS)
    x = _mix(x, int64s(h, TAG)[sp])
    for i in range(SET_WORDS):
        x = _mix(x, bits[SET_WORDS * sp + i])
    return x


@_jit
def _same_frame(h: int, a: int, b: int) -> bool:
    tags, bits = int64s(h, TAG), int64s(h, BITS)
    if tags[a] != tags[b]:
        return False
    for i in range(SET_WORDS):  # noqa: SIM110
        if bits[SET_WORDS * a + i] != bits[SET_WORDS * b + i]:
            return False
    return True


# --- stacks


@_jit
def _keep(h: int, sp: int) -> int:
    """The lasting node that equals a temporary one; those below it first."""
    scratch, parent = int64s(h, FACTS)[SCRATCH], int32s(h, PARENT)
    below, temporary = sp, 0
    while below >= scratch:
        below, temporary = int(parent[below]), temporary + 1
    for n in range(temporary - 1, -1, -1):
        node = sp
        for _ in range(n):
            node = int(parent[node])
        below = _lasting(h, node, below)
    return below


@_jit
def _lasting(h: int, node: int, below: int) -> int:
    facts, parent = int64s(h, FACTS), int32s(h, PARENT)
    table, mask = int32s(h, TABLE_OF_NODES), facts[NODE_BUCKETS] - 1
    at = _mix_frame(h, below, node) & mask
    while table[at] >= 0:
        other = int(table[at])
        if parent[other] == below and _same_frame(h, other, node):
            return other
        at = (at + 1) & mask
    n = facts[N_NODES]
    facts[N_NODES] = n + 1
    table[at] = n
    _node(h, n, below, int64s(h, TAG)[node])
    _bits(h, n, int64s(h, BITS), SET_WORDS * node)
    return n


@_jit
def advance(h: int, q: int, c: int, sp: int, token: int) -> tuple[int, int, int]:
    """The state after a token; q is DEAD, MISSING (ask Python and repeat) or RECORDED."""
    facts, starts, text = int64s(h, FACTS), int32s(h, STARTS), uint8s(h, TEXT)
    facts[N_NEEDS] = facts[RECORDING] = 0
    top = facts[SCRATCH]
    for i in range(starts[token], starts[token + 1]):
        q, c, sp, top = step(h, q, c, sp, top, text[i])
        if q < 0:
            q = RECORDED if facts[RECORDING] else MISSING if facts[N_NEEDS] else DEAD
            return q, 0, 0
    return q, c, _keep(h, sp)


@_jit
def accepts(h: int, q: int, sp: int) -> bool:
    """Whether the text may end here."""
    kind, id = q >> 48, q & 0xFFFFFFFF
    if kind == NUMBER and sp == 0:
        return int32s(h, NUMBERS)[NUMBER_COLUMNS * id + N_DONE] == 1
    if kind == FOREIGN and sp == 0:
        return uint8s(h, FINAL)[id] == 1
    return kind == END


@_jit
def hash_nodes(h: int) -> None:
    """Fills the table of nodes anew, after it was replaced by a larger one."""
    facts, parent, table = int64s(h, FACTS), int32s(h, PARENT), int32s(h, TABLE_OF_NODES)
    for n in range(1, facts[N_NODES]):
        at = _mix_frame(h, parent[n], n) & (facts[NODE_BUCKETS] - 1)
        while table[at] >= 0:
            at = (at + 1) & (facts[NODE_BUCKETS] - 1)
        table[at] = n


@_jit
def hash_masks(h: int) -> None:
    """The same for masks."""
    entries = int64s(h, ENTRIES)
    for slot in range(int64s(h, FACTS)[N_MASKS]):
        e = ENTRY_COLUMNS * slot
        if entries[e + E_N]:
            _remember(
                h, entries[e + E_Q], entries[e + E_C], entries[e + E_SP], entries[e + E_N], slot
            )


# --- masks


@_jit
def _alike(h: int, q: int, c: int) -> tuple[int, int]:
    """A name for the state, the same for string lengths that no token can tell apart."""
    if q >> 48 != STRING:
        return q, c
    strings, i = int32s(h, STRINGS), STRING_COLUMNS * (q & 0xFFFFFFFF)
    count, reach = c >> 32, int64s(h, FACTS)[LONGEST]
    lo = min(max(strings[i + S_LO] - count, 0), reach + 1)
    hi = strings[i + S_HI] - count if strings[i + S_HI] >= 0 else reach + 1
    return q >> 32 << 32, (lo << 16 | min(hi, reach + 1)) << 32 | (c & 0xFFFFFFFF)


@_jit
def _find(h: int, q: int, c: int, sp: int) -> int:
    """The number of a known mask, or DEAD."""
    facts, parent = int64s(h, FACTS), int32s(h, PARENT)
    entries, table = int64s(h, ENTRIES), int32s(h, TABLE_OF_MASKS)
    mask, x, at = facts[MASK_BUCKETS] - 1, _mix(q, c), sp
    depths = facts[DEPTHS]
    for n in range(1, MAX_DEPTHS + 1):
        if not depths >> n:
            return DEAD
        x = _mix_frame(h, x, at)
        if depths >> n & 1:
            bucket = _mix(x, n) & mask
            while table[bucket] >= 0:
                e = ENTRY_COLUMNS * table[bucket]
                if entries[e + E_Q] == q and entries[e + E_C] == c and entries[e + E_N] == n:
                    a, b, i = sp, entries[e + E_SP], 0
                    while i < n and _same_frame(h, a, b):
                        a, b, i = parent[a], parent[b], i + 1
                    if i == n:
                        return table[bucket]
                bucket = (bucket + 1) & mask
        if at == 0:
            return DEAD
        at = parent[at]
    return DEAD


@_jit
def _remember(h: int, q: int, c: int, sp: int, n: int, slot: int) -> None:
    facts, parent = int64s(h, FACTS), int32s(h, PARENT)
    entries, table = int64s(h, ENTRIES), int32s(h, TABLE_OF_MASKS)
    x, at = _mix(q, c), sp
    for _ in range(n):
        x = _mix_frame(h, x, at)
        at = parent[at]
    mask = facts[MASK_BUCKETS] - 1
    bucket = _mix(x, n) & mask
    while table[bucket] >= 0:
        bucket = (bucket + 1) & mask
    table[bucket] = slot
    e = ENTRY_COLUMNS * slot
    entries[e + E_Q], entries[e + E_C], entries[e + E_SP], entries[e + E_N] = q, c, sp, n
    facts[DEPTHS] |= 1 << n


@_jit
def _cannot_begin(h: int, q: int, byte: int) -> bool:
    """A quick no, where the kind of state says so."""
    kind = q >> 48
    if kind == FOREIGN:
        return int32s(h, TABLE)[256 * (q & 0xFFFFFFFF) + byte] == DEAD
    if OBJECT_FIRST <= kind <= OBJECT_COMMA or kind == COLON or kind == ARRAY_AFTER:  # noqa: SIM109
        return byte > 0x2C and byte != 0x3A and byte != 0x5D and byte != 0x7D
    if kind == WORD:
        return byte != uint8s(h, WORDS)[q & 0xFFFFFFFF]
    return kind == END or (byte >= 0x80 and (kind == VALUE or kind == NUMBER))  # noqa: SIM109


@_jit
def _walk(h: int, q: int, c: int, sp: int, place: int, size: int, row: int) -> None:
    """Sets the bits of the tokens of a trie that can be read."""
    path, nodes, masks = int64s(h, PATH), int32s(h, place), uint32s(h, MASKS)
    path[0], path[1], path[2], path[3] = q, c, sp, int64s(h, FACTS)[SCRATCH]
    i = 0
    first = q
    while i < size:
        byte, depth = nodes[4 * i], nodes[4 * i + 1]
        if not depth and _cannot_begin(h, first, byte):
            i = nodes[4 * i + 2]
            continue
        p = 4 * depth
        q, c, sp, top = step(h, path[p], path[p + 1], path[p + 2], path[p + 3], byte)
        if q < 0:
            i = nodes[4 * i + 2]
            continue
        path[p + 4], path[p + 5], path[p + 6], path[p + 7] = q, c, sp, top
        token = nodes[4 * i + 3]
        if token >= 0:
            masks[row + (token >> 5)] |= 1 << (token & 31)
        i += 1


@_jit
def _walk_tails(h: int, q: int, c: int, sp: int, row: int) -> None:
    """The other tokens, from a state that plain characters do not change.

    What counts of such a token is its tail, from the first byte that is not plain, and many tokens
    have the same.  The trie of tails holds at each node the tokens that end there.
    """
    path, nodes, masks = int64s(h, PATH), int32s(h, TAILS), uint32s(h, MASKS)
    tokens, size = int32s(h, TAIL_TOKENS), int64s(h, FACTS)[N_TAILS]
    path[0], path[1], path[2], path[3] = q, c, sp, int64s(h, FACTS)[SCRATCH]
    i = 0
    while i < size:
        p = 4 * nodes[4 * i + 1]
        q, c, sp, top = step(h, path[p], path[p + 1], path[p + 2], path[p + 3], nodes[4 * i])
        if q < 0:
            i = nodes[4 * i + 2]
            continue
        path[p + 4], path[p + 5], path[p + 6], path[p + 7] = q, c, sp, top
        tail = nodes[4 * i + 3]
        if tail >= 0:
            for j in range(tokens[tail], tokens[tail + 1]):
                token = tokens[j]
                masks[row + (token >> 5)] |= 1 << (token & 31)
        i += 1


@_jit
def _walk_names(h: int, q: int, c: int, sp: int, row: int) -> None:
    """Corrects the tokens that stay on the way to a name; `_walk_tails` took the key for OTHER."""
    path, nodes, masks = int64s(h, PATH), int32s(h, REST), uint32s(h, MASKS)
    size = int64s(h, FACTS)[N_REST]
    path[0], path[1], path[2], path[3] = q, c, sp, int64s(h, FACTS)[SCRATCH]
    i = 0
    while i < size:
        p = 4 * nodes[4 * i + 1]
        q, c, sp, top = step(h, path[p], path[p + 1], path[p + 2], path[p + 3], nodes[4 * i])
        skip, token = nodes[4 * i + 2], nodes[4 * i + 3]
        if q >> 32 == KEY << 16 and q & 0xFFFFFFFF == OTHER:
            i = skip
            continue
        if q < 0:
            for j in range(i, skip):
                token = nodes[4 * j + 3]
                if token >= 0:
                    masks[row + (token >> 5)] &= ~(1 << (token & 31))
            i = skip
            continue
        path[p + 4], path[p + 5], path[p + 6], path[p + 7] = q, c, sp, top
        if token >= 0:
            masks[row + (token >> 5)] |= 1 << (token & 31)
        i += 1


@_jit
def _is_steady(h: int, q: int, c: int) -> bool:
    """Whether plain characters, as many as a token has, lead back to the same masks."""
    if q >> 48 == KEY:
        return True
    i = STRING_COLUMNS * (q & 0xFFFFFFFF)
    return q >> 48 == STRING and c >> 32 >= int32s(h, STRINGS)[i + S_LO]


@_jit
def mask(h: int, q: int, c: int, sp: int) -> int:
    """The number of the state's mask; or MISSING, RECORDED, FULL, and then it must be repeated."""
    facts = int64s(h, FACTS)
    if q >> 48 == FOREIGN:
        q = FOREIGN << 48 | int64s(h, ALIKE)[q & 0xFFFFFFFF]
    name, counts = _alike(h, q, c)
    slot = _find(h, name, counts, sp)
    if slot >= 0:
        return slot
    slot, words = facts[N_MASKS], facts[N_WORDS]
    if slot == facts[MASK_ROOM]:
        return FULL
    base = int32s(h, DEPTH)[sp]
    facts[N_NEEDS], facts[RECORDING], facts[LOWEST] = 0, 0, base
    masks, row = uint32s(h, MASKS), slot * words
    foreign = q >> 48 == FOREIGN and uint8s(h, OPEN)[q & 0xFFFFFFFF]
    if foreign or is_open(h, q, c, sp):
        plain = uint32s(h, PLAIN)
        for i in range(words):
            masks[row + i] = plain[i]
        if not foreign and _is_steady(h, q, c):
            other = KEY << 48 | OTHER if q >> 48 == KEY else q
            _walk_tails(h, other, c, sp, row)
            if other != q:
                _walk_names(h, q, c, sp, row)
        else:
            _walk(h, q, c, sp, REST, facts[N_REST], row)
    else:
        for i in range(words):
            masks[row + i] = 0
        _walk(h, q, c, sp, WHOLE, facts[N_WHOLE], row)
    if facts[RECORDING]:
        return RECORDED
    if facts[N_NEEDS]:
        return MISSING
    twins = int32s(h, TWINS)
    for i in range(facts[N_TWINS]):
        token, twin = twins[2 * i], twins[2 * i + 1]
        if masks[row + (token >> 5)] >> (token & 31) & 1:
            masks[row + (twin >> 5)] |= 1 << (twin & 31)
    if accepts(h, q, sp):
        stops = int32s(h, STOPS)
        for i in range(facts[N_STOPS]):
            masks[row + (stops[i] >> 5)] |= 1 << (stops[i] & 31)
    n = base - facts[LOWEST] + 1
    int64s(h, ENTRIES)[ENTRY_COLUMNS * slot + E_N] = 0
    if n <= MAX_DEPTHS:
        _remember(h, name, counts, sp, n, slot)
    facts[N_MASKS] = slot + 1
    return slot


@_jit
def advance_and_mask(h: int, q: int, c: int, sp: int, token: int) -> tuple[int, int, int, int]:
    """Both in one call: the state after a token, and the number of its mask."""
    q, c, sp = advance(h, q, c, sp, token)
    return q, c, sp, mask(h, q, c, sp) if q >= 0 else q
