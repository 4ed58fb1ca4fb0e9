"""Arrays and objects that are half written: the shape they must have, and what is used up of it."""

from typing import NamedTuple

from refimpl.grammar.constants import But
from refimpl.grammar.members import Exists
from refimpl.grammar.shapes import ArrayShape, ObjectShape

Counts = tuple[int, ...]


class OpenArray(NamedTuple):
    """After some items: how many, and how many of those each `contains` has counted.

    `values` are the items so far, if it matters which are equal.  `but` is the rest of those arrays
    that are equal so far, and that this one must not be; the shape itself says nothing of them.
    """

    shape: ArrayShape
    length: int
    counts: Counts
    values: But = ()
    but: But = ()


class OpenObject(NamedTuple):
    """After some members: the keys that can no longer come, the number of members, and what must
    still be among them.  `but` as of arrays.
    """

    shape: ObjectShape
    gone: frozenset[str]
    n_members: int
    pending: tuple[Exists, ...]
    but: But = ()
