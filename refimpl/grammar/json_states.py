"""The local states and frames of the JSON grammar: where in a document we are, and for what.

Glossary: a thread is one alternative inside an object or array: (i, shape, what it has used up),
where i is the place of its expression in the family.  `ws` counts white space read so far.
"""

from dataclasses import dataclass
from typing import NamedTuple

from refimpl.errors import InputError
from refimpl.grammar.constants import But
from refimpl.grammar.keys import Allowed, KeyAutomaton, KeyState
from refimpl.grammar.literal import Position
from refimpl.grammar.members import Exists
from refimpl.grammar.number_sets import NumberSet
from refimpl.grammar.regex import Node
from refimpl.grammar.shapes import Expr, ObjectShape
from refimpl.grammar.unfinished import OpenArray

Family = tuple[Expr, ...]
Result = tuple[int, ...]
TextThread = tuple[int, Node, int, int | None]
TextRow = tuple[tuple[int, "tuple[TextThread, ...]"], ...]
WHITE = b" \t\n\r"
VALUE_STARTS = b'"[{ntf-0123456789'
NUMBER_BYTES = b"0123456789.eE+-"


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How a document is written.

    `white_space`: how many blanks, tabs and line ends may stand together between two tokens.
    `in_order`: keys that stand under `properties` anywhere in the schema come in the order of their
    first mention, and others only when none that is required is missing.
    `escapes`: a character may be spelled as an escape even if it need not be.  Without them there
    is one way to write a key, which jump-forward then need not ask for.
    """

    white_space: int = 16
    in_order: bool = False
    escapes: bool = True


@dataclass(frozen=True)
class ArrayThread:
    i: int
    array: OpenArray


class ObjectThread(NamedTuple):
    i: int
    shape: ObjectShape
    pending: tuple[Exists, ...]
    but: But = ()  # as of arrays


@dataclass(frozen=True)
class Value:
    """Before a value."""

    family: Family
    ws: int


@dataclass(frozen=True)
class Word:
    """Inside null, true or false."""

    rest: bytes
    result: Result


@dataclass(frozen=True)
class Number:
    threads: tuple[tuple[int, NumberSet], ...]
    text: str


@dataclass(frozen=True)
class Text:
    """Inside a string value."""

    threads: tuple[TextThread, ...]
    position: Position


@dataclass(frozen=True)
class Key:
    """Inside an object key, of which only labels in `allowed` may come out."""

    automaton: KeyAutomaton
    allowed: Allowed
    state: KeyState
    position: Position


@dataclass(frozen=True)
class Array:
    """After `[` (first) or after an item."""

    threads: tuple[ArrayThread, ...]
    first: bool
    ws: int


@dataclass(frozen=True)
class Object:
    """After `{` (first), after a comma (comma) or after a member (neither)."""

    threads: tuple[ObjectThread, ...]
    seen: frozenset[str]
    count: int
    first: bool
    comma: bool
    ws: int


@dataclass(frozen=True)
class Colon:
    """Between a key and its value: `nexts[j]` are the threads to keep if `family[j]` holds."""

    family: Family
    frame: "MemberFrame"
    ws: int


@dataclass(frozen=True)
class KeyFrame:
    threads: tuple[ObjectThread, ...]
    seen: frozenset[str]
    count: int
    record: bool


@dataclass(frozen=True)
class MemberFrame:
    nexts: tuple[tuple[ObjectThread, ...], ...]
    seen: frozenset[str]
    count: int
    key: str = ""
    record: bool = False  # the value, since some thread must not be a certain object
    but: But = ()  # the arrays and objects that the value must not be


@dataclass(frozen=True)
class ItemFrame:
    nexts: tuple[tuple[ArrayThread, ...], ...]
    record: bool
    but: But = ()  # as of members


class UnsatisfiableError(InputError):
    """The schema contradicts itself."""


Local = Value | Word | Number | Text | Key | Array | Object | Colon
