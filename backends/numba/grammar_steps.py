"""One byte of a JSON document, in compiled code: states are numbers, objects are sets of bits.

The machine of `refimpl.grammar` makes a new state for every new set of keys, and asks Python what
its bytes do.  Here the common states need no asking.  What a schema says is in small tables
(`grammar_tables`); what a document has done so far is data: the keys seen are bits in the object's
frame, the number of items is in the array's frame, the length of a string is a counter.  Tables
that would be large (automata, the alternatives of an object) grow as documents visit them: where an
entry is missing, the byte is dead and the need is noted.  A state that the tables do not describe
is the machine's own, FOREIGN, with its rows.  The masks equal those of the machine in every bit.
"""

from backends.numba import grammar_layout as g
from backends.numba.compile import jit_masks, jit_masks_inlined
from backends.numba.grammar_arrays import int32s, int64s, uint8s
from backends.numba.grammar_ends import done, meaning, resume
from backends.numba.grammar_frames import (
    any_left,
    copy_bits,
    look,
    need,
    new_node,
    note_bits,
    state,
)
from backends.numba.grammar_strings import choice, key, pattern_key, string, text, unnamed
from backends.numba.grammar_unique import is_unique_here, unique

# --- the beginning of a value


@jit_masks_inlined
def _begin(h: int, family: int, byte: int, sp: int, top: int) -> tuple[int, int, int, int, int]:
    """After the first byte of a value: (q, c, sp, top, whether the byte is still to be read)."""
    f, i = int32s(h, g.FAMILIES), g.FAMILY_COLUMNS * family
    if not f[i + g.F_READY]:
        need(h, g.NEED_FAMILY, family, 0)
        return g.DEAD, 0, sp, top, 0
    if byte == 0x22:  # a quote
        kind, c = f[i + g.F_STRING], 0
        if kind == g.CHOICE:
            c = f[i + g.F_STRING_RESULT] << 32
        if kind == g.STRING and is_unique_here(h, sp):
            return state(g.UNIQUE, 0, 0), 0, sp, top, 0
        return (g.DEAD if kind < 0 else state(kind, 0, f[i + g.F_STRING_ID])), c, sp, top, 0
    if byte == 0x7B:  # {
        q, sp, top = _open_object(h, f[i + g.F_OBJECT], f[i + g.F_OBJECT_ID], sp, top)
        return q, 0, sp, top, 0
    if byte == 0x5B:  # [
        q, sp, top = _open_array(h, f[i + g.F_ARRAY], f[i + g.F_ARRAY_ID], sp, top)
        return q, 0, sp, top, 0
    if byte == 0x6E and f[i + g.F_NULL]:
        return state(g.WORD, 0, 0), f[i + g.F_NULL], sp, top, 0
    if byte == 0x74 and f[i + g.F_TRUE]:
        return state(g.WORD, 0, 4), f[i + g.F_TRUE], sp, top, 0
    if byte == 0x66 and f[i + g.F_FALSE]:
        return state(g.WORD, 0, 8), f[i + g.F_FALSE], sp, top, 0
    if f[i + g.F_NUMBER] >= 0 and number_column(byte) < g.N_DONE:
        return state(g.NUMBER, 0, f[i + g.F_NUMBER]), 0, sp, top, 1
    return g.DEAD, 0, sp, top, 0


@jit_masks
def _open_object(h: int, kind: int, id: int, sp: int, top: int) -> tuple[int, int, int]:
    if kind == g.ALIEN:
        return state(g.FOREIGN, 0, id), sp, top
    if kind < 0:
        return g.DEAD, sp, top
    new_node(h, top, sp, kind << 32 | id)
    if kind == g.OBJECT:
        copy_bits(h, top, int64s(h, g.KEYS), 2 * g.SET_WORDS * id + g.SET_WORDS)
    else:
        copy_bits(h, top, int64s(h, g.GROUP_NEVER), g.SET_WORDS * id)
    return state(g.OBJECT_FIRST, 0, 0), top, top + 1


@jit_masks
def _open_array(h: int, kind: int, id: int, sp: int, top: int) -> tuple[int, int, int]:
    if kind == g.ALIEN:
        return state(g.FOREIGN, 0, id), sp, top
    if kind < 0:
        return g.DEAD, sp, top
    _plain_node(h, top, sp, g.ARRAY << 32 | id)
    return state(g.ARRAY_FIRST, 0, 0), top, top + 1


@jit_masks
def _plain_node(h: int, node: int, parent: int, tag: int) -> None:
    new_node(h, node, parent, tag)
    bits = int64s(h, g.BITS)
    for j in range(g.SET_WORDS):
        bits[g.SET_WORDS * node + j] = 0


