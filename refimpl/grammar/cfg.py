"""Recursion: context-free grammars, run on all their stacks at once.

A rule calls other rules; what is still to be read after a call waits on a stack.  Where the grammar
leaves a choice, several stacks are alive, and a state is the set of them.  Stacks are linked lists
that share their tails, made once each, so forking costs nothing and old states stay valid.

Every symbol that can never produce a text is removed beforehand; then every stack can be completed,
and there are no dead ends.  Left recursion would expand forever and is refused by name, as in
llama.cpp: write `list ::= item ("," item)*` for `list ::= list "," item | item`.

>>> from refimpl.grammar.machine import Machine
>>> m = Machine(CfgGrammar({"root": ((cs.of("("), "root", cs.of(")")), ())}))
>>> [m.accepts(s) if (s := m.advance(m.start, t)) else None for t in (b"(())", b"((", b"())")]
[True, False, None]
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from refimpl.errors import InputError, UnsupportedError
from refimpl.grammar import charset as cs
from refimpl.grammar.charset import CharSet
from refimpl.grammar.literal import Char, Position, ranges_of, read
from refimpl.grammar.machine import Go, Row, Ways
from refimpl.grammar.yields import Yields

Symbol = str | CharSet  # a rule's name, or one character of a set
Rules = Mapping[str, tuple[tuple[Symbol, ...], ...]]
MAX_STACKS = 10_000
MAX_TEXT = 1 << 16  # bytes of a completion that is still looked for


@dataclass(frozen=True, eq=False)
class Stack:
    """What is to be read: `symbol`, and then `rest` (None at the end).  Compared by identity."""

    symbol: Symbol
    rest: "Stack | None"
    id: int


@dataclass(frozen=True)
class Local:
    """The stacks alive, each with a character on top; None among them: the text may end here."""

    stacks: frozenset[Stack | None]
    position: Position = ()


class CfgGrammar:
    """A grammar of rules, beginning at `root`."""

    def __init__(self, rules: Rules, root: str = "root"):
        _check_names(rules, root)
        productive = _productive(rules)
        if root not in productive:
            raise InputError(f"no finite text matches the rule {root!r}")
        self.rules = {
            name: tuple(s for s in options if all(_can(x, productive) for x in s))
            for name, options in rules.items()
        }
        _check_left_recursion(self.rules)
        self._stacks: dict[tuple[Symbol, Stack | None], Stack] = {}
        self._opened: dict[Stack, frozenset[Stack | None]] = {}
        self._lengths: dict[Stack, int] = {}
        self.root = self.push(root, None)

    def push(self, symbol: Symbol, rest: Stack | None) -> Stack:
        key = (symbol, rest)
        if key not in self._stacks:
            self._stacks[key] = Stack(symbol, rest, len(self._stacks))
        return self._stacks[key]

    def opened(self, stack: Stack | None) -> frozenset[Stack | None]:
        """The stacks that follow without reading anything, each with a character on top."""
        if stack is None or not isinstance(stack.symbol, str):
            return frozenset({stack})
        if stack not in self._opened:
            seen: dict[Stack | None, None] = {stack: None}
            for s in (todo := [stack]):
                for after in self._calls(s):
                    if after not in seen:
                        seen[after] = None
                        if after is not None and isinstance(after.symbol, str):
                            todo.append(after)
                if len(seen) > MAX_STACKS:
                    raise UnsupportedError("a grammar this ambiguous; factor out common beginnings")
            done = (s for s in seen if s is None or not isinstance(s.symbol, str))
            self._opened[stack] = frozenset(done)
        return self._opened[stack]

    def _calls(self, stack: Stack) -> Iterator[Stack | None]:
        assert isinstance(stack.symbol, str)
        for option in self.rules[stack.symbol]:
            after = stack.rest
            for symbol in reversed(option):
                after = self.push(symbol, after)
            yield after

    # --- what the machine asks

    def start(self) -> Local:
        return Local(self.opened(self.root))

    def row(self, local: Local) -> Row:
        steps = ((a, b, self._after(local, a)) for a, b in self._pieces(local))
        return [(a, b, Go(after)) for a, b, after in steps if after]

    @staticmethod
    def _pieces(local: Local) -> list[tuple[int, int]]:
        """Ranges of bytes that do the same; below 0x80 every byte is a character."""
        if local.position:
            return [(b, b) for b in range(0x80, 0xC0)]
        bounds = {x for s in local.stacks if s for lo, hi in _set(s) for x in (lo, hi + 1)}
        cuts = sorted({0, 0x80} | {x for x in bounds if x < 0x80})
        ascii_ = [(a, b - 1) for a, b in pairwise(cuts)]
        beyond = range(0xC2, 0xF5) if any(x > 0x80 for x in bounds) else ()
        return [*ascii_, *((b, b) for b in beyond)]

    def _after(self, local: Local, byte: int) -> Local | None:
        if not local.position and byte < 0x80:
            return self._read(local, byte)
        match read(local.position, byte):
            case Char(c):
                return self._read(local, c)
            case None:
                return None
            case part:
                alive = frozenset(
                    s for s in local.stacks if s and cs.intersect(_set(s), part.ranges)
                )
                return Local(alive, part.position) if alive else None

    def _read(self, local: Local, code_point: int) -> Local | None:
        rests = (s.rest for s in local.stacks if s and cs.contains(_set(s), code_point))
        after: frozenset[Stack | None] = frozenset().union(*map(self.opened, rests))
        if len(after) > MAX_STACKS:
            raise UnsupportedError("a grammar this ambiguous; factor out common beginnings")
        return Local(after) if after else None

    def resume(self, frame: object, result: object, text: bytes | None) -> None:
        return None

    def result(self, local: Local) -> bool | None:
        return True if None in local.stacks and not local.position else None

    def is_open(self, local: Local, reach: int) -> bool:
        return False

    def alike(self, local: Local, reach: int) -> Local:
        return local

    def ways(self, local: Local, frame: object) -> Ways | None:
        """Straight to the end: the stack with the shortest text, character by character known."""
        if None in local.stacks and not local.position:
            return []
        best = min((self._end_of(s, local.position) for s in local.stacks if s), default=None)
        if best is None or best[0] > MAX_TEXT:
            return []
        _, _, stack, begun = best
        text = begun + self.yields.text(_symbols(stack)[1:])
        return [(text, Go(Local(frozenset({None}))))]

    def _end_of(self, stack: Stack, position: Position) -> tuple[int, int, Stack, bytes]:
        """(length, a number that decides between equals, the stack, the end of its first)."""
        allowed, left = _set(stack), None
        if position:
            allowed, left = cs.intersect(allowed, ranges_of(position)), int(position[2])
        begun = chr(allowed[0][0]).encode()
        begun = begun if left is None else begun[-left:]
        return len(begun) + self._length(stack.rest), stack.id, stack, begun

    def _length(self, stack: Stack | None) -> int:
        todo = [stack]
        while (top := todo[-1]) is not None and top not in self._lengths:
            todo.append(top.rest)
        for top in reversed(todo):
            if top is not None and top not in self._lengths:
                below = self._lengths[top.rest] if top.rest else 0
                self._lengths[top] = self.yields.length(top.symbol) + below
        return self._lengths[stack] if stack else 0

    @cached_property
    def yields(self) -> Yields:
        return Yields(self.rules)


def _symbols(stack: Stack | None) -> list[Symbol]:
    out: list[Symbol] = []
    while stack is not None:
        out.append(stack.symbol)
        stack = stack.rest
    return out


def _set(stack: Stack) -> CharSet:
    assert not isinstance(stack.symbol, str)
    return stack.symbol


def _check_names(rules: Rules, root: str) -> None:
    used = [x for options in rules.values() for s in options for x in s if isinstance(x, str)]
    for name in (root, *used):
        if name not in rules:
            raise InputError(f"the grammar has no rule {name!r}")


def _can(symbol: Symbol, productive: set[str]) -> bool:
    return symbol in productive if isinstance(symbol, str) else bool(symbol)


def _productive(rules: Rules) -> set[str]:
    """The rules that some finite text matches: a least fixed point."""
    found: set[str] = set()
    while more := {
        name
        for name, options in rules.items()
        if name not in found and any(all(_can(x, found) for x in s) for s in options)
    }:
        found |= more
    return found


def _nullable(rules: Rules) -> set[str]:
    found: set[str] = set()
    while more := {
        name
        for name, options in rules.items()
        if name not in found and any(all(x in found for x in s) for s in options)
    }:
        found |= more
    return found


def _check_left_recursion(rules: Rules) -> None:
    nullable = _nullable(rules)
    first: dict[str, list[str]] = {}
    for name, options in rules.items():
        first[name] = []
        for option in options:
            for symbol in option:
                if isinstance(symbol, str):
                    first[name].append(symbol)
                if symbol not in nullable:
                    break
    for name in rules:
        seen: dict[str, None] = {}
        for n in (todo := list(first[name])):
            if n not in seen:
                seen[n] = None
                todo += first[n]
        if name in seen:
            raise UnsupportedError(f"left recursion in the rule {name!r}; write it as a repetition")
