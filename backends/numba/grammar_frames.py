"""Frames of the compiled grammar: nodes of linked stacks, and what is noted while they are read."""

from typing import Any

from backends.numba import grammar_layout as g
from backends.numba.compile import jit_masks
from backends.numba.grammar_arrays import int32s, int64s


@jit_masks
def state(kind: int, part: int, id: int) -> int:
    return kind << 48 | part << 32 | id


@jit_masks
def look(h: int, sp: int) -> int:
    """The tag of a frame; notes how deep the walk has looked."""
    facts = int64s(h, g.FACTS)
    if sp < facts[g.SCRATCH]:
        depth = int32s(h, g.DEPTH)[sp]
        if depth < facts[g.LOWEST]:
            facts[g.LOWEST] = depth
    return int64s(h, g.TAG)[sp]


@jit_masks
def need(h: int, kind: int, a: int, b: int) -> None:
    """Notes a table entry that Python must fill before the walk can be repeated."""
    facts = int64s(h, g.FACTS)
    n = facts[g.N_NEEDS]
    if n < g.MAX_NEEDS:
        needs = int32s(h, g.NEEDS)
        needs[3 * n], needs[3 * n + 1], needs[3 * n + 2] = kind, a, b
        facts[g.N_NEEDS] = n + 1


@jit_masks
def new_node(h: int, node: int, parent: int, tag: int) -> None:
    int32s(h, g.PARENT)[node] = parent
    int32s(h, g.DEPTH)[node] = int32s(h, g.DEPTH)[parent] + 1
    int64s(h, g.TAG)[node] = tag


@jit_masks
def copy_bits(h: int, node: int, source: Any, at: int) -> None:
    bits = int64s(h, g.BITS)
    for i in range(g.SET_WORDS):
        bits[g.SET_WORDS * node + i] = source[at + i]


@jit_masks
def changed(h: int, sp: int, top: int, tag: int) -> None:
    """A new frame in the place of the one on top, with its bits and another tag."""
    new_node(h, top, int32s(h, g.PARENT)[sp], tag)
    copy_bits(h, top, int64s(h, g.BITS), g.SET_WORDS * sp)


@jit_masks
def set_bit(h: int, node: int, bit: int) -> None:
    bits, i = int64s(h, g.BITS), g.SET_WORDS * node + (bit >> 6)
    bits[i] = bits[i] | (1 << (bit & 63))


@jit_masks
def note_bits(h: int, sp: int) -> None:
    """Notes that the walk depends on what a frame holds, or the one that this is a copy of."""
    facts = int64s(h, g.FACTS)
    above = facts[g.BASE] - int32s(h, g.DEPTH)[sp]
    if above >= 0:
        facts[g.READ] |= 1 << min(above, g.MAX_DEPTHS)


@jit_masks
def any_left(h: int, sp: int, lo: int, hi: int) -> bool:
    """Whether one of the names lo..hi-1 may still be used."""
    note_bits(h, sp)
    bits = int64s(h, g.BITS)
    for i in range(lo, hi):  # noqa: SIM110
        if not (bits[g.SET_WORDS * sp + (i >> 6)] >> (i & 63)) & 1:
            return True
    return False
