"""The walk of a vocabulary over a machine's own tables, in compiled code.

The tables are plain integer arrays, so one loop can walk the trie depth first, pushing and popping
on a small array.  Where an entry is still unknown the loop notes it and goes on.
"""

import numpy as np
from numpy import ndarray

from backends.numba.compile import jit_masks_cached
from backends.numba.grammar_layout import V_BYTE, V_COUNT, V_FIRST, V_TOKEN
from refimpl.grammar.machine import DEAD, END, FIRST_SPECIAL, PUSH, UNKNOWN

MAX_NEEDS = 1024
FITS, RECORDS = 0, 1


@jit_masks_cached
def walk_machine(
    table: ndarray, specials: ndarray, resumed: ndarray, records: ndarray,
    frame: ndarray, above: ndarray, base: int, start: int, nodes: ndarray, mask: ndarray,
    local: ndarray, stack: ndarray, top: ndarray, at: ndarray, needs: ndarray,
) -> tuple[int, int, int]:  # fmt: skip
    """Sets the bits of allowed tokens; returns (status, lowest depth looked at, needs noted)."""
    lowest, n_needs, d = base, 0, 0
    local[0], stack[0], top[0], at[0] = start, base, base + 1, nodes[0, V_FIRST]
    at[1] = at[0] + nodes[0, V_COUNT]  # the end of the children on a level stands behind its `at`
    while d >= 0:
        i = at[2 * d]
        if i == at[2 * d + 1]:
            d -= 1
            continue
        at[2 * d] = i + 1
        b, q, sp, end, dead = nodes[i, V_BYTE], local[d], stack[d], top[d], False
        while True:
            code = table[q, b]
            if code >= 0:
                q = code
                break
            if code in (DEAD, UNKNOWN):
                if code == UNKNOWN and n_needs < MAX_NEEDS:
                    needs[n_needs, 0], needs[n_needs, 1], needs[n_needs, 2] = 0, q, b
                    n_needs += 1
                dead = True
                break
            k = FIRST_SPECIAL - code
            if specials[k, 0] == PUSH:
                f = specials[k, 1]
                if records[f]:
                    return RECORDS, lowest, n_needs
                frame[end], above[end] = f, sp
                sp, q = end, specials[k, 2]
                end += 1
                break
            result, again = specials[k, 1], specials[k, 2]
            if sp <= base:
                lowest = min(lowest, sp - 1)
            if sp == 0:
                dead, q = again == 1, END
                break
            q = resumed[frame[sp], result]
            if q < 0:
                if q == UNKNOWN and n_needs < MAX_NEEDS:
                    needs[n_needs, 0], needs[n_needs, 1], needs[n_needs, 2] = 1, frame[sp], result
                    n_needs += 1
                dead = True
                break
            sp = above[sp]
            if not again:
                break
        if dead:
            continue
        t = nodes[i, V_TOKEN]
        if t >= 0:
            mask[t >> 5] |= np.uint32(1) << np.uint32(t & 31)
        if nodes[i, V_COUNT]:
            d += 1
            local[d], stack[d], top[d], at[2 * d] = q, sp, end, nodes[i, V_FIRST]
            at[2 * d + 1] = nodes[i, V_FIRST] + nodes[i, V_COUNT]
    return FITS, lowest, n_needs
