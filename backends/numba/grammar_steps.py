"""One byte of a JSON document, in compiled code: states are numbers, objects are sets of bits.

The machine of `refimpl.grammar` makes a new state for every new set of keys, and asks Python what
its bytes do.  Here the common states need no asking.  What a schema says is in small tables
(`grammar_tables`); what a document has done so far is data: the keys seen are bits in the object's
frame, the number of items is in the array's frame, the length of a string is a counter.  A state
that the tables do not describe (a pattern, several shapes at once) is the machine's own, FOREIGN,
with its rows.  The masks equal those of the machine in every bit.

A state is (q, c, sp): q = kind << 48 | part << 32 | id, c = count << 32 | partial character, and sp
the frame on top.  Frames are nodes of linked stacks; nodes from SCRATCH on are temporary.

Glossary: h, the header of all arrays; part, how far into the spelling of a character, or how much
white space was read; OTHER, a key that is none of the names; cp, a code point.
"""

from typing import Any

from numba import njit

from backends.numba.grammar_arrays import int32s, int64s, uint8s
from backends.numba.grammar_spelling import DEAD, read, within

_jit: Any = njit(cache=True)

(END, FOREIGN, VALUE, WORD, STRING, CHOICE, KEY, COLON, NUMBER,
 OBJECT_FIRST, OBJECT_AFTER, OBJECT_COMMA, ARRAY_FIRST, ARRAY_AFTER) = range(14)  # fmt: skip
BOTTOM, OBJECT, ARRAY, ALIEN = range(4)  # what a frame is; ALIEN frames are the machine's
OTHER = 0xFFFFFFFF
SET_WORDS = 4  # an object has up to 64 names for each
UNKNOWN, FIRST_SPECIAL, PUSH = -2, -3, 0
NEED_ROW, NEED_RESUME, NEED_NUMBER = range(3)
MAX_NEEDS = 256
NEW_NODES = 4  # a byte makes at most so many

# Places in the header.
(FAMILIES, STRINGS, ARRAYS, PREFIXES, OBJECTS, KEYS, NAMES, TRIE, NUMBERS, WORDS,
 TABLE, SPECIALS, RESUMED, RECORDS, MEANING,
 PARENT, DEPTH, TAG, BITS, NEEDS, FACTS) = range(21)  # fmt: skip
# Places in FACTS: constants, and what a walk finds out.
(WHITE_SPACE, ONE_RESULT, RESULTS, SCRATCH, LONGEST, N_NEEDS, LOWEST, RECORDING) = range(8)
# Columns.
(F_WORDS, F_NUMBER, F_STRING, F_STRING_ID, F_ARRAY, F_OBJECT, F_FOREIGN) = range(7)
FAMILY_COLUMNS = 8
S_LO, S_HI, STRING_COLUMNS = 0, 1, 2
A_LO, A_HI, A_CAP, A_PREFIX, A_OFFSET, A_REST, ARRAY_COLUMNS = range(7)
O_TRIE, O_NAMES, O_OFFSET, O_OTHER, OBJECT_COLUMNS = range(5)
T_POINT, T_SKIP, T_NAME, T_LO, T_HI, TRIE_COLUMNS = range(6)
NUMBER_COLUMNS, N_DONE = 16, 15


@_jit
def _state(kind: int, part: int, id: int) -> int:
    return kind << 48 | part << 32 | id


@_jit
def _look(h: int, sp: int) -> int:
    """The tag of a frame; notes how deep the walk has looked."""
    facts = int64s(h, FACTS)
    if sp < facts[SCRATCH]:
        depth = int32s(h, DEPTH)[sp]
        if depth < facts[LOWEST]:
            facts[LOWEST] = depth
    return int64s(h, TAG)[sp]


@_jit
def _need(h: int, kind: int, a: int, b: int) -> None:
    """Notes a table entry that Python must fill before the walk can be repeated."""
    facts = int64s(h, FACTS)
    n = facts[N_NEEDS]
    if n < MAX_NEEDS:
        needs = int32s(h, NEEDS)
        needs[3 * n], needs[3 * n + 1], needs[3 * n + 2] = kind, a, b
        facts[N_NEEDS] = n + 1


