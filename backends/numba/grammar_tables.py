"""What a schema says, as integer tables for `grammar_steps`.

A *family* is what may stand at one place of a document.  It is described here if it is plain: one
shape of object with names and no counts or patterns, one shape of array without `contains` or
`uniqueItems`, one set of numbers.  Anything else stays with the machine, as a FOREIGN state, and
whatever is plain inside of it is plain again.
"""

from typing import Any

import numpy as np
from numba import njit
from numpy import ndarray

from backends.numba.grammar_numbers import NumberTables
from backends.numba.grammar_spelling import DEAD
from backends.numba.grammar_steps import (
    CHOICE,
    FOREIGN,
    SET_WORDS,
    STRING,
    TRIE_COLUMNS,
    VALUE,
)
from refimpl.grammar.json_grammar import JsonGrammar
from refimpl.grammar.json_states import Text, Value
from refimpl.grammar.machine import Machine
from refimpl.grammar.shapes import ArrayShape, Expr, ObjectShape, Union

_WORDS = {"null": 1, "true": 2, "false": 4}
_jit: Any = njit(cache=True)


class Tables:
    """Grows as the machine meets new families; `changed` tells whom to copy the arrays again."""

    def __init__(self, grammar: JsonGrammar, machine: Machine, numbers: NumberTables):
        self.grammar, self.machine, self.numbers = grammar, machine, numbers
        self.union, self.fit = grammar.reader.union, grammar.fit
        self.ids: dict[Expr, int] = {}
        self.families: list[tuple[int, ...]] = []
        self.strings: list[tuple[int, int]] = [(0, -1)]
        self.string_ids = {(0, -1): 0}
        self.arrays: list[tuple[int, ...]] = []
        self.prefixes: list[int] = []
        self.objects: list[tuple[int, ...]] = []
        self.keys: list[int] = []  # of an object: the bits required, and the bits never allowed
        self.names: list[int] = []
        self.trie_size = 0
        self.tries: list[tuple[str, ...]] = []
        self.trie_ids: dict[tuple[str, ...], int] = {}
        self.todo: list[Expr] = []
        self.changed = True

    def family(self, expr: Expr) -> int:
        """The number of a family; its row is made by `settle`."""
        if expr not in self.ids:
            self.ids[expr] = len(self.ids)
            self.todo.append(expr)
        return self.ids[expr]

    def satisfiable(self, expr: Expr) -> int:
        return self.family(expr) if self.fit.sat(expr) else DEAD

    def settle(self) -> None:
        """Makes the rows of all families met so far, and of those inside them."""
        while len(self.families) < len(self.todo):
            self.changed = True
            self.families.append(self.row(self.todo[len(self.families)]))

    def row(self, expr: Expr) -> tuple[int, ...]:
        u = self.union(expr)
        if not self.is_plain(u):
            foreign = self.machine.local(Value((expr,), 0))
            return (0, DEAD, DEAD, 0, DEAD, DEAD, foreign, 0)
        kind, string = self.string(u)
        return (
            sum(_WORDS[w] for w in u.literals),
            self.numbers.start(u.numbers[0]) if u.numbers else DEAD,
            kind,
            string,
            self.array(u.arrays[0])
            if u.arrays and self.fit.array_fits(u.arrays[0], 0, ())
            else DEAD,
            self.object(u.objects[0]) if u.objects and self.fits(u.objects[0]) else DEAD,
            DEAD,
            0,
        )

    def is_plain(self, u: Union) -> bool:
        return (
            len(u.numbers) < 2
            and len(u.arrays) < 2
            and len(u.objects) < 2
            and not any(a.contains or a.unique for a in u.arrays)
            and all(map(self.is_plain_object, u.objects))
        )

    def is_plain_object(self, o: ObjectShape) -> bool:
        counted = o.exists or o.hi is not None or o.lo > min(1, len(o.required))
        if self.grammar.layout.in_order or counted or any(k.patterns for k, _ in o.rules):
            return False
        names = self.fit.plan(o).names
        return len(names) <= 64 * SET_WORDS and not any(map(_has_surrogate, names))

    def fits(self, o: ObjectShape) -> bool:
        return self.fit.plan(o).fits(frozenset(), 0, (), self.fit.sat)

    # --- the parts of a family

    def string(self, u: Union) -> tuple[int, int]:
        if not u.strings:
            return DEAD, 0
        s = u.strings[0]
        if len(u.strings) == 1 and s.node is self.grammar.reader.r.ALL:
            bounds = (s.lo, -1 if s.hi is None else s.hi)
            if bounds not in self.string_ids:
                self.string_ids[bounds] = len(self.strings)
                self.strings.append(bounds)
            return STRING, self.string_ids[bounds]
        if len(u.strings) == 1 and s.node.kind == "words" and s.hi is None and not s.lo:
            return CHOICE, self.trie(s.node.args)
        threads = tuple((0, t.node, t.lo, t.hi) for t in u.strings)
        return FOREIGN, self.machine.local(Text(threads, ()))

    def trie(self, words: tuple[str, ...]) -> int:
        """The root of a trie of sorted words."""
        if words not in self.trie_ids:
            self.trie_ids[words] = self.trie_size
            self.tries.append(words)
            self.trie_size += 1 + _count_nodes(words)
        return self.trie_ids[words]

    def array(self, a: ArrayShape) -> int:
        prefix = [self.satisfiable(e) for e in a.prefix]
        cap = max(len(a.prefix), a.lo) if a.hi is None else a.hi
        hi = -1 if a.hi is None else a.hi
        self.arrays.append(
            (a.lo, hi, cap, len(prefix), len(self.prefixes), self.satisfiable(a.rest))
        )
        self.prefixes += prefix
        return len(self.arrays) - 1

    def object(self, o: ObjectShape) -> int:
        plan = self.fit.plan(o)
        names = [self.satisfiable(plan.expr(n)) for n in plan.names]
        required = [n in o.required for n in plan.names]
        never = [f == DEAD for f in names]
        other = self.satisfiable(plan.expr(frozenset()))
        self.objects.append((self.trie(plan.names), len(names), len(self.names), other))
        self.names += names
        self.keys += [*_packed(required), *_packed(never)]
        return len(self.objects) - 1

    # --- as arrays

    def arrays_of(self) -> tuple[ndarray, ...]:
        self.changed = False
        parts = (self.families, self.strings, self.arrays, self.prefixes, self.objects)
        out = [np.array(part or [0], np.int32) for part in parts]
        keys = np.array(self.keys or [0], np.uint64).view(np.int64)
        return (*out, keys, np.array(self.names or [0], np.int32), self.trie_array())

    def trie_array(self) -> ndarray:
        words = [w for trie in self.tries for w in trie]
        text = np.frombuffer("".join(words).encode("utf-32-le") or b"\0\0\0\0", np.uint32)
        lengths = np.array([len(w) for w in words] or [0], np.int32)
        counts = np.array([len(trie) for trie in self.tries] or [0], np.int32)
        out = np.zeros((max(self.trie_size, 1), TRIE_COLUMNS), np.int32)
        if self.tries:
            _fill_tries(text, lengths, counts, out)
        return out

    def meaning(self, local: Any) -> int:
        """The plain state that a local state of the machine is, or DEAD."""
        if not isinstance(local, Value) or len(local.family) != 1:
            return DEAD
        family = self.family(local.family[0])
        self.settle()
        if self.families[family][6] >= 0:
            return DEAD
        return VALUE << 48 | local.ws << 32 | family