@jit_masks
def number_column(byte: int) -> int:
    if 0x30 <= byte <= 0x39:
        return byte - 0x30
    if byte == 0x2E:
        return 10
    if byte == 0x65 or byte == 0x45:
        return 11 if byte == 0x65 else 12
    if byte == 0x2B or byte == 0x2D:
        return 13 if byte == 0x2B else 14
    return g.N_DONE


# --- objects and arrays


@jit_masks
def _result_of_object(h: int, sp: int, tag: int) -> int:
    """What an object that closes here satisfies; 0 if it cannot close."""
    id, bits = tag & 0xFFFFFFFF, int64s(h, g.BITS)
    note_bits(h, sp)
    if tag >> 32 == g.OBJECT:
        required = int64s(h, g.KEYS)
        for j in range(g.SET_WORDS):
            if required[2 * g.SET_WORDS * id + j] & ~bits[g.SET_WORDS * sp + j]:
                return 0
        return int(int32s(h, g.OBJECTS)[g.OBJECT_COLUMNS * id + g.O_RESULT])
    groups, threads, result = int32s(h, g.GROUPS), int64s(h, g.THREADS), 0
    i = g.GROUP_COLUMNS * id
    for t in range(groups[i + g.G_THREADS], groups[i + g.G_THREADS_END]):
        missing = 0
        for j in range(g.SET_WORDS):
            missing |= threads[g.THREAD_COLUMNS * t + j] & ~bits[g.SET_WORDS * sp + j]
        if not missing:
            result |= threads[g.THREAD_COLUMNS * t + g.H_RESULT]
    return result


@jit_masks
def _any_key(h: int, sp: int, tag: int) -> bool:
    if unnamed(h, tag):
        return True
    id = tag & 0xFFFFFFFF
    if tag >> 32 == g.OBJECT:
        return bool(any_left(h, sp, 0, int32s(h, g.OBJECTS)[g.OBJECT_COLUMNS * id + g.O_NAMES]))
    return bool(any_left(h, sp, 0, int32s(h, g.GROUPS)[g.GROUP_COLUMNS * id + g.G_NAMES]))


@jit_masks
def _open_key(h: int, tag: int) -> int:
    id = tag & 0xFFFFFFFF
    if tag >> 32 == g.OBJECT:
        return state(g.KEY, 0, int32s(h, g.OBJECTS)[g.OBJECT_COLUMNS * id + g.O_TRIE])
    groups, i = int32s(h, g.GROUPS), g.GROUP_COLUMNS * id
    return state(groups[i + g.G_KEYS], 0, groups[i + g.G_START])


@jit_masks_inlined
def _object(h: int, kind: int, sp: int, top: int, byte: int) -> tuple[int, int, int]:
    """Between the members of an object."""
    tag = look(h, sp)
    if byte == 0x7D and kind != g.OBJECT_COMMA:  # }
        result = _result_of_object(h, sp, tag)
        if not result:
            return g.DEAD, sp, top
        return done(h, int32s(h, g.PARENT)[sp], top, result)
    wanted = 0x2C if kind == g.OBJECT_AFTER else 0x22
    if byte != wanted or not _any_key(h, sp, tag):
        return g.DEAD, sp, top
    return (state(g.OBJECT_COMMA, 0, 0) if kind == g.OBJECT_AFTER else _open_key(h, tag)), sp, top


@jit_masks
def _item(h: int, sp: int, id: int) -> int:
    """The family of the next item, or DEAD if there can be none."""
    note_bits(h, sp)
    arrays, i = int32s(h, g.ARRAYS), g.ARRAY_COLUMNS * id
    index = int64s(h, g.BITS)[g.SET_WORDS * sp]
    if arrays[i + g.A_HI] >= 0 and index >= arrays[i + g.A_HI]:
        return g.DEAD
    if index < arrays[i + g.A_PREFIX]:
        return int(int32s(h, g.PREFIXES)[arrays[i + g.A_OFFSET] + index])
    return int(arrays[i + g.A_REST])


@jit_masks_inlined
def _array(h: int, kind: int, sp: int, top: int, byte: int) -> tuple[int, int, int, int]:
    """Between the items of an array."""
    id = look(h, sp) & 0xFFFFFFFF
    if byte == 0x5D:  # ]
        note_bits(h, sp)
        arrays, i = int32s(h, g.ARRAYS), g.ARRAY_COLUMNS * id
        if int64s(h, g.BITS)[g.SET_WORDS * sp] < arrays[i + g.A_LO]:
            return g.DEAD, sp, top, 0
        q, sp, top = done(h, int32s(h, g.PARENT)[sp], top, arrays[i + g.A_RESULT])
        return q, sp, top, 0
    family = _item(h, sp, id)
    if family < 0:
        return g.DEAD, sp, top, 0
    if kind == g.ARRAY_AFTER:
        return (state(g.VALUE, 0, family) if byte == 0x2C else g.DEAD), sp, top, 0
    return state(g.VALUE, 0, family), sp, top, 1


