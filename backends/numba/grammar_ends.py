"""The end of a value, in compiled code: what the frame on top makes of its result."""

from typing import Any

from numba import njit

from backends.numba.grammar_arrays import int32s, int64s
from backends.numba.grammar_frames import changed, look, need, state
from backends.numba.grammar_layout import (
    A_CAP,
    ALIEN,
    ARRAY,
    ARRAY_AFTER,
    ARRAY_COLUMNS,
    ARRAYS,
    BITS,
    BOTTOM,
    DEAD,
    END,
    FACTS,
    FOREIGN,
    GROUP,
    GROUP_NEVER,
    M_FIRST,
    MEANING,
    MEMBER,
    MEMBER_COLUMNS,
    MEMBERS,
    N_RESULT_IDS,
    NEED_NEXT,
    NEED_RESULT,
    NEED_RESUME,
    NEXT_COLUMNS,
    NEXTS,
    OBJECT,
    OBJECT_AFTER,
    PARENT,
    RESULT_IDS,
    RESULTS,
    RESUMED,
    SET_WORDS,
    UNKNOWN,
    X_BITS,
    X_GROUP,
    X_NEXT,
)

_jit: Any = njit(cache=True)


@_jit
def meaning(h: int, local: int) -> int:
    """The state for a local state of the machine."""
    known = int64s(h, MEANING)[local]
    return known if known >= 0 else state(FOREIGN, 0, local)


@_jit
def resume(h: int, sp: int, frame: int, result: int) -> tuple[int, int]:
    """Where the machine goes on after a pop; `result` is its number there."""
    after = int32s(h, RESUMED)[frame * int64s(h, FACTS)[RESULTS] + result]
    if after < 0:
        if after == UNKNOWN:
            need(h, NEED_RESUME, frame, result)
        return DEAD, sp
    return meaning(h, after), int32s(h, PARENT)[sp]


@_jit
def _machine_result(h: int, result: int) -> int:
    """The machine's number for a result; DEAD until Python was asked."""
    ids = int32s(h, RESULT_IDS)
    for i in range(int64s(h, FACTS)[N_RESULT_IDS]):
        if ids[2 * i] == result:
            return int(ids[2 * i + 1])
    need(h, NEED_RESULT, result, 0)
    return DEAD


@_jit
def group_after(h: int, member: int, result: int) -> int:
    """The alternatives of an object that go on after a member; DEAD until Python was asked."""
    nexts = int32s(h, NEXTS)
    at = int(int32s(h, MEMBERS)[MEMBER_COLUMNS * member + M_FIRST])
    while at >= 0:
        if nexts[NEXT_COLUMNS * at + X_BITS] == result:
            return int(nexts[NEXT_COLUMNS * at + X_GROUP])
        at = int(nexts[NEXT_COLUMNS * at + X_NEXT])
    need(h, NEED_NEXT, member, result)
    return DEAD


@_jit
def _after_member(h: int, sp: int, top: int, member: int, result: int) -> tuple[int, int, int]:
    group = group_after(h, member, result)
    if group < 0:
        return DEAD, sp, top
    changed(h, sp, top, GROUP << 32 | group)
    bits, never = int64s(h, BITS), int64s(h, GROUP_NEVER)
    for i in range(SET_WORDS):
        bits[SET_WORDS * top + i] = bits[SET_WORDS * top + i] | never[SET_WORDS * group + i]
    return state(OBJECT_AFTER, 0, 0), top, top + 1


@_jit
def done(h: int, sp: int, top: int, result: int) -> tuple[int, int, int]:
    """After a value: what the frame on top makes of it."""
    tag = look(h, sp)
    kind, id = tag >> 32, tag & 0xFFFFFFFF
    if kind == OBJECT:
        return state(OBJECT_AFTER, 0, 0), sp, top
    if kind == BOTTOM:
        return state(END, 0, 0), sp, top
    if kind == MEMBER:
        return _after_member(h, sp, top, id, result)
    if kind == ALIEN:
        number = _machine_result(h, result)
        if number < 0:
            return DEAD, sp, top
        q, sp = resume(h, sp, id, number)
        return q, sp, top
    index = int64s(h, BITS)[SET_WORDS * sp] + 1
    if kind == ARRAY and index <= int32s(h, ARRAYS)[ARRAY_COLUMNS * id + A_CAP]:
        changed(h, sp, top, tag)
        int64s(h, BITS)[SET_WORDS * top] = index
        return state(ARRAY_AFTER, 0, 0), top, top + 1
    return state(ARRAY_AFTER, 0, 0), sp, top
