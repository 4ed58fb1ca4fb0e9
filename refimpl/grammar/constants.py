"""Constants that a value must differ from, and which of them are left while it is written.

To differ from an object of m members is to differ in one of them or to have others: m + 1
alternatives, and for a hundred such objects a hundred times more *each*.  So constants are not
calculated with.  They stay a set beside the shape (`but`), which is asked as the value is written:
behind the member "a": 1 only those are left that have this member, less it.  The value may end if
the empty one is not left.  For arrays likewise, item by item.

A set is a few parts, like the digits of a binary counter: a new constant is put together with the
parts that are no longer than it has become.  So old sets stay as they are, share nearly all of
their memory with new ones, and a part is sorted by its members once (`after`).

>>> sets = ConstantSets()
>>> but = sets.plus(sets.plus(sets.plus((), {"a": 1}), {"a": 1, "b": 2}), {"a": 3})
>>> [list(part.values) for part in but]
[['{"a":1}', '{"a":1,"b":2}'], ['{"a":3}']]
>>> sets.left(but, "a", "1")
({'{}', '{"b":2}'},)
"""

from collections.abc import Iterable
from functools import cached_property
from typing import Any

from refimpl.grammar.json_values import canonical, kind_of

But = tuple["Constants", ...]


class Constants:
    """Some constants by canonical text; made by `ConstantSets`, so equal ones are the same."""

    def __init__(self, values: dict[str, Any]):
        self.values = values
        self.after: dict[str | None, dict[str, Constants]] = {}
        self.by_kind: dict[str, Constants] = {}

    def __repr__(self) -> str:
        return "{" + ", ".join(map(repr, self.values)) + "}"

    @cached_property
    def names(self) -> frozenset[str]:
        """The keys of those that are objects."""
        return frozenset(k for v in self.values.values() if isinstance(v, dict) for k in v)


class ConstantSets:
    """Interns sets of constants; `value` knows the value of every text."""

    def __init__(self) -> None:
        self.value: dict[str, Any] = {}
        self._table: dict[frozenset[str], Constants] = {}

    def text(self, value: Any) -> str:
        """The canonical text of a value."""
        text = canonical(value)
        self.value.setdefault(text, value)
        return text

    def part(self, values: dict[str, Any]) -> Constants:
        key = frozenset(values)
        if key not in self._table:
            self._table[key] = Constants(values)
        return self._table[key]

    def of(self, texts: Iterable[str]) -> But:
        values = {text: self.value[text] for text in texts}
        return (self.part(values),) if values else ()

    def plus(self, but: But, value: Any) -> But:
        """One constant more."""
        text = self.text(value)
        if holds(but, text):
            return but
        new, kept = {text: self.value[text]}, list(but)
        while kept and len(kept[-1].values) <= len(new):
            new = kept.pop().values | new
        return (*kept, self.part(new))

    def of_kind(self, but: But, kind: str) -> But:
        """Those of one type: object, array, string, number or literal."""
        found = (self._kinds(part).get(kind) for part in but)
        return tuple(part for part in found if part)

    def _kinds(self, part: Constants) -> dict[str, Constants]:
        if not part.by_kind:
            kinds: dict[str, dict[str, Any]] = {}
            for text, value in part.values.items():
                kinds.setdefault(kind_of(value), {})[text] = value
            part.by_kind = {k: self.part(values) for k, values in kinds.items()}
        return part.by_kind

    # --- of arrays, or of objects

    def after(self, part: Constants, key: str | None) -> dict[str, Constants]:
        """By the value of their member `key`, or of their first item: what else these have."""
        if key not in part.after:
            groups: dict[str, dict[str, Any]] = {}
            for value in part.values.values():
                if key is None and value:
                    first, rest = value[0], value[1:]
                elif key is not None and key in value:
                    first, rest = value[key], {k: v for k, v in value.items() if k != key}
                else:
                    continue
                groups.setdefault(self.text(first), {})[self.text(rest)] = rest
            part.after[key] = {text: self.part(values) for text, values in groups.items()}
        return part.after[key]

    def choices(self, but: But, key: str | None) -> dict[str, But]:
        """The values that some have there, each with what is left of the set behind it."""
        out: dict[str, But] = {}
        for part in but:
            for text, left in self.after(part, key).items():
                out[text] = (*out.get(text, ()), left)
        return out

    def left(self, but: But, key: str | None, text: str) -> But:
        """What is left of the set behind a member, or an item, of this value."""
        found = (self.after(part, key).get(text) for part in but)
        return tuple(part for part in found if part)


def holds(but: But, text: str) -> bool:
    return any(text in part.values for part in but)


def size(but: But) -> int:
    return sum(len(part.values) for part in but)