@_jit
def _node(h: int, node: int, parent: int, tag: int) -> None:
    int32s(h, PARENT)[node] = parent
    int32s(h, DEPTH)[node] = int32s(h, DEPTH)[parent] + 1
    int64s(h, TAG)[node] = tag


@_jit
def _bits(h: int, node: int, source: Any, at: int) -> None:
    bits = int64s(h, BITS)
    for i in range(SET_WORDS):
        bits[SET_WORDS * node + i] = source[at + i]


@_jit
def _any_left(h: int, sp: int, lo: int, hi: int) -> bool:
    """Whether one of the names lo..hi-1 may still be used."""
    bits = int64s(h, BITS)
    for i in range(lo, hi):  # noqa: SIM110
        if not (bits[SET_WORDS * sp + (i >> 6)] >> (i & 63)) & 1:
            return True
    return False


@_jit
def _meaning(h: int, local: int) -> int:
    """The state for a local state of the machine."""
    known = int64s(h, MEANING)[local]
    return known if known >= 0 else _state(FOREIGN, 0, local)


@_jit
def _enter(h: int, family: int) -> int:
    """Before a value of a family."""
    foreign = int32s(h, FAMILIES)[FAMILY_COLUMNS * family + F_FOREIGN]
    return _state(FOREIGN, 0, foreign) if foreign >= 0 else _state(VALUE, 0, family)


@_jit
def _resume(h: int, sp: int, frame: int, result: int) -> tuple[int, int]:
    after = int32s(h, RESUMED)[frame * int64s(h, FACTS)[RESULTS] + result]
    if after < 0:
        if after == UNKNOWN:
            _need(h, NEED_RESUME, frame, result)
        return DEAD, sp
    return _meaning(h, after), int32s(h, PARENT)[sp]


@_jit
def _done(h: int, sp: int, top: int) -> tuple[int, int, int]:
    """After a value: what the frame on top makes of it."""
    tag = _look(h, sp)
    kind, id = tag >> 32, tag & 0xFFFFFFFF
    if kind == OBJECT:
        return _state(OBJECT_AFTER, 0, 0), sp, top
    if kind == BOTTOM:
        return _state(END, 0, 0), sp, top
    if kind == ALIEN:
        q, sp = _resume(h, sp, id, int64s(h, FACTS)[ONE_RESULT])
        return q, sp, top
    index = int64s(h, BITS)[SET_WORDS * sp] + 1
    if index <= int32s(h, ARRAYS)[ARRAY_COLUMNS * id + A_CAP]:
        _node(h, top, int32s(h, PARENT)[sp], tag)
        _bits(h, top, int64s(h, BITS), SET_WORDS * sp)
        int64s(h, BITS)[SET_WORDS * top] = index
        return _state(ARRAY_AFTER, 0, 0), top, top + 1
    return _state(ARRAY_AFTER, 0, 0), sp, top


@_jit
def _item(h: int, sp: int, id: int) -> int:
    """The family of the next item, or DEAD if there can be none."""
    arrays, i = int32s(h, ARRAYS), ARRAY_COLUMNS * id
    index = int64s(h, BITS)[SET_WORDS * sp]
    if arrays[i + A_HI] >= 0 and index >= arrays[i + A_HI]:
        return DEAD
    if index < arrays[i + A_PREFIX]:
        return int32s(h, PREFIXES)[arrays[i + A_OFFSET] + index]
    return arrays[i + A_REST]


