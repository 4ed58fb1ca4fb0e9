"""Telling object keys apart while they are being read.

An object's schema speaks of some keys by name and of others by pattern.  All that matters about a
finished key is its *label*: its name if the schema knows it, otherwise the set of patterns it
matches.  The automaton here walks the sorted names (a slice of the list is a trie node) and the
pattern languages together.

>>> r = Regexes()
>>> keys = KeyAutomaton(r, ("id", "if"), ())
>>> keys.label(keys.walk("if")), keys.label(keys.walk("other"))
('if', frozenset())
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator
from functools import cached_property

from refimpl.errors import UnsupportedError
from refimpl.grammar.charset import MAX_CODE_POINT
from refimpl.grammar.regex import MAX_STATES, Node, Regexes

Patterns = tuple[Node, ...]
Label = str | frozenset[Node]
Allowed = frozenset[Label | tuple[Patterns, Label]]  # a pair is of the patterns of one shape alone
Slice = tuple[int, int, int]  # names[lo:hi] share their first `depth` characters with the key
KeyState = tuple[Slice | None, tuple[Node, ...]]
KeyRow = tuple[tuple[int, KeyState], ...]


class KeyAutomaton:
    """Deterministic, over characters; `names` sorted.  `nameless` has the same patterns alone."""

    def __init__(
        self,
        regexes: Regexes,
        names: tuple[str, ...],
        patterns: Patterns,
        nameless: "KeyAutomaton | None" = None,
    ):
        self.r, self.names, self.patterns, self.nameless = regexes, names, patterns, nameless
        self.start: KeyState = ((0, len(names), 0) if names else None, patterns)
        self._rows: dict[KeyState, KeyRow] = {}
        self._found: dict[tuple[KeyState, Allowed], bool] = {}

    def label(self, state: KeyState) -> Label:
        part, nodes = state
        if part and len(self.names[part[0]]) == part[2]:
            return self.names[part[0]]
        pairs = zip(self.patterns, nodes, strict=True)
        return frozenset(p for p, n in pairs if n.nullable)

    def row(self, state: KeyState) -> KeyRow:
        """Every transition, as a step function over code points."""
        if state not in self._rows:
            self._rows[state] = self._row(state)
        return self._rows[state]

    def _row(self, state: KeyState) -> KeyRow:
        part, nodes = state
        children = self._children(part)
        rows = [self.r.row(n) for n in nodes]
        points = {0} | {p for row in rows for p, _ in row}
        points |= set(children) | {c + 1 for c in children}
        out: list[tuple[int, KeyState]] = []
        for p in sorted(points):
            if p > MAX_CODE_POINT or 0xD800 <= p < 0xE000:  # no text holds a surrogate
                continue
            target = (children.get(p), tuple(self.r.step(n, p) for n in nodes))
            if not out or out[-1][1] != target:
                out.append((p, target))
        return tuple(out)

    def _children(self, part: Slice | None) -> dict[int, Slice]:
        out: dict[int, Slice] = {}
        if part is None:
            return out
        lo, hi, depth = part
        while lo < hi:
            if len(self.names[lo]) == depth:
                lo += 1
                continue
            c = self.names[lo][depth]
            end = bisect_right(self.names, c, lo, hi, key=lambda n: n[depth])
            out[ord(c)] = (lo, end, depth + 1)
            lo = end
        return out

    def step(self, state: KeyState, code_point: int) -> KeyState:
        row = self.row(state)
        return row[bisect_right(row, code_point, key=lambda e: e[0]) - 1][1]

    def walk(self, key: str) -> KeyState:
        state = self.start
        for c in key:
            state = self.step(state, ord(c))
        return state

    def admits(self, state: KeyState, allowed: Allowed) -> bool:
        """Whether a key may end here."""
        return self.label(state) in allowed

    def reaches(self, state: KeyState, allowed: Allowed) -> bool:
        """Whether some key that begins as `state` was read gets one of these labels."""
        part, nodes = state
        if not nodes and frozenset() in allowed:
            return True  # some longer key has no name, for there are finitely many names
        if part and any(n in allowed for n in self.names[part[0] : part[1]]):
            return True
        if not nodes:
            return False
        key = (state, allowed)
        if key not in self._found:
            self._found[key] = self._search(state, lambda s: self.admits(s, allowed))
        return self._found[key]

    def _search(self, start: KeyState, goal: Callable[[KeyState], bool]) -> bool:
        """Without a limit: the states were counted when the labels were, but for the names."""
        return any(goal(s) for s in self._reachable(start, goal))

    def _reachable(
        self,
        start: KeyState,
        stop: Callable[[KeyState], bool] = lambda s: False,
        limit: int | None = None,
    ) -> list[KeyState]:
        seen = {start: None}
        for state in (todo := [start]):
            if stop(state):
                break
            for _, target in self.row(state):
                if target not in seen:
                    seen[target] = None
                    todo.append(target)
            if limit is not None and len(seen) > limit:
                raise UnsupportedError(f"patterns for keys that need more than {limit} states")
        return todo

    @cached_property
    def supply(self) -> dict[Label, int | None]:
        """How many unnamed keys get each label; None is infinitely many."""
        if not self.patterns:
            return {frozenset(): None}
        if self.nameless is not None:
            return self._less_names(dict(self.nameless.supply))
        states = self._reachable(self.start, limit=MAX_STATES)
        labels = {s: self.label(s) for s in states}
        found = dict.fromkeys(x for x in labels.values() if not isinstance(x, str))
        return {label: self._count(states, labels, label) for label in found}

    def _less_names(self, supply: dict[Label, int | None]) -> dict[Label, int | None]:
        for name in self.names:
            label = frozenset(p for p in self.patterns if self.r.matches(p, name))
            if (count := supply.get(label)) is not None:
                supply[label] = count - 1
        return {label: count for label, count in supply.items() if count != 0}

    def _count(
        self, states: list[KeyState], labels: dict[KeyState, Label], label: Label
    ) -> int | None:
        """Words with that label: paths from the start, unless a useful state lies on a cycle."""
        ends = {s for s in states if labels[s] == label}
        useful = set(ends)
        back: dict[KeyState, list[KeyState]] = {}
        for s in states:
            for _, t in self.row(s):
                back.setdefault(t, []).append(s)
        todo = list(useful)
        while todo:
            for s in back.get(todo.pop(), ()):
                if s not in useful:
                    useful.add(s)
                    todo.append(s)
        return _Paths(self, useful, ends).count(self.start)


class JointKeys(KeyAutomaton):
    """Of several shapes whose patterns make too many states together to be counted.

    Each shape has counted its own (`parts`), and a key may be written if one of them allows it.  So
    what is allowed is said for each part by itself; a finished key has its label as ever.
    """

    def __init__(self, regexes: Regexes, names: tuple[str, ...], parts: tuple[KeyAutomaton, ...]):
        super().__init__(regexes, names, tuple(sorted({n for p in parts for n in p.patterns})))
        self.parts = parts
        self._places = [[self.patterns.index(n) for n in p.patterns] for p in parts]

    def admits(self, state: KeyState, allowed: Allowed) -> bool:
        return any(p.admits(s, a) for p, s, a in self._by_part(state, allowed))

    def reaches(self, state: KeyState, allowed: Allowed) -> bool:
        return any(p.reaches(s, a) for p, s, a in self._by_part(state, allowed))

    def _by_part(
        self, state: KeyState, allowed: Allowed
    ) -> Iterator[tuple[KeyAutomaton, KeyState, Allowed]]:
        for part, places in zip(self.parts, self._places, strict=True):
            names = {x for x in allowed if isinstance(x, str)}
            own = {x[1] for x in allowed if isinstance(x, tuple) and x[0] == part.patterns}
            yield part, (state[0], tuple(state[1][i] for i in places)), frozenset(names | own)


class _Paths:
    """Counts the words that lead to one of `ends`; `useful` are the states on the way there."""

    def __init__(self, keys: KeyAutomaton, useful: set[KeyState], ends: set[KeyState]):
        self.keys, self.useful, self.ends = keys, useful, ends
        self.counts: dict[KeyState, int] = {}
        self.open: set[KeyState] = set()

    def count(self, state: KeyState) -> int | None:
        """From this state; None is infinitely many."""
        if state in self.open:
            return None
        if state not in self.counts and state in self.useful:
            self.open.add(state)
            total, row = int(state in self.ends), self.keys.row(state)
            for i, (p, target) in enumerate(row):
                end = row[i + 1][0] if i + 1 < len(row) else MAX_CODE_POINT + 1
                if p <= 0xD800 < end:  # the surrogates are not characters
                    end -= 0x800
                n = self.count(target)
                if n is None:
                    return None
                total += n * max(end - p, 0)
            self.open.discard(state)
            self.counts[state] = total
        return self.counts.get(state, 0)
