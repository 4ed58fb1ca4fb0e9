"""One byte inside a JSON string, in compiled code: values, choices, patterns and keys.

`grammar_spelling` makes characters of bytes.  What a character does is, for an unrestricted string,
to count; for one of a list, to go down a trie of words; for a pattern, a step of an automaton whose
states are rows of tables: 128 entries for ASCII, and pieces (first character, target) beyond.
"""

from typing import Any

from backends.numba import grammar_layout as g
from backends.numba.compile import jit_masks, jit_masks_inlined
from backends.numba.grammar_arrays import int32s
from backends.numba.grammar_ends import done
from backends.numba.grammar_frames import any_left, changed, look, need, set_bit, state
from backends.numba.grammar_spelling import read, span, within


@jit_masks_inlined
def string(h: int, q: int, c: int, sp: int, top: int, byte: int) -> tuple[int, int, int, int]:
    """Any characters, counted."""
    part, id, count = q >> 32 & 0xFFFF, q & 0xFFFFFFFF, c >> 32
    strings, i = int32s(h, g.STRINGS), g.STRING_COLUMNS * id
    lo, hi = strings[i + g.S_LO], strings[i + g.S_HI]
    if byte == 0x22 and not part:
        if count < lo:
            return g.DEAD, 0, sp, top
        q, sp, top = done(h, sp, top, strings[i + g.S_RESULT])
        return q, 0, sp, top
    if hi >= 0 and count >= hi:
        return g.DEAD, 0, sp, top
    part, value = read(part, c & 0xFFFFFFFF, byte)
    if part:
        q = state(g.STRING, part, id) if part > 0 else g.DEAD
        return q, count << 32 | value, sp, top
    count = count + 1 if hi >= 0 else min(count + 1, lo)
    return state(g.STRING, 0, id), count << 32, sp, top


# --- words


@jit_masks
def child(h: int, node: int, point: int) -> int:
    trie = int32s(h, g.TRIE)
    y, end = node + 1, trie[g.TRIE_COLUMNS * node + g.T_SKIP]
    while y < end:
        if trie[g.TRIE_COLUMNS * y + g.T_POINT] == point:
            return y
        y = trie[g.TRIE_COLUMNS * y + g.T_SKIP]
    return g.DEAD


@jit_masks
def _any_child(h: int, node: int, part: int, value: int, sp: int, seen: bool) -> bool:
    """Whether a half-read character can become one that leads on."""
    trie = int32s(h, g.TRIE)
    y, end = node + 1, trie[g.TRIE_COLUMNS * node + g.T_SKIP]
    while y < end:
        t = g.TRIE_COLUMNS * y
        if within(part, value, trie[t + g.T_POINT]) and (
            not seen or any_left(h, sp, trie[t + g.T_LO], trie[t + g.T_HI])
        ):
            return True
        y = trie[t + g.T_SKIP]
    return False


@jit_masks_inlined
def choice(h: int, q: int, c: int, sp: int, top: int, byte: int) -> tuple[int, int, int, int]:
    """Inside a string that is one of a list; c holds the result too."""
    part, node, result = q >> 32 & 0xFFFF, q & 0xFFFFFFFF, c >> 32
    if byte == 0x22 and not part:
        if int32s(h, g.TRIE)[g.TRIE_COLUMNS * node + g.T_NAME] < 0:
            return g.DEAD, 0, sp, top
        q, sp, top = done(h, sp, top, result)
        return q, 0, sp, top
    part, value = read(part, c & 0xFFFFFFFF, byte)
    if part < 0:
        return g.DEAD, 0, sp, top
    if part:
        alive = _any_child(h, node, part, value, sp, False)
        return (state(g.CHOICE, part, node) if alive else g.DEAD), result << 32 | value, sp, top
    node = child(h, node, value)
    return (state(g.CHOICE, 0, node) if node >= 0 else g.DEAD), result << 32, sp, top


# --- automata


@jit_masks
def _piece(pieces: Any, lo: int, hi: int, point: int) -> int:
    """The last of the pieces lo..hi-1 that begins at or before a character."""
    while hi - lo > 1:
        middle = (lo + hi) >> 1
        if pieces[2 * middle] <= point:
            lo = middle
        else:
            hi = middle
    return lo


