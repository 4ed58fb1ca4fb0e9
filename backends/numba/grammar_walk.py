"""The tokens that can be read from a state: one descent of a trie, in compiled code.

The children of a trie's node stand side by side, so those whose byte cannot stand here are passed
over at a nanosecond each: `_first_bytes` gives the bytes that a state may take as 256 bits (too
many do no harm, `step` has the last word).
"""

from typing import Any

from backends.numba import grammar_layout as g
from backends.numba.compile import jit_masks, jit_masks_inlined
from backends.numba.grammar_arrays import int32s, int64s, uint8s
from backends.numba.grammar_frames import look
from backends.numba.grammar_steps import step
from backends.numba.grammar_strings import unnamed

_WHITE = 1 << 0x20 | 1 << 0x0A | 1 << 0x0D | 1 << 0x09
_QUOTE, _COMMA, _COLON = 1 << 0x22, 1 << 0x2C, 1 << 0x3A
_BACKSLASH, _BRACKET, _BRACE = 1 << (0x5C - 64), 1 << (0x5D - 64), 1 << (0x7D - 64)
_NUMBER = 0x3FF << 0x30 | 1 << 0x2B | 1 << 0x2D | 1 << 0x2E
_EXPONENT = 1 << (0x65 - 64) | 1 << (0x45 - 64)
_FEW = 6  # with fewer children than these, each is simply tried


@jit_masks
def _children_first(h: int, node: int, path: Any, at: int) -> None:
    """The first bytes of the characters that lead down a trie of words."""
    trie = int32s(h, g.TRIE)
    y, end = node + 1, trie[g.TRIE_COLUMNS * node + g.T_SKIP]
    while y < end:
        point = trie[g.TRIE_COLUMNS * y + g.T_POINT]
        byte = point
        if point >= 0x80:
            byte = 0xC0 | point >> 6 if point < 0x800 else 0xE0 | point >> 12
            byte = byte if point < 0x10000 else 0xF0 | point >> 18
        path[at + (byte >> 6)] |= 1 << (byte & 63)
        y = trie[g.TRIE_COLUMNS * y + g.T_SKIP]
    if trie[g.TRIE_COLUMNS * node + g.T_NAME] >= 0:
        path[at] |= _QUOTE
    path[at + 1] |= _BACKSLASH


@jit_masks
def _copy_first(h: int, place: int, id: int, path: Any, at: int) -> None:
    first = int64s(h, place)
    for j in range(4):
        path[at + j] = first[4 * id + j]


@jit_masks
def _first_bytes(h: int, q: int, sp: int, path: Any, at: int) -> None:
    """Sets path[at : at + 4] to the bytes that may come next, and perhaps others."""
    kind, part, id = q >> 48, q >> 32 & 0xFFFF, q & 0xFFFFFFFF
    path[at] = path[at + 1] = path[at + 2] = path[at + 3] = 0
    if kind == g.VALUE and int32s(h, g.FAMILIES)[g.FAMILY_COLUMNS * id + g.F_READY]:
        _copy_first(h, g.FIRST, id, path, at)
    elif not part and (
        kind == g.CHOICE or (kind == g.KEY and id != g.OTHER and not unnamed(h, look(h, sp)))
    ):
        _children_first(h, id, path, at)
    elif kind == g.TEXT and not part and int32s(h, g.TEXTS)[g.TEXT_COLUMNS * id + g.X_OFFSET] >= 0:
        _copy_first(h, g.TEXT_FIRST, id, path, at)
    elif kind == g.PATTERN_KEY and not part:
        _copy_first(h, g.KEY_FIRST, id, path, at)
    elif g.OBJECT_FIRST <= kind <= g.ARRAY_AFTER and kind != g.ARRAY_AFTER - 1:
        path[at], path[at + 1] = _WHITE | _QUOTE | _COMMA, _BRACE | _BRACKET
    elif kind == g.NUMBER:
        path[at], path[at + 1] = _WHITE | _COMMA | _NUMBER, _BRACE | _BRACKET | _EXPONENT
    elif kind == g.COLON:
        path[at] = _WHITE | _COLON
    elif kind == g.WORD:
        byte = uint8s(h, g.WORDS)[id]
        path[at + (byte >> 6)] = 1 << (byte & 63)
    elif kind == g.FOREIGN:
        table = int32s(h, g.TABLE)
        for b in range(256):
            if table[256 * id + b] != g.DEAD:
                path[at + (b >> 6)] |= 1 << (b & 63)
    elif kind != g.END:
        path[at] = path[at + 1] = path[at + 2] = path[at + 3] = -1


@jit_masks
def _enter(h: int, nodes: Any, node: int, path: Any, p: int) -> None:
    """Prepares a level of the path: the children of a node, and which of them to look at."""
    n = g.NODE_COLUMNS * node
    path[p + g.P_AT], path[p + g.P_END] = (
        nodes[n + g.V_FIRST],
        nodes[n + g.V_FIRST] + nodes[n + g.V_COUNT],
    )
    if nodes[n + g.V_COUNT] > _FEW:
        _first_bytes(h, path[p + g.P_Q], path[p + g.P_SP], path, p + g.P_FIRST)
    else:
        for j in range(4):
            path[p + g.P_FIRST + j] = -1


@jit_masks_inlined
def _next_child(nodes: Any, path: Any, p: int) -> int:
    """The next child on a level whose byte may stand here, or DEAD."""
    node, end, first = path[p + g.P_AT], path[p + g.P_END], p + g.P_FIRST
    while node < end:
        byte = nodes[g.NODE_COLUMNS * node + g.V_BYTE]
        node += 1
        if path[first + (byte >> 6)] >> (byte & 63) & 1:
            path[p + g.P_AT] = node
            return int(node - 1)
    return g.DEAD


@jit_masks
def walk(h: int, q: int, c: int, sp: int, place: int) -> int:
    """Lists the tokens of a trie that can be read, in FOUND; how many there are."""
    path, nodes, found, n_found = int64s(h, g.PATH), int32s(h, place), int32s(h, g.FOUND), 0
    path[g.P_Q], path[g.P_C], path[g.P_SP], path[g.P_TOP] = q, c, sp, int64s(h, g.FACTS)[g.SCRATCH]
    p = 0
    _enter(h, nodes, 0, path, p)
    while p >= 0:
        node = _next_child(nodes, path, p)
        if node < 0:
            p -= g.PATH_COLUMNS
            continue
        n = g.NODE_COLUMNS * node
        q, c, sp, top = path[p + g.P_Q], path[p + g.P_C], path[p + g.P_SP], path[p + g.P_TOP]
        q, c, sp, top = step(h, q, c, sp, top, nodes[n + g.V_BYTE])
        if q < 0:
            continue
        token = nodes[n + g.V_TOKEN]
        if token >= 0:
            found[n_found] = token
            n_found += 1
        if nodes[n + g.V_COUNT]:
            p += g.PATH_COLUMNS
            path[p + g.P_Q], path[p + g.P_C], path[p + g.P_SP], path[p + g.P_TOP] = q, c, sp, top
            _enter(h, nodes, node, path, p)
    return n_found