@_jit
def _begin(h: int, family: int, byte: int, sp: int, top: int) -> tuple[int, int, int, int]:
    """After the first byte of a value: (q, sp, top, whether the byte is still to be read)."""
    f, i = int32s(h, FAMILIES), FAMILY_COLUMNS * family
    if byte == 0x22:  # a quote
        kind, id = f[i + F_STRING], f[i + F_STRING_ID]
        return (DEAD if kind < 0 else _state(kind, 0, id)), sp, top, 0
    if byte == 0x7B:  # {
        id = f[i + F_OBJECT]
        if id < 0:
            return DEAD, sp, top, 0
        _node(h, top, sp, OBJECT << 32 | id)
        _bits(h, top, int64s(h, KEYS), 2 * SET_WORDS * id + SET_WORDS)
        return _state(OBJECT_FIRST, 0, 0), top, top + 1, 0
    if byte == 0x5B:  # [
        id = f[i + F_ARRAY]
        if id < 0:
            return DEAD, sp, top, 0
        _node(h, top, sp, ARRAY << 32 | id)
        for j in range(SET_WORDS):
            int64s(h, BITS)[SET_WORDS * top + j] = 0
        return _state(ARRAY_FIRST, 0, 0), top, top + 1, 0
    words = f[i + F_WORDS]
    if byte == 0x6E and words & 1:
        return _state(WORD, 0, 0), sp, top, 0
    if byte == 0x74 and words & 2:
        return _state(WORD, 0, 4), sp, top, 0
    if byte == 0x66 and words & 4:
        return _state(WORD, 0, 8), sp, top, 0
    if f[i + F_NUMBER] >= 0 and number_column(byte) < N_DONE:
        return _state(NUMBER, 0, f[i + F_NUMBER]), sp, top, 1
    return DEAD, sp, top, 0


@_jit
def number_column(byte: int) -> int:
    if 0x30 <= byte <= 0x39:
        return byte - 0x30
    if byte == 0x2E:
        return 10
    if byte == 0x65 or byte == 0x45:
        return 11 if byte == 0x65 else 12
    if byte == 0x2B or byte == 0x2D:
        return 13 if byte == 0x2B else 14
    return N_DONE


@_jit
def _child(h: int, node: int, point: int) -> int:
    trie = int32s(h, TRIE)
    y, end = node + 1, trie[TRIE_COLUMNS * node + T_SKIP]
    while y < end:
        if trie[TRIE_COLUMNS * y + T_POINT] == point:
            return y
        y = trie[TRIE_COLUMNS * y + T_SKIP]
    return DEAD


@_jit
def _any_child(h: int, node: int, part: int, value: int, sp: int, seen: bool) -> bool:
    """Whether a half-read character can become one that leads on."""
    trie = int32s(h, TRIE)
    y, end = node + 1, trie[TRIE_COLUMNS * node + T_SKIP]
    while y < end:
        t = TRIE_COLUMNS * y
        if within(part, value, trie[t + T_POINT]) and (
            not seen or _any_left(h, sp, trie[t + T_LO], trie[t + T_HI])
        ):
            return True
        y = trie[t + T_SKIP]
    return False


@_jit
def is_open(h: int, q: int, c: int, sp: int) -> bool:
    """Whether any characters but quote, backslash and controls may follow, as far as tokens go."""
    kind, part, id = q >> 48, q >> 32 & 0xFFFF, q & 0xFFFFFFFF
    if part:
        return False
    if kind == STRING:
        hi = int32s(h, STRINGS)[STRING_COLUMNS * id + S_HI]
        return hi < 0 or hi - (c >> 32) > int64s(h, FACTS)[LONGEST]
    if kind == KEY:
        object = int64s(h, TAG)[sp] & 0xFFFFFFFF
        return int32s(h, OBJECTS)[OBJECT_COLUMNS * object + O_OTHER] >= 0
    return False


@_jit
def _string(h: int, q: int, c: int, sp: int, top: int, byte: int) -> tuple[int, int, int, int]:
    part, id, count = q >> 32 & 0xFFFF, q & 0xFFFFFFFF, c >> 32
    strings = int32s(h, STRINGS)
    lo, hi = strings[STRING_COLUMNS * id + S_LO], strings[STRING_COLUMNS * id + S_HI]
    if byte == 0x22 and not part:
        if count < lo:
            return DEAD, 0, sp, top
        q, sp, top = _done(h, sp, top)
        return q, 0, sp, top
    if hi >= 0 and count >= hi:
        return DEAD, 0, sp, top
    part, value = read(part, c & 0xFFFFFFFF, byte)
    if part:
        q = _state(STRING, part, id) if part > 0 else DEAD
        return q, count << 32 | value, sp, top
    count = count + 1 if hi >= 0 else min(count + 1, lo)
    return _state(STRING, 0, id), count << 32, sp, top