@jit_masks
def _alive(h: int, target: int, sp: int, keys: bool, allowed: int) -> bool:
    """Whether a target leads on; a key's, whether to a label that may still be used."""
    if target < 0 or not keys:
        return target >= 0
    states, i = int32s(h, g.KEY_STATES), g.KEY_COLUMNS * target
    return (states[i + g.K_REACH] & allowed) != 0 or any_left(
        h, sp, states[i + g.K_LO], states[i + g.K_HI]
    )


@jit_masks
def _some_alive(
    h: int, ascii: Any, pieces: Any, id: int, begin: int, end: int,
    first: int, last: int, sp: int, keys: bool, allowed: int,
) -> bool:  # fmt: skip
    """Whether one of the characters first..last leads on from a state."""
    for x in range(first, min(last, 127) + 1):
        if _alive(h, ascii[128 * id + x], sp, keys, allowed):
            return True
    if last < 128:
        return False
    k = _piece(pieces, begin, end, max(first, 128))
    while k < end and pieces[2 * k] <= last:
        if _alive(h, pieces[2 * k + 1], sp, keys, allowed):
            return True
        k += 1
    return False


@jit_masks
def _part_alive(
    h: int, ascii: Any, pieces: Any, id: int, begin: int, end: int,
    part: int, value: int, sp: int, keys: bool, allowed: int,
) -> bool:  # fmt: skip
    """The same for the characters that a half-read one can become."""
    lo, hi = span(part, value)
    if _some_alive(h, ascii, pieces, id, begin, end, lo, hi, sp, keys, allowed):
        return True
    if part == 7:
        return False
    lo, hi = max(lo, 0xD800), min(hi, 0xDBFF)
    if part < 8 or part > 11 or lo > hi:
        return False
    first, last = 0x10000 + ((lo - 0xD800) << 10), 0x103FF + ((hi - 0xD800) << 10)
    return bool(_some_alive(h, ascii, pieces, id, begin, end, first, last, sp, keys, allowed))


@jit_masks_inlined
def text(h: int, q: int, c: int, sp: int, top: int, byte: int) -> tuple[int, int, int, int]:
    """Inside a string of a language; each state tells which of the family it satisfies."""
    part, id = q >> 32 & 0xFFFF, q & 0xFFFFFFFF
    texts, ascii, pieces = int32s(h, g.TEXTS), int32s(h, g.ASCII), int32s(h, g.PIECES)
    i = g.TEXT_COLUMNS * id
    if byte == 0x22 and not part:
        result = texts[i + g.X_RESULT]
        if not result:
            return g.DEAD, 0, sp, top
        q, sp, top = done(h, sp, top, result)
        return q, 0, sp, top
    part, value = read(part, c, byte)
    if part < 0:
        return g.DEAD, 0, sp, top
    begin, end = texts[i + g.X_OFFSET], texts[i + g.X_END]
    if begin == g.UNKNOWN:
        need(h, g.NEED_TEXT, id, 0)
        return g.DEAD, 0, sp, top
    if part:
        alive = _part_alive(h, ascii, pieces, id, begin, end, part, value, sp, False, 0)
        return (state(g.TEXT, part, id) if alive else g.DEAD), value, sp, top
    if value < 128:
        id = ascii[128 * id + value]
    else:
        id = pieces[2 * _piece(pieces, begin, end, value) + 1]
    return (state(g.TEXT, 0, id) if id >= 0 else g.DEAD), 0, sp, top


# --- keys


@jit_masks
def unnamed(h: int, tag: int) -> int:
    """The labels that a key without a name of its own may have, as bits."""
    id = tag & 0xFFFFFFFF
    if tag >> 32 == g.OBJECT:
        return int(int32s(h, g.OBJECTS)[g.OBJECT_COLUMNS * id + g.O_OTHER] >= 0)
    return int(int32s(h, g.GROUPS)[g.GROUP_COLUMNS * id + g.G_OTHER])


@jit_masks
def _labelled(h: int, sp: int, top: int, group: int, label: int, name: int) -> tuple[int, int, int]:
    """After a key of an object of several shapes."""
    entry = int32s(h, g.LABELS)[int32s(h, g.GROUPS)[g.GROUP_COLUMNS * group + g.G_OFFSET] + label]
    if entry < 0:
        if entry == g.UNKNOWN:
            need(h, g.NEED_MEMBER, group, label)
        return g.DEAD, sp, top
    member = entry >> 1
    changed(h, sp, top, g.MEMBER << 32 | member)
    if entry & 1:
        set_bit(h, top, name)
    return (
        state(g.COLON, 0, int32s(h, g.MEMBERS)[g.MEMBER_COLUMNS * member + g.M_FAMILY]),
        top,
        top + 1,
    )


