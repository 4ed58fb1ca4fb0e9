"""Regular expressions as a small algebra, and their automata by derivatives.

The derivative of a language by a character c is what may follow c: {w : cw in L}.  Taking it again
and again yields finitely many expressions once alternatives are kept as sets (Brzozowski 1964;
Owens, Reppy, Turon, "Regular-expression derivatives re-examined", 2009).  So an expression *is* a
state of its own automaton: `nullable` says whether it accepts, `row` gives every transition.
Intersection and complement cost nothing extra, and states are made only when somebody asks.

`row(node)` is a step function over code points: a sorted tuple of (first code point, next node).
Rows are built from the rows of the parts, so no alphabet has to be fixed beforehand.

Glossary: EMPTY the empty language, EPS the empty word, ALL every text.

>>> r = Regexes()
>>> ab = r.repeat(r.words(["a", "ab"]), 1, None)
>>> [r.matches(ab, w) for w in ("a", "aba", "abb", "")]
[True, True, False, False]
>>> r.matches(r.both(ab, r.non(r.cat(r.ALL, r.words(["b"])))), "ab")
False
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from refimpl.grammar import charset as cs
from refimpl.grammar.charset import CharSet
from refimpl.grammar.regex_live import is_live

Row = tuple[tuple[int, "Node"], ...]
MAX_STATES = 20_000  # that may be searched while a schema is compiled


class Node:
    """An interned expression: equal nodes of one `Regexes` are the same object."""

    __slots__ = ("args", "boolean", "id", "kind", "live", "nullable", "row")

    def __init__(self, kind: str, args: tuple[Any, ...], id: int, nullable: bool, boolean: bool):
        self.kind, self.args, self.id, self.nullable = kind, args, id, nullable
        self.boolean = boolean  # holds an intersection or a complement: may be empty in disguise
        self.row: Row | None = None
        self.live: bool | None = None

    def __repr__(self) -> str:
        return f"{self.kind}{self.args}" if self.args else self.kind

    def __lt__(self, other: "Node") -> bool:
        return self.id < other.id


class Regexes:
    """The table that interns nodes, with the constructors that keep them in normal form."""

    def __init__(self) -> None:
        self._table: dict[tuple[str, tuple[Any, ...]], Node] = {}
        self.shortest: dict[Node, int] = {}  # words, for `regex_live`
        self.searched: dict[Any, Node] = {}  # patterns that were read, for `regex_language.search`
        self.EMPTY = self._node("empty", (), False)
        self.EPS = self._node("eps", (), True)
        self.ANY = self._node("set", (cs.ALL,), False)
        self.ALL = self._node("repeat", (self.ANY, 0, None), True)

    def _node(
        self, kind: str, args: tuple[Any, ...], nullable: bool, boolean: bool = False
    ) -> Node:
        key = (kind, args)
        node = self._table.get(key)
        if node is None:
            node = self._table[key] = Node(kind, args, len(self._table), nullable, boolean)
        return node

    # --- constructors

    def set(self, s: CharSet) -> Node:
        return self._node("set", (s,), False) if s else self.EMPTY

    def words(self, words: Iterable[str]) -> Node:
        """Exactly these words.  A thousand of them are one node: a sorted slice of a dictionary."""
        kept = sorted({w for w in words if not any(0xD800 <= ord(c) <= 0xDFFF for c in w)})
        if not kept or kept == [""]:
            return self.EPS if kept else self.EMPTY
        return self._node("words", tuple(kept), kept[0] == "")

    def cat(self, a: Node, b: Node) -> Node:
        if a is self.EMPTY or b is self.EMPTY:
            return self.EMPTY
        if a is self.EPS or (a is self.ALL and b is self.ALL):
            return b
        if b is self.EPS:
            return a
        if a.kind == "cat":  # lean to the right, so that equal concatenations are equal nodes
            return self.cat(a.args[0], self.cat(a.args[1], b))
        if a is self.ALL and b.kind == "cat" and b.args[0] is self.ALL:
            return b
        return self._node("cat", (a, b), a.nullable and b.nullable, a.boolean or b.boolean)

    def sequence(self, parts: Sequence[Node]) -> Node:
        out = self.EPS
        for part in reversed(parts):
            out = self.cat(part, out)
        return out

    def alt(self, *parts: Node) -> Node:
        flat = self._flatten("alt", parts)
        if self.ALL in flat or (self.EMPTY in flat and len(flat) == 1):
            return self.ALL if self.ALL in flat else self.EMPTY
        flat.pop(self.EMPTY, None)
        if self.EPS in flat and any(n.nullable for n in flat if n is not self.EPS):
            flat.pop(self.EPS)
        sets = [n for n in flat if n.kind == "set"]
        if len(sets) > 1:
            flat = {n: None for n in flat if n.kind != "set"}
            flat[self.set(cs.union(*(n.args[0] for n in sets)))] = None
        return self._join("alt", flat, any)

    def both(self, *parts: Node) -> Node:
        """The words in every part."""
        flat = self._flatten("both", parts)
        if self.EMPTY in flat:
            return self.EMPTY
        if len(flat) > 1:
            flat.pop(self.ALL, None)
        if self.EPS in flat:
            return self.EPS if all(n.nullable for n in flat) else self.EMPTY
        return self._join("both", flat, all)

    def _flatten(self, kind: str, parts: Sequence[Node]) -> dict[Node, None]:
        flat: dict[Node, None] = {}
        for part in parts:
            for node in part.args if part.kind == kind else (part,):
                flat[node] = None
        return flat

    def _join(self, kind: str, flat: dict[Node, None], quantifier: Callable[[Any], bool]) -> Node:
        nodes = tuple(sorted(flat))
        if len(nodes) < 2:
            return nodes[0] if nodes else (self.EMPTY if kind == "alt" else self.ALL)
        boolean = kind == "both" or any(n.boolean for n in nodes)
        return self._node(kind, nodes, quantifier(n.nullable for n in nodes), boolean)

    def non(self, a: Node) -> Node:
        """Every text that is not in `a`."""
        if a.kind == "non":
            return a.args[0]  # type: ignore[no-any-return]
        if a is self.EMPTY or a is self.ALL:
            return self.ALL if a is self.EMPTY else self.EMPTY
        return self._node("non", (a,), not a.nullable, True)

    def repeat(self, a: Node, lo: int, hi: int | None) -> Node:
        """Between `lo` and `hi` copies (None: no upper bound)."""
        if hi == 0 or a is self.EPS:
            return self.EPS
        if a is self.EMPTY:
            return self.EPS if lo == 0 else self.EMPTY
        if (lo, hi) == (1, 1):
            return a
        if a.nullable:
            lo = 0
        if a.kind == "repeat" and a.args[1:] == (0, None):
            return a
        return self._node("repeat", (a, lo, hi), lo == 0 or a.nullable, a.boolean)

    def optional(self, a: Node) -> Node:
        return self.alt(a, self.EPS)

    # --- the automaton

    def row(self, node: Node) -> Row:
        """Every transition of a state: (first code point of a range, next state), sorted."""
        if node.row is None:
            node.row = self._row(node)
        return node.row

    def step(self, node: Node, code_point: int) -> Node:
        row = self.row(node)
        return row[bisect_right(row, code_point, key=_first) - 1][1]

    def matches(self, node: Node, text: str) -> bool:
        for c in text:
            node = self.step(node, ord(c))
        return node.nullable

    def _row(self, node: Node) -> Row:
        match node.kind:
            case "empty" | "eps":
                return ((0, self.EMPTY),)
            case "set":
                return self._row_of_set(node.args[0])
            case "words":
                return self._row_of_words(node.args)
            case "cat":
                a, b = node.args
                row = self._map(self.row(a), lambda n: self.cat(n, b))
                return self._merge([row, self.row(b)], self.alt) if a.nullable else row
            case "alt":
                return self._merge([self.row(n) for n in node.args], self.alt)
            case "both":
                return self._merge([self.row(n) for n in node.args], self.both)
            case "non":
                sigma = self._row_of_set(cs.ALL)
                flipped = self._map(self.row(node.args[0]), self.non)
                return self._merge([flipped, sigma], lambda n, s: n if s is self.EPS else s)
            case _:
                a, lo, hi = node.args
                rest = self.repeat(a, max(lo - 1, 0), None if hi is None else hi - 1)
                return self._map(self.row(a), lambda n: self.cat(n, rest))

    def _row_of_set(self, s: CharSet) -> Row:
        row: list[tuple[int, Node]] = [(0, self.EMPTY)]
        for lo, hi in s:
            if row[-1][0] == lo:
                row.pop()
            row += [(lo, self.EPS), (hi + 1, self.EMPTY)]
        return tuple(row)

    def _row_of_words(self, words: Sequence[str]) -> Row:
        by_first: dict[int, list[str]] = {}
        for w in words:
            if w:
                by_first.setdefault(ord(w[0]), []).append(w[1:])
        parts = [
            self._map(self._row_of_set(((c, c),)), self._before(self.words(tails)))
            for c, tails in by_first.items()
        ]
        return self._merge_disjoint(parts)

    def _before(self, rest: Node) -> Callable[[Node], Node]:
        return lambda node: self.cat(node, rest)

    def _merge_disjoint(self, parts: list[Row]) -> Row:
        points = {p: n for row in parts for p, n in row if n is self.EMPTY}
        points |= {p: n for row in parts for p, n in row if n is not self.EMPTY}
        return self._tidy(sorted(({0: self.EMPTY} | points).items()))

    def _map(self, row: Row, f: Callable[[Node], Node]) -> Row:
        seen: dict[Node, Node] = {}
        for _, n in row:
            if n not in seen:
                seen[n] = f(n)
        return self._tidy([(p, seen[n]) for p, n in row])

    def _merge(self, rows: list[Row], f: Callable[..., Node]) -> Row:
        """Pointwise `f` of several step functions."""
        points = sorted({p for row in rows for p, _ in row})
        at, memo, out = [0] * len(rows), {}, []
        for p in points:
            for i, row in enumerate(rows):
                if at[i] + 1 < len(row) and row[at[i] + 1][0] == p:
                    at[i] += 1
            key = tuple(row[i][1] for row, i in zip(rows, at, strict=True))
            if key not in memo:
                memo[key] = f(*key)
            out.append((p, memo[key]))
        return self._tidy(out)

    @staticmethod
    def _tidy(row: Sequence[tuple[int, Node]]) -> Row:
        return tuple((p, n) for i, (p, n) in enumerate(row) if i == 0 or row[i - 1][1] is not n)

    # --- emptiness

    def is_live(self, node: Node, limit: int | None = None) -> bool:
        """Whether any word at all is accepted from here; refused if a search passes the limit."""
        return is_live(self, node, limit)


def _first(entry: tuple[int, Node]) -> int:
    return entry[0]
