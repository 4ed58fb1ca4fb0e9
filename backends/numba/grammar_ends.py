"""The end of a value, in compiled code: what the frame on top makes of its result."""

from backends.numba import grammar_layout as g
from backends.numba.compile import jit_masks
from backends.numba.grammar_arrays import int32s, int64s
from backends.numba.grammar_frames import changed, look, need, note_bits, state


@jit_masks
def meaning(h: int, local: int) -> int:
    """The state for a local state of the machine."""
    known = int64s(h, g.MEANING)[local]
    return known if known >= 0 else state(g.FOREIGN, 0, local)


@jit_masks
def resume(h: int, sp: int, frame: int, result: int) -> tuple[int, int]:
    """Where the machine goes on after a pop; `result` is its number there."""
    after = int32s(h, g.RESUMED)[frame * int64s(h, g.FACTS)[g.RESULTS] + result]
    if after < 0:
        if after == g.UNKNOWN:
            need(h, g.NEED_RESUME, frame, result)
        return g.DEAD, sp
    return meaning(h, after), int32s(h, g.PARENT)[sp]


@jit_masks
def _machine_result(h: int, result: int) -> int:
    """The machine's number for a result; DEAD until Python was asked."""
    ids = int32s(h, g.RESULT_IDS)
    for i in range(int64s(h, g.FACTS)[g.N_RESULT_IDS]):
        if ids[2 * i] == result:
            return int(ids[2 * i + 1])
    need(h, g.NEED_RESULT, result, 0)
    return g.DEAD


@jit_masks
def group_after(h: int, member: int, result: int) -> int:
    """The alternatives of an object that go on after a member; DEAD until Python was asked."""
    nexts = int32s(h, g.NEXTS)
    at = int(int32s(h, g.MEMBERS)[g.MEMBER_COLUMNS * member + g.M_FIRST])
    while at >= 0:
        if nexts[g.NEXT_COLUMNS * at + g.X_BITS] == result:
            return int(nexts[g.NEXT_COLUMNS * at + g.X_GROUP])
        at = int(nexts[g.NEXT_COLUMNS * at + g.X_NEXT])
    need(h, g.NEED_NEXT, member, result)
    return g.DEAD


@jit_masks
def _after_member(h: int, sp: int, top: int, member: int, result: int) -> tuple[int, int, int]:
    group = group_after(h, member, result)
    if group < 0:
        return g.DEAD, sp, top
    changed(h, sp, top, g.GROUP << 32 | group)
    bits, never = int64s(h, g.BITS), int64s(h, g.GROUP_NEVER)
    for i in range(g.SET_WORDS):
        bits[g.SET_WORDS * top + i] = bits[g.SET_WORDS * top + i] | never[g.SET_WORDS * group + i]
    return state(g.OBJECT_AFTER, 0, 0), top, top + 1


@jit_masks
def done(h: int, sp: int, top: int, result: int) -> tuple[int, int, int]:
    """After a value: what the frame on top makes of it."""
    tag = look(h, sp)
    kind, id = tag >> 32, tag & 0xFFFFFFFF
    if kind == g.OBJECT:
        return state(g.OBJECT_AFTER, 0, 0), sp, top
    if kind == g.BOTTOM:
        return state(g.END, 0, 0), sp, top
    if kind == g.MEMBER:
        return _after_member(h, sp, top, id, result)
    if kind == g.ALIEN:
        number = _machine_result(h, result)
        if number < 0:
            return g.DEAD, sp, top
        q, sp = resume(h, sp, id, number)
        return q, sp, top
    note_bits(h, sp)
    index = int64s(h, g.BITS)[g.SET_WORDS * sp] + 1
    if kind == g.ARRAY and index <= int32s(h, g.ARRAYS)[g.ARRAY_COLUMNS * id + g.A_CAP]:
        changed(h, sp, top, tag)
        int64s(h, g.BITS)[g.SET_WORDS * top] = index
        return state(g.ARRAY_AFTER, 0, 0), top, top + 1
    return state(g.ARRAY_AFTER, 0, 0), sp, top
