"""The order in which programs are served: longest cached prefix first, and nobody computes beside
another what he could find in the cache a step later.

The branches of a fork arrive together.  They share a beginning that no cache has yet, and an engine
that admits all of them computes it once for each.  So of those that share more with one another
than with the cache, only the first is admitted; in the next step the others find what it computed.
That costs them one step and saves all of the beginning but the first time.

SGLang's scheduler moves such requests to the end of the queue, which helps while the budget of a
step keeps them out of it (`refimpl.engine.policies.LongestPrefix`); here they wait for one step.

Whoever stands first in the order is never held back, so somebody is always admitted.  Without a
prefix cache there is nothing to wait for, and this is not the policy to use.
"""

from collections.abc import Collection, Iterable
from itertools import count

from refimpl.engine.policies import LongestPrefix
from refimpl.engine.request import Request
from refimpl.kv.radix import RadixTree


class Patience(LongestPrefix):
    """Longest prefix first; hold back who would gain at least `least` tokens by waiting.

    With more than `fallback` waiting, only the first `fallback` of them are looked at.
    """

    def __init__(self, *, least: int = 4, fallback: int = 128) -> None:
        super().__init__(fallback=fallback)
        self.least = least

    def order(self, waiting: Collection[Request]) -> Iterable[Request]:
        first = list(waiting)[: self.fallback]
        cached = {request.id: request.lease.match().n_tokens for request in first}
        first.sort(key=lambda request: -cached[request.id])
        return [r for r in first if r.id not in self.held(first, cached)]

    def held(self, queue: list[Request], cached: dict[str, int]) -> dict[str, None]:
        """Those who would compute what somebody before them in the queue is about to compute."""
        tree, pages = RadixTree(page_size=1), count()
        held: dict[str, None] = {}
        for request in queue:
            tokens, page = request.tokens[:-1], request.lease.memory.pool.block_size
            shared = tree.match(tokens, request.extra).n_tokens // page * page
            if shared - cached[request.id] >= self.least:
                held[request.id] = None
            else:
                tree.insert(tokens, [next(pages) for _ in tokens], request.extra)
        return held
