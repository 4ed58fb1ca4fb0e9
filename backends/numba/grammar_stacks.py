"""Stacks that last: after a token, the temporary frames that are left get numbers of their own."""

from backends.numba import grammar_layout as g
from backends.numba.compile import jit_masks, jit_masks_cached
from backends.numba.grammar_arrays import int32s, int64s, uint8s
from backends.numba.grammar_frames import copy_bits, new_node
from backends.numba.grammar_steps import step


@jit_masks
def mix(a: int, b: int) -> int:
    x = (a ^ b) * 0x2545F4914F6CDD1D
    return x ^ (x >> 29)


@jit_masks
def mix_frame(h: int, x: int, sp: int) -> int:
    bits = int64s(h, g.BITS)
    x = mix(x, int64s(h, g.TAG)[sp])
    for i in range(g.SET_WORDS):
        x = mix(x, bits[g.SET_WORDS * sp + i])
    return x


@jit_masks
def same_frame(h: int, a: int, b: int) -> bool:
    tags, bits = int64s(h, g.TAG), int64s(h, g.BITS)
    if tags[a] != tags[b]:
        return False
    for i in range(g.SET_WORDS):  # noqa: SIM110
        if bits[g.SET_WORDS * a + i] != bits[g.SET_WORDS * b + i]:
            return False
    return True


@jit_masks
def _keep(h: int, sp: int) -> int:
    """The lasting node that equals a temporary one; those below it first."""
    scratch, parent = int64s(h, g.FACTS)[g.SCRATCH], int32s(h, g.PARENT)
    below, temporary = sp, 0
    while below >= scratch:
        below, temporary = int(parent[below]), temporary + 1
    for n in range(temporary - 1, -1, -1):
        node = sp
        for _ in range(n):
            node = int(parent[node])
        below = _lasting(h, node, below)
    return below


@jit_masks
def _lasting(h: int, node: int, below: int) -> int:
    facts, parent = int64s(h, g.FACTS), int32s(h, g.PARENT)
    table, mask = int32s(h, g.NODE_TABLE), facts[g.NODE_BUCKETS] - 1
    at = mix_frame(h, below, node) & mask
    while table[at] >= 0:
        other = int(table[at])
        if parent[other] == below and same_frame(h, other, node):
            return other
        at = (at + 1) & mask
    n = facts[g.N_NODES]
    facts[g.N_NODES] = n + 1
    table[at] = n
    new_node(h, n, below, int64s(h, g.TAG)[node])
    copy_bits(h, n, int64s(h, g.BITS), g.SET_WORDS * node)
    return n


@jit_masks_cached
def hash_nodes(h: int) -> None:
    """Fills the table of nodes anew, after it was replaced by a larger one."""
    facts, parent, table = int64s(h, g.FACTS), int32s(h, g.PARENT), int32s(h, g.NODE_TABLE)
    for n in range(1, facts[g.N_NODES]):
        at = mix_frame(h, parent[n], n) & (facts[g.NODE_BUCKETS] - 1)
        while table[at] >= 0:
            at = (at + 1) & (facts[g.NODE_BUCKETS] - 1)
        table[at] = n


@jit_masks_cached
def advance(h: int, q: int, c: int, sp: int, token: int) -> tuple[int, int, int]:
    """The state after a token; q is DEAD, MISSING (ask Python and repeat) or RECORDED."""
    facts, starts, text = int64s(h, g.FACTS), int32s(h, g.STARTS), uint8s(h, g.BYTES)
    facts[g.N_NEEDS] = facts[g.RECORDING] = 0
    top = facts[g.SCRATCH]
    for i in range(starts[token], starts[token + 1]):
        q, c, sp, top = step(h, q, c, sp, top, text[i])
        if q < 0:
            q = g.RECORDED if facts[g.RECORDING] else g.MISSING if facts[g.N_NEEDS] else g.DEAD
            return q, 0, 0
    return q, c, _keep(h, sp)