def _has_surrogate(name: str) -> bool:
    return any("\ud800" <= c <= "\udfff" for c in name)


def _packed(bits: list[bool]) -> list[int]:
    words = [0] * SET_WORDS
    for i, bit in enumerate(bits):
        words[i >> 6] |= bit << (i & 63)
    return words


def _count_nodes(words: tuple[str, ...]) -> int:
    """The nodes of a trie of sorted words, less the root."""
    total, before = 0, ""
    for word in words:
        common = 0
        for a, b in zip(before, word, strict=False):
            if a != b:
                break
            common += 1
        total += len(word) - common
        before = word
    return total


@_jit
def _fill_tries(text: ndarray, lengths: ndarray, counts: ndarray, out: ndarray) -> None:
    """Tries in depth-first order, one after the other: (point, skip, name, lo, hi) of each node."""
    n, word, start = 0, 0, 0
    path = np.zeros(text.size + 2, np.int64)
    for t in range(counts.size):
        path[0] = n
        out[n, 0], out[n, 2], out[n, 3] = -1, -1, 0
        n += 1
        before = 0
        for i in range(counts[t]):
            length, common = lengths[word], 0
            while common < min(before, length) and out[path[common + 1], 0] == text[start + common]:
                common += 1
            for d in range(common + 1, before + 1):
                out[path[d], 1], out[path[d], 4] = n, i
            for d in range(common + 1, length + 1):
                path[d] = n
                out[n, 0], out[n, 2], out[n, 3] = text[start + d - 1], -1, i
                n += 1
            out[path[length], 2] = i
            before, start, word = length, start + length, word + 1
        for d in range(before + 1):
            out[path[d], 1], out[path[d], 4] = n, counts[t]