@_jit
def _choice(h: int, q: int, c: int, sp: int, top: int, byte: int) -> tuple[int, int, int, int]:
    """Inside a string that is one of a list."""
    part, node = q >> 32 & 0xFFFF, q & 0xFFFFFFFF
    if byte == 0x22 and not part:
        if int32s(h, TRIE)[TRIE_COLUMNS * node + T_NAME] < 0:
            return DEAD, 0, sp, top
        q, sp, top = _done(h, sp, top)
        return q, 0, sp, top
    part, value = read(part, c, byte)
    if part < 0:
        return DEAD, 0, sp, top
    if part:
        alive = _any_child(h, node, part, value, sp, False)
        return (_state(CHOICE, part, node) if alive else DEAD), value, sp, top
    node = _child(h, node, value)
    return (_state(CHOICE, 0, node) if node >= 0 else DEAD), 0, sp, top


@_jit
def _key(h: int, q: int, c: int, sp: int, top: int, byte: int) -> tuple[int, int, int, int]:
    part, node = q >> 32 & 0xFFFF, q & 0xFFFFFFFF
    object = _look(h, sp) & 0xFFFFFFFF
    other = int32s(h, OBJECTS)[OBJECT_COLUMNS * object + O_OTHER]
    trie = int32s(h, TRIE)
    if byte == 0x22 and not part:
        name = DEAD if node == OTHER else trie[TRIE_COLUMNS * node + T_NAME]
        if name < 0:
            return (_state(COLON, 0, other) if other >= 0 else DEAD), 0, sp, top
        if not _any_left(h, sp, name, name + 1):
            return DEAD, 0, sp, top
        _node(h, top, int32s(h, PARENT)[sp], OBJECT << 32 | object)
        bits = int64s(h, BITS)
        _bits(h, top, bits, SET_WORDS * sp)
        one = int64s(h, BITS)[SET_WORDS * top + (name >> 6)]
        bits[SET_WORDS * top + (name >> 6)] = one | (1 << (name & 63))
        offset = int32s(h, OBJECTS)[OBJECT_COLUMNS * object + O_OFFSET]
        return _state(COLON, 0, int32s(h, NAMES)[offset + name]), 0, top, top + 1
    part, value = read(part, c, byte)
    if part < 0:
        return DEAD, 0, sp, top
    if part:
        alive = other >= 0 or _any_child(h, node, part, value, sp, True)
        return (_state(KEY, part, node) if alive else DEAD), value, sp, top
    node = DEAD if node == OTHER else _child(h, node, value)
    if other >= 0:
        return _state(KEY, 0, node if node >= 0 else OTHER), 0, sp, top
    if node < 0 or not _any_left(
        h, sp, trie[TRIE_COLUMNS * node + T_LO], trie[TRIE_COLUMNS * node + T_HI]
    ):
        return DEAD, 0, sp, top
    return _state(KEY, 0, node), 0, sp, top


@_jit
def _object(h: int, kind: int, sp: int, top: int, byte: int) -> tuple[int, int, int]:
    """Between the members of an object."""
    object = _look(h, sp) & 0xFFFFFFFF
    o, i = int32s(h, OBJECTS), OBJECT_COLUMNS * object
    if byte == 0x7D and kind != OBJECT_COMMA:  # }
        required, bits = int64s(h, KEYS), int64s(h, BITS)
        for j in range(SET_WORDS):
            if required[2 * SET_WORDS * object + j] & ~bits[SET_WORDS * sp + j]:
                return DEAD, sp, top
        return _done(h, int32s(h, PARENT)[sp], top)
    wanted = 0x2C if kind == OBJECT_AFTER else 0x22
    if byte != wanted or not (o[i + O_OTHER] >= 0 or _any_left(h, sp, 0, o[i + O_NAMES])):
        return DEAD, sp, top
    q = _state(OBJECT_COMMA, 0, 0) if kind == OBJECT_AFTER else _state(KEY, 0, o[i + O_TRIE])
    return q, sp, top