# --- the machine's own states


@jit_masks_inlined
def _foreign(h: int, local: int, sp: int, top: int, byte: int) -> tuple[int, int, int, int]:
    """A state of the machine: its table says what to do."""
    code = int32s(h, g.TABLE)[256 * local + byte]
    if code >= 0:
        return meaning(h, code), sp, top, 0
    if code == g.DEAD or code == g.UNKNOWN:
        if code == g.UNKNOWN:
            need(h, g.NEED_ROW, local, byte)
        return g.DEAD, sp, top, 0
    special, k = int32s(h, g.SPECIALS), 4 * (g.FIRST_SPECIAL - code)
    if special[k] == g.PUSH:
        frame = special[k + 1]
        if uint8s(h, g.RECORDS)[frame]:
            int64s(h, g.FACTS)[g.RECORDING] = 1
            return g.DEAD, sp, top, 0
        _plain_node(h, top, sp, g.ALIEN << 32 | frame)
        return meaning(h, special[k + 2]), top, top + 1, 0
    result, again = special[k + 1], special[k + 2]
    tag = look(h, sp)
    if tag >> 32 == g.ALIEN:
        q, sp = resume(h, sp, tag & 0xFFFFFFFF, result)
        return q, sp, top, again
    q, sp, top = done(h, sp, top, int32s(h, g.RESULT_BITS)[result])
    return q, sp, top, again


# --- any state


@jit_masks_inlined
def _number(h: int, id: int, sp: int, top: int, byte: int) -> tuple[int, int, int, int]:
    column = number_column(byte)
    code = int32s(h, g.NUMBERS)[g.NUMBER_COLUMNS * id + column]
    if column < g.N_DONE:
        if code == g.UNKNOWN:
            need(h, g.NEED_NUMBER, id, 0)
        return (state(g.NUMBER, 0, code) if code >= 0 else g.DEAD), sp, top, 0
    if not code:
        return g.DEAD, sp, top, 0
    q, sp, top = done(h, sp, top, code)
    return q, sp, top, 1


@jit_masks_inlined
def _word(h: int, id: int, c: int, sp: int, top: int, byte: int) -> tuple[int, int, int, int]:
    """Inside null, true or false; c is the result."""
    if byte != uint8s(h, g.WORDS)[id]:
        return g.DEAD, 0, sp, top
    if uint8s(h, g.WORDS)[id + 1]:
        return state(g.WORD, 0, id + 1), c, sp, top
    q, sp, top = done(h, sp, top, c)
    return q, 0, sp, top


@jit_masks_inlined
def step(h: int, q: int, c: int, sp: int, top: int, byte: int) -> tuple[int, int, int, int]:
    """The state after one more byte, q being DEAD if there is none."""
    again = 1
    while again and q >= 0:
        again = 0
        kind, part, id = q >> 48, q >> 32 & 0xFFFF, q & 0xFFFFFFFF
        if kind == g.STRING:
            return string(h, q, c, sp, top, byte)
        if kind == g.KEY:
            return key(h, q, c, sp, top, byte)
        if kind == g.TEXT:
            return text(h, q, c, sp, top, byte)
        if kind == g.CHOICE:
            return choice(h, q, c, sp, top, byte)
        if kind == g.PATTERN_KEY:
            return pattern_key(h, q, c, sp, top, byte)
        if kind == g.UNIQUE:
            return unique(h, q, c, sp, top, byte)
        if kind == g.WORD:
            return _word(h, id, c, sp, top, byte)
        c = 0
        if kind == g.FOREIGN:
            q, sp, top, again = _foreign(h, id, sp, top, byte)
        elif kind == g.NUMBER:
            q, sp, top, again = _number(h, id, sp, top, byte)
        elif kind == g.END:
            return g.DEAD, 0, sp, top
        elif byte == 0x20 or byte == 0x0A or byte == 0x0D or byte == 0x09:
            if part >= int64s(h, g.FACTS)[g.WHITE_SPACE]:
                return g.DEAD, 0, sp, top
            q += 1 << 32
        elif kind == g.VALUE:
            q, c, sp, top, again = _begin(h, id, byte, sp, top)
        elif kind == g.COLON:
            q = state(g.VALUE, 0, id) if byte == 0x3A else g.DEAD
        elif kind == g.ARRAY_FIRST or kind == g.ARRAY_AFTER:
            q, sp, top, again = _array(h, kind, sp, top, byte)
        else:
            q, sp, top = _object(h, kind, sp, top, byte)
    return q, c, sp, top