@jit_masks
def _named(h: int, sp: int, top: int, tag: int, name: int) -> tuple[int, int, int]:
    """After a key that is a name."""
    if not any_left(h, sp, name, name + 1):
        return g.DEAD, sp, top
    id = tag & 0xFFFFFFFF
    if tag >> 32 == g.GROUP:
        return _labelled(h, sp, top, id, name, name)
    changed(h, sp, top, tag)
    set_bit(h, top, name)
    offset = int32s(h, g.OBJECTS)[g.OBJECT_COLUMNS * id + g.O_OFFSET]
    return state(g.COLON, 0, int32s(h, g.NAMES)[offset + name]), top, top + 1


@jit_masks
def _other(h: int, sp: int, top: int, tag: int, label: int) -> tuple[int, int, int]:
    """After a key that is no name."""
    if not (unnamed(h, tag) >> label) & 1:
        return g.DEAD, sp, top
    id = tag & 0xFFFFFFFF
    if tag >> 32 == g.GROUP:
        names = int32s(h, g.GROUPS)[g.GROUP_COLUMNS * id + g.G_NAMES]
        return _labelled(h, sp, top, id, names + label, 0)
    return state(g.COLON, 0, int32s(h, g.OBJECTS)[g.OBJECT_COLUMNS * id + g.O_OTHER]), sp, top


@jit_masks_inlined
def key(h: int, q: int, c: int, sp: int, top: int, byte: int) -> tuple[int, int, int, int]:
    """Inside a key, of which the names are known."""
    part, node = q >> 32 & 0xFFFF, q & 0xFFFFFFFF
    tag, trie = look(h, sp), int32s(h, g.TRIE)
    if byte == 0x22 and not part:
        name = g.DEAD if node == g.OTHER else trie[g.TRIE_COLUMNS * node + g.T_NAME]
        if name < 0:
            q, sp, top = _other(h, sp, top, tag, 0)
        else:
            q, sp, top = _named(h, sp, top, tag, name)
        return q, 0, sp, top
    part, value = read(part, c, byte)
    if part < 0:
        return g.DEAD, 0, sp, top
    others = unnamed(h, tag)
    if part:
        alive = others or _any_child(h, node, part, value, sp, True)
        return (state(g.KEY, part, node) if alive else g.DEAD), value, sp, top
    node = g.DEAD if node == g.OTHER else child(h, node, value)
    if others:
        return state(g.KEY, 0, node if node >= 0 else g.OTHER), 0, sp, top
    if node < 0 or not any_left(
        h, sp, trie[g.TRIE_COLUMNS * node + g.T_LO], trie[g.TRIE_COLUMNS * node + g.T_HI]
    ):
        return g.DEAD, 0, sp, top
    return state(g.KEY, 0, node), 0, sp, top


@jit_masks_inlined
def pattern_key(h: int, q: int, c: int, sp: int, top: int, byte: int) -> tuple[int, int, int, int]:
    """Inside a key, where patterns tell unnamed keys apart."""
    part, id = q >> 32 & 0xFFFF, q & 0xFFFFFFFF
    tag, states, i = look(h, sp), int32s(h, g.KEY_STATES), g.KEY_COLUMNS * id
    if byte == 0x22 and not part:
        name, label = states[i + g.K_NAME], states[i + g.K_LABEL]
        if name >= 0:
            q, sp, top = _named(h, sp, top, tag, name)
        else:
            q, sp, top = _other(h, sp, top, tag, label)
        return q, 0, sp, top
    part, value = read(part, c, byte)
    if part < 0:
        return g.DEAD, 0, sp, top
    ascii, pieces, allowed = int32s(h, g.KEY_ASCII), int32s(h, g.KEY_PIECES), unnamed(h, tag)
    begin, end = states[i + g.K_OFFSET], states[i + g.K_END]
    if part:
        alive = _part_alive(h, ascii, pieces, id, begin, end, part, value, sp, True, allowed)
        return (state(g.PATTERN_KEY, part, id) if alive else g.DEAD), value, sp, top
    if value < 128:
        id = ascii[128 * id + value]
    else:
        id = pieces[2 * _piece(pieces, begin, end, value) + 1]
    alive = _alive(h, id, sp, True, allowed)
    return (state(g.PATTERN_KEY, 0, id) if alive else g.DEAD), 0, sp, top