@_jit
def _array(h: int, kind: int, sp: int, top: int, byte: int) -> tuple[int, int, int, int]:
    """Between the items of an array."""
    id = _look(h, sp) & 0xFFFFFFFF
    if byte == 0x5D:  # ]
        index = int64s(h, BITS)[SET_WORDS * sp]
        if index < int32s(h, ARRAYS)[ARRAY_COLUMNS * id + A_LO]:
            return DEAD, sp, top, 0
        q, sp, top = _done(h, int32s(h, PARENT)[sp], top)
        return q, sp, top, 0
    family = _item(h, sp, id)
    if family < 0:
        return DEAD, sp, top, 0
    if kind == ARRAY_AFTER:
        return (_enter(h, family) if byte == 0x2C else DEAD), sp, top, 0
    return _enter(h, family), sp, top, 1


@_jit
def _foreign(h: int, local: int, sp: int, top: int, byte: int) -> tuple[int, int, int, int]:
    """A state of the machine: its table says what to do."""
    code = int32s(h, TABLE)[256 * local + byte]
    if code >= 0:
        return _meaning(h, code), sp, top, 0
    if code == DEAD or code == UNKNOWN:  # noqa: SIM109
        if code == UNKNOWN:
            _need(h, NEED_ROW, local, byte)
        return DEAD, sp, top, 0
    special, k = int32s(h, SPECIALS), 4 * (FIRST_SPECIAL - code)
    if special[k] == PUSH:
        frame = special[k + 1]
        if uint8s(h, RECORDS)[frame]:
            int64s(h, FACTS)[RECORDING] = 1
            return DEAD, sp, top, 0
        _node(h, top, sp, ALIEN << 32 | frame)
        for j in range(SET_WORDS):
            int64s(h, BITS)[SET_WORDS * top + j] = 0
        return _meaning(h, special[k + 2]), top, top + 1, 0
    result, again = special[k + 1], special[k + 2]
    tag = _look(h, sp)
    if tag >> 32 == ALIEN:
        q, sp = _resume(h, sp, tag & 0xFFFFFFFF, result)
        return q, sp, top, again
    q, sp, top = _done(h, sp, top)
    return q, sp, top, again


@_jit
def step(h: int, q: int, c: int, sp: int, top: int, byte: int) -> tuple[int, int, int, int]:
    """The state after one more byte, q being DEAD if there is none."""
    again = 1
    while again and q >= 0:
        again = 0
        kind, part, id = q >> 48, q >> 32 & 0xFFFF, q & 0xFFFFFFFF
        if kind == STRING:
            return _string(h, q, c, sp, top, byte)
        if kind == KEY:
            return _key(h, q, c, sp, top, byte)
        if kind == CHOICE:
            return _choice(h, q, c, sp, top, byte)
        if kind == FOREIGN:
            q, sp, top, again = _foreign(h, id, sp, top, byte)
        elif kind == NUMBER:
            column, numbers = number_column(byte), int32s(h, NUMBERS)
            code = numbers[NUMBER_COLUMNS * id + column]
            if column == N_DONE:
                if code == 0:
                    return DEAD, 0, sp, top
                q, sp, top = _done(h, sp, top)
                again = 1
            else:
                if code == UNKNOWN:
                    _need(h, NEED_NUMBER, id, 0)
                q = _state(NUMBER, 0, code) if code >= 0 else DEAD
        elif kind == WORD:
            if byte != uint8s(h, WORDS)[id]:
                return DEAD, 0, sp, top
            if uint8s(h, WORDS)[id + 1]:
                q = _state(WORD, 0, id + 1)
            else:
                q, sp, top = _done(h, sp, top)
        elif kind == END:
            return DEAD, 0, sp, top
        elif byte == 0x20 or byte == 0x0A or byte == 0x0D or byte == 0x09:
            if part >= int64s(h, FACTS)[WHITE_SPACE]:
                return DEAD, 0, sp, top
            q += 1 << 32
        elif kind == VALUE:
            q, sp, top, again = _begin(h, id, byte, sp, top)
        elif kind == COLON:
            q = _enter(h, id) if byte == 0x3A else DEAD
        elif kind == ARRAY_FIRST or kind == ARRAY_AFTER:  # noqa: SIM109
            q, sp, top, again = _array(h, kind, sp, top, byte)
        else:
            q, sp, top = _object(h, kind, sp, top, byte)
    return q, 0, sp, top
