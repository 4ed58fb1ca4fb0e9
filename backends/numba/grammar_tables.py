"""What a schema says, as integer tables for `grammar_steps`.

A *family* is what may stand at one place of a document: the expressions that a value there is
read for.  Its row says what may begin it, each with the result that it can give: words, numbers,
strings, an array, an object.  What the tables do not describe (members or items that are counted,
several shapes of array) is the machine's, as a FOREIGN state, and what is plain inside of it is
plain again.  Rows are made when a document comes to them, those near the start beforehand.
"""

from typing import Any

import numpy as np
from numpy import ndarray

from backends.numba import grammar_layout as g
from backends.numba.grammar_arrays import Growing, signed
from backends.numba.grammar_families import Families
from backends.numba.grammar_groups import Groups, packed
from backends.numba.grammar_layout import CHOICE, DEAD, STRING, TEXT, VALUE
from backends.numba.grammar_vocabulary import Shared
from backends.numba.grammar_words import WordTries
from refimpl.grammar.json_grammar import JsonGrammar
from refimpl.grammar.json_states import Number, Text, Value
from refimpl.grammar.machine import Machine
from refimpl.grammar.shapes import ArrayShape, Expr, ObjectShape, Union

Unions = list[tuple[int, Union]]


class Tables:
    """Grows as documents meet new families."""

    def __init__(self, grammar: JsonGrammar, machine: Machine, shared: Shared):
        self.grammar, self.machine, self.shared = grammar, machine, shared
        self.union, self.fit = grammar.reader.union, grammar.fit
        self.families = Families()
        self.strings = Growing(g.STRING_COLUMNS)
        self.string_ids: dict[tuple[int, int, int], int] = {}
        self.arrays, self.prefixes = Growing(g.ARRAY_COLUMNS), Growing(1)
        self.objects, self.names = Growing(g.OBJECT_COLUMNS), Growing(1)
        self.keys = Growing(2 * g.SET_WORDS, np.int64)  # of an object: required, never allowed
        self.words = WordTries()
        self.groups = Groups(grammar, self.words, self.families)

    def satisfiable(self, expr: Expr) -> int:
        return self.families.number((expr,)) if self.fit.sat(expr) else DEAD

    def fill(self, family: int) -> None:
        """Makes the row of a family."""
        if self.families.rows.array[family, g.F_READY]:
            return
        unions = [(i, self.union(e)) for i, e in enumerate(self.families.all[family])]
        row = (
            1,
            *words(unions),
            self.number(unions),
            *self.string(unions),
            *self.array(unions),
            *self.object(unions),
        )
        self.families.rows.array[family] = row
        self.families.first.array[family, :2] = _first_bytes(row)

    def explore(self, family: int, rows: int) -> None:
        """Makes so many rows; those that were met together mostly come together."""
        for n in range(family, family + rows):
            if n < len(self.families.all):
                self.fill(n)

    # --- the parts of a family

    def number(self, unions: Unions) -> int:
        threads = tuple((i, s) for i, u in unions for s in u.numbers)
        return self.shared.numbers.start(threads) if threads else DEAD

    def string(self, unions: Unions) -> tuple[int, int, int]:
        """(kind, id, result) of strings; the result is in the automaton where states have one."""
        threads = tuple((i, s.node, s.lo, s.hi) for i, u in unions for s in u.strings)
        if not threads:
            return DEAD, 0, 0
        _, node, lo, hi = threads[0]
        if any(t[1:] != threads[0][1:] for t in threads):
            return TEXT, self.shared.texts.start(threads, self.grammar), 0
        result = _bits(t[0] for t in threads)
        if node is self.grammar.reader.r.ALL:
            return STRING, self.counted((lo, -1 if hi is None else hi, result)), result
        if node.kind == "words" and hi is None and not lo:
            return CHOICE, self.words.root(node.args), result
        return TEXT, self.shared.texts.start(threads, self.grammar), 0

    def counted(self, bounds: tuple[int, int, int]) -> int:
        if bounds not in self.string_ids:
            self.string_ids[bounds] = self.strings.add(bounds)
        return self.string_ids[bounds]

    def array(self, unions: Unions) -> tuple[int, int]:
        shapes = [(i, a) for i, u in unions for a in u.arrays]
        if not shapes:
            return DEAD, 0
        first = shapes[0][1]
        compared = first.compares and not is_set_of_strings(self.grammar, first)
        if first.contains or compared or any(a != first for _, a in shapes):
            return self.foreign(self.grammar.begin_array(shapes))
        if not self.fit.array_fits(first, 0, ()):
            return DEAD, 0
        return g.ARRAY, self.plain_array(first, _bits(i for i, _ in shapes))

    def foreign(self, local: Any) -> tuple[int, int]:
        return (DEAD, 0) if local is None else (g.ALIEN, self.machine.local(local))

    def plain_array(self, a: ArrayShape, result: int) -> int:
        prefix = [self.satisfiable(e) for e in a.prefix]
        cap = max(len(a.prefix), a.lo) if a.hi is None else a.hi
        hi = -1 if a.hi is None else a.hi
        offset = self.prefixes.extend([(e,) for e in prefix])
        rest = self.satisfiable(a.rest)
        row = (a.lo, hi, cap, len(prefix), offset, rest, result, a.unique)
        return self.arrays.add(row)

    def object(self, unions: Unions) -> tuple[int, int]:
        shapes = [(i, o) for i, u in unions for o in u.objects]
        if not shapes:
            return DEAD, 0
        start = self.grammar.begin_object(shapes)
        if start is None:
            return DEAD, 0
        first = start.threads[0].shape
        if all(map(self.groups.is_plain, (t.shape for t in start.threads))):
            same = all(t.shape is first or t.shape == first for t in start.threads)
            if same and not self.fit.plan(first).patterns:
                return g.OBJECT, self.plain_object(first, _bits(t.i for t in start.threads))
            group = self.groups.start(start.threads)
            if group >= 0:
                return g.GROUP, group
        return self.foreign(start)

    def plain_object(self, o: ObjectShape, result: int) -> int:
        plan = self.fit.plan(o)
        names = [self.satisfiable(plan.expr(n)) for n in plan.names]
        required = [n in o.required for n in plan.names]
        never = [f == DEAD for f in names]
        other = self.satisfiable(plan.expr(frozenset()))
        trie = self.words.root(plan.names)
        self.keys.add([*packed(required), *packed(never)])
        offset = self.names.extend(np.array(names, np.int32).reshape(-1, 1))
        return self.objects.add((trie, len(names), offset, other, result))

    # --- as arrays

    def places(self) -> dict[int, ndarray]:
        return {
            g.FAMILIES: self.families.rows.array, g.FIRST: self.families.first.array,
            g.STRINGS: self.strings.array, g.ARRAYS: self.arrays.array,
            g.PREFIXES: self.prefixes.array, g.OBJECTS: self.objects.array,
            g.NAMES: self.names.array, g.KEYS: self.keys.array, g.TRIE: self.words.array(),
            **self.groups.places(),
        }  # fmt: skip

    def meaning(self, local: Any) -> int:
        """The state that a local state of the machine is, or DEAD."""
        match local:
            case Value(family, ws) if len(family) <= g.MAX_RESULTS:
                return VALUE << 48 | ws << 32 | self.families.number(family)
            case Text(threads, ()) if threads[-1][0] < g.MAX_RESULTS:
                return TEXT << 48 | self.shared.texts.state(threads)
            case Number(threads, text) if threads[-1][0] < g.MAX_RESULTS:
                return g.NUMBER << 48 | self.shared.numbers.state(threads, text)
        return DEAD


