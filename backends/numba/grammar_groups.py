"""Objects that may be of several shapes, or whose keys are told apart by patterns, as tables.

A *group* is what the machine keeps of such an object, less the keys seen: the threads, one for each
alternative that is still possible.  A key leads to a *member*, the family its value is read for;
the result of the value tells which threads go on, and so the next group.  All three are made when a
document comes to them.  The names are those of all shapes there were at the beginning; one that no
shape left in the group knows is an unnamed key like others, and may come twice.
"""

import re

import numpy as np
from numpy import ndarray

from backends.numba import grammar_layout as g
from backends.numba.grammar_arrays import Growing, signed
from backends.numba.grammar_families import Families
from backends.numba.grammar_keys import KeyTables
from backends.numba.grammar_layout import DEAD, UNKNOWN
from backends.numba.grammar_words import WordTries
from refimpl.grammar.json_grammar import JsonGrammar
from refimpl.grammar.json_states import Family, ObjectThread
from refimpl.grammar.keys import JointKeys, KeyAutomaton, Label
from refimpl.grammar.object_steps import grouped
from refimpl.grammar.shapes import ObjectShape

Threads = tuple[ObjectThread, ...]
READY_MEMBERS = 32
_SURROGATE = re.compile("[\ud800-\udfff]")


class Groups:
    """The groups and members of one schema."""

    def __init__(self, grammar: JsonGrammar, words: WordTries, families: Families):
        self.grammar, self.words, self.families = grammar, words, families
        self.keys = KeyTables()
        self.ids: dict[tuple[Threads, int], int] = {}
        self.states: list[tuple[Threads, KeyAutomaton]] = []
        self.rows, self.never = Growing(g.GROUP_COLUMNS), Growing(g.SET_WORDS, np.int64)
        self.threads, self.labels = Growing(g.THREAD_COLUMNS, np.int64), Growing(1)
        self.members, self.nexts = Growing(g.MEMBER_COLUMNS), Growing(g.NEXT_COLUMNS)
        self.origins: list[tuple[int, tuple[Threads, ...]]] = []  # of members
        self.member_ids: dict[tuple[int, Family, tuple[Threads, ...]], int] = {}

    def is_plain(self, o: ObjectShape) -> bool:
        """Whether keys need not be counted, nor unnamed ones told apart."""
        counted = o.exists or o.hi is not None or o.lo > min(1, len(o.required))
        if self.grammar.layout.in_order or counted:
            return False
        names = self.grammar.fit.plan(o).names
        return len(names) <= g.MAX_NAMES and not _SURROGATE.search("".join(names))

    def start(self, threads: Threads) -> int:
        """The group of an object that begins, or DEAD if it is too large for the tables."""
        shapes = dict.fromkeys(t.shape for t in threads)
        automaton = self.grammar.fit.automaton(shapes, frozenset())
        if isinstance(automaton, JointKeys):
            return DEAD
        most = max(len(threads), threads[-1].i + 1, len(automaton.supply))
        if len(automaton.names) > g.MAX_NAMES or most > g.MAX_RESULTS:
            return DEAD
        if automaton.patterns:
            kind, start = g.PATTERN_KEY, self.keys.start(automaton)
        else:
            kind, start = g.KEY, self.words.root(automaton.names)
        return DEAD if start < 0 else self.group(threads, automaton, kind, start)

    def group(self, threads: Threads, automaton: KeyAutomaton, kind: int, start: int) -> int:
        key = (threads, start)
        if key not in self.ids:
            self.ids[key] = self.rows.size
            self.states.append((threads, automaton))
            labels, n = labels_of(automaton), len(automaton.names)
            usable = [self.is_usable(threads, x) for x in labels]
            self.never.add(packed([not x for x in usable[:n]]))
            others = sum(x << i for i, x in enumerate(usable[n:]))
            first = self.threads.extend([self.thread(t, automaton) for t in threads])
            offset = self.labels.extend([(UNKNOWN if x else DEAD,) for x in usable])
            self.rows.add((kind, start, n, offset, others, first, self.threads.size))
        return self.ids[key]

    @staticmethod
    def thread(t: ObjectThread, automaton: KeyAutomaton) -> list[int]:
        """The names that must be there, and the result if they are."""
        return [*packed([x in t.shape.required for x in automaton.names]), 1 << t.i]

    def is_usable(self, threads: Threads, label: Label) -> bool:
        seen = frozenset({label}) if isinstance(label, str) else frozenset()
        members = self.grammar.members(threads, label, seen, 0)
        return next(members, None) is not None

    def explore(self, group: int, label: int) -> None:
        """What comes of a key with that label; the others of a small object come with it."""
        n = len(labels_of(self.states[group][1]))
        for other in range(n) if n <= READY_MEMBERS else (label,):
            self.member(group, other)

    def member(self, group: int, label: int) -> None:
        """What comes of a key with that label."""
        row, (threads, automaton) = self.rows.array[group], self.states[group]
        at = row[g.G_OFFSET] + label
        if self.labels.array[at] != UNKNOWN:
            return
        name = labels_of(automaton)[label]
        seen = frozenset({name}) if isinstance(name, str) else frozenset()
        family, nexts = grouped(self.grammar.members(threads, name, seen, 0))
        plans = (self.grammar.fit.plan(t.shape) for t in threads)
        known = isinstance(name, str) and any(name in p.names for p in plans)
        key = (int(row[g.G_START]), family, nexts)
        if key not in self.member_ids:
            self.member_ids[key] = self.members.add((self.families.number(family), -1))
            self.origins.append((group, nexts))
            if len(family) == 1:
                self.next(self.member_ids[key], 1)
        self.labels.array[at] = self.member_ids[key] << 1 | known

    def next(self, member: int, result: int) -> None:
        """The group after a member whose value had that result."""
        group, nexts = self.origins[member]
        row, automaton = self.rows.array[group], self.states[group][1]
        chosen = (t for j, threads in enumerate(nexts) if result >> j & 1 for t in threads)
        left = tuple(dict.fromkeys(chosen))
        after = self.group(left, automaton, int(row[g.G_KEYS]), int(row[g.G_START]))
        first = self.members.array[member, g.M_FIRST]
        self.members.array[member, g.M_FIRST] = self.nexts.add((result, after, first))

    def places(self) -> dict[int, ndarray]:
        return {
            g.GROUPS: self.rows.array, g.GROUP_NEVER: self.never.array,
            g.THREADS: self.threads.array, g.LABELS: self.labels.array,
            g.MEMBERS: self.members.array, g.NEXTS: self.nexts.array, **self.keys.places(),
        }  # fmt: skip


def labels_of(automaton: KeyAutomaton) -> list[Label]:
    return [*automaton.names, *automaton.supply]


def packed(bits: list[bool]) -> list[int]:
    words = [0] * g.SET_WORDS
    for i, bit in enumerate(bits):
        words[i >> 6] |= bit << (i & 63)
    return signed(words)
