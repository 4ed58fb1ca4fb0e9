"""Ways home that hold whatever was read: for states that remember texts of the document.

What must differ from what came before (an item under `uniqueItems`, a key where members are
counted) makes every text a state of its own, and a search from each of them would be a search for
each token.  But a later part asks only one thing of the text: not to be the same value.  So the
shortest end is searched once for a state that has forgotten the text (`unread`).  Forgetting only
allows more, so no text has a shorter end; and it is the end of every text that is none of the
values that this end goes on to write, and no array or object that it had to differ from (`Home`).

Two things are forgotten: the text that is being recorded, and, between two items, those before.
Where two items must be equal, forgetting would allow less: there the items before are kept, and an
end that needs none to be equal to the text that was forgotten is right, if not always the shortest.

>>> sorted(later(',"a", 2],true]', of_key=False)), sorted(later(': 1,"b":{}}]', of_key=True))
(['"a"', '2'], ['"b"'])
"""

import json
from dataclasses import dataclass, replace

from refimpl.grammar.constants import But, holds
from refimpl.grammar.json_states import Array, ArrayThread, ItemFrame, KeyFrame, MemberFrame
from refimpl.grammar.json_values import canonical, read
from refimpl.grammar.machine import Machine, State

Frame = KeyFrame | MemberFrame | ItemFrame
_SKIP = json.JSONDecoder(parse_int=str, parse_float=str).raw_decode  # of any length


@dataclass(frozen=True, kw_only=True)
class Home:
    """A rest, and what must differ from what it writes.

    `items` are the later items of the array that the state stands in.  `parts` are of recorded
    texts: where one begins in the text, how many bytes of the rest belong to it, the values that
    come after it in the same array or object, and the arrays and objects that it must not be.
    """

    rest: bytes
    items: frozenset[str] = frozenset()
    parts: tuple[tuple[int, int, frozenset[str], But], ...] = ()

    def holds(self, machine: Machine, state: State) -> bool:
        if state.text is None:
            before = items_before(machine, state)
            return not any(holds(before, item) for item in self.items)
        return all(
            (text := canonical(read(state.text[offset:] + self.rest[:n]))) not in values
            and not holds(but, text)
            for offset, n, values, but in self.parts
        )


def unread(machine: Machine, state: State) -> State | None:
    """The state that stands for this one with something forgotten; None if nothing can be."""
    if state.text is not None:
        return State(state.local, state.stack)
    if not items_before(machine, state):
        return None
    local = machine.locals[state.local]
    threads = dict.fromkeys(map(_forgetful, local.threads))
    return State(machine.local(replace(local, threads=tuple(threads))), state.stack)


def items_before(machine: Machine, state: State) -> But:
    """What the next item of the array we are in must differ from."""
    local = machine.locals[state.local]
    arrays = (t.array for t in local.threads) if isinstance(local, Array) else ()
    return tuple(part for a in arrays if a.shape.unique for part in a.values)


def _forgetful(t: ArrayThread) -> ArrayThread:
    return replace(t, array=t.array._replace(values=())) if t.array.shape.unique else t


def home(machine: Machine, state: State, rest: bytes) -> Home:
    """Of an end that was found for `unread(state)`."""
    if state.text is None:
        return Home(rest=rest, items=later(rest.decode(), of_key=False))
    parts = (_part(state.text[offset:] + rest, len(rest), offset, frame)
             for offset, frame in _recorded(machine, state.stack))  # fmt: skip
    return Home(rest=rest, parts=tuple(p for p in parts if p[2] or p[3]))


def _part(
    text: bytes, n_rest: int, offset: int, frame: Frame
) -> tuple[int, int, frozenset[str], But]:
    whole = text.decode().lstrip()
    _, end = _SKIP(whole)
    after, but = whole[end:], () if isinstance(frame, KeyFrame) else frame.but
    if isinstance(frame, MemberFrame):
        values: frozenset[str] = frozenset()
    else:
        values = later(after, of_key=isinstance(frame, KeyFrame))
    return offset, n_rest - len(after.encode()), values, but


def _recorded(machine: Machine, stack: int) -> list[tuple[int, Frame]]:
    """Where the known texts begin, from the innermost, and the frames that wait for them."""
    out: list[tuple[int, Frame]] = []
    while machine.records[stack] and not (out and out[-1][0] == 0):
        if (offset := machine.offset[stack]) >= 0:
            out.append((offset, machine.frames[machine.frame_of[stack]]))
        stack = machine.parent[stack]
    return out


def later(text: str, *, of_key: bool) -> frozenset[str]:
    """The values that follow in the same array, or the keys that follow in the same object."""
    found, at = [], _behind(text, 0) if of_key else _blank(text, 0)
    while text[at : at + 1] == ",":
        begin = _blank(text, at + 1)
        _, at = _SKIP(text, begin)
        found.append(canonical(read(text[begin:at])))
        at = _behind(text, at) if of_key else _blank(text, at)
    return frozenset(found)


def _behind(text: str, at: int) -> int:
    """Behind the member's value, from behind its key."""
    _, at = _SKIP(text, _blank(text, _blank(text, at) + 1))
    return _blank(text, at)


def _blank(text: str, at: int) -> int:
    """Behind white space."""
    while at < len(text) and text[at] in " \t\n\r":
        at += 1
    return at
