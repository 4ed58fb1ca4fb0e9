"""The shortest text of each rule of a grammar, and of a stack of symbols.

The length of a rule is that of its shortest option, and an option is the sum of its symbols.
Knuth's generalisation of Dijkstra's algorithm (1977) settles the rules in the order of their
lengths: an option counts once all its symbols are settled.

>>> from refimpl.grammar import charset as cs
>>> yields = Yields({"list": (("item", "list"), ("item",)), "item": ((cs.of("xy"), cs.of("é")),)})
>>> yields.length("list"), yields.text(["list", cs.of(";")]).decode()
(3, 'xé;')
"""

import heapq
from collections.abc import Mapping, Sequence

from refimpl.grammar.charset import CharSet

Symbol = str | CharSet
Option = tuple[Symbol, ...]


class Yields:
    """Of rules that can all produce a text."""

    def __init__(self, rules: Mapping[str, tuple[Option, ...]]):
        self._lengths: dict[str, int] = {}
        self._options: dict[str, Option] = {}
        users: dict[str, list[tuple[str, Option]]] = {}
        missing: dict[tuple[str, Option], int] = {}
        queue: list[tuple[int, str, int]] = []
        options: list[Option] = []

        def ready(name: str, option: Option) -> None:
            heapq.heappush(queue, (sum(map(self.length, option)), name, len(options)))
            options.append(option)

        for name, all_options in rules.items():
            for option in dict.fromkeys(all_options):
                called = dict.fromkeys(s for s in option if isinstance(s, str))
                missing[name, option] = len(called)
                for symbol in called:
                    users.setdefault(symbol, []).append((name, option))
                if not called:
                    ready(name, option)
        while queue:
            length, name, i = heapq.heappop(queue)
            if name in self._lengths:
                continue
            self._lengths[name], self._options[name] = length, options[i]
            for user in users.get(name, ()):
                missing[user] -= 1
                if not missing[user]:
                    ready(*user)

    def length(self, symbol: Symbol) -> int:
        """In bytes; of all characters the first in Unicode has the fewest."""
        return self._lengths[symbol] if isinstance(symbol, str) else len(_first(symbol))

    def text(self, symbols: Sequence[Symbol]) -> bytes:
        out, todo = bytearray(), list(reversed(symbols))
        while todo:
            symbol = todo.pop()
            if isinstance(symbol, str):
                todo += reversed(self._options[symbol])
            else:
                out += _first(symbol)
        return bytes(out)


def _first(s: CharSet) -> bytes:
    return chr(s[0][0]).encode()