def is_set_of_strings(grammar: JsonGrammar, a: ArrayShape) -> bool:
    """Whether `grammar_unique` reads such an array: items are any strings, all different."""
    any_string = Union(strings=(grammar.reader.algebra.any_string,))
    return a.unique and not (a.prefix or a.contains) and grammar.reader.union(a.rest) == any_string


def _bits(places: Any) -> int:
    return sum(1 << i for i in set(places))


def words(unions: Unions) -> tuple[int, int, int]:
    """The results of null, true and false."""
    if not any(u.literals for _, u in unions):
        return 0, 0, 0
    null, true, false = (
        _bits(i for i, u in unions if w in u.literals) for w in ("null", "true", "false")
    )
    return null, true, false


def _byte_set(characters: str) -> tuple[int, int]:
    bits = sum(1 << ord(x) for x in characters)
    lo, hi = signed([bits & (1 << 64) - 1, bits >> 64])
    return lo, hi


_WHITE = _byte_set(" \t\n\r")
_OPENED_BY = (
    (g.F_STRING, _byte_set('"')), (g.F_ARRAY, _byte_set("[")), (g.F_OBJECT, _byte_set("{")),
    (g.F_NUMBER, _byte_set("-0123456789")),
)  # fmt: skip
_SPELLED = ((g.F_NULL, _byte_set("n")), (g.F_TRUE, _byte_set("t")), (g.F_FALSE, _byte_set("f")))


def _first_bytes(row: tuple[int, ...]) -> tuple[int, int]:
    """The bytes that a value of a family may begin with, white space included, as bits."""
    lo, hi = _WHITE
    opened = [bits for column, bits in _OPENED_BY if row[column] >= 0]
    for a, b in (*opened, *(bits for column, bits in _SPELLED if row[column])):
        lo, hi = lo | a, hi | b
    return lo, hi
