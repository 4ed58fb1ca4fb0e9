"""Who is admitted next: one small class per policy.

A policy puts the waiting requests in order; the scheduler admits from the front until one does not
fit.  `order` is one *pass*.  A policy may keep counts (of passes, of tokens) and is told what it
needs for them: who joins and leaves the queue, and what is computed.  Nothing here reads a clock.

Cache-aware policies ask each request's lease how much of it is cached.  They prefer long matches,
because serving those first computes less; the price is that a request that matches nothing can wait
for ever behind a stream of those that do.  `Ageing` bounds that wait.

Ties go to whoever stands first in the queue: preempted requests, then the order of arrival.

Sources: vLLM's request queue for `Fcfs` and `Priority`; SGLang's `schedule_policy.py` for
`LongestPrefix`, `DfsWeight` and `HighestResponseRatio`; Sheng et al., Fairness in Serving Large
Language Models (OSDI 2024), algorithm 2, for `VirtualTokens`.
"""

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from itertools import count

from refimpl.engine.request import Request
from refimpl.errors import InputError
from refimpl.kv.radix import Node, RadixTree
from refimpl.kv.tree import RadixHit


class Policy:
    """The queue's own order, and hooks that do nothing."""

    def order(self, waiting: Collection[Request]) -> Iterable[Request]:
        """One pass over the queue."""
        return waiting

    def joined(self, request: Request) -> None:
        """The request stands in the queue now."""

    def left(self, request: Request) -> None:
        """It was admitted, or aborted."""

    def served(self, request: Request, n_tokens: int) -> None:
        """So many of its tokens were scheduled to be computed."""


class Fcfs(Policy):
    """First come, first served.  The queue is in that order already, so a pass costs nothing."""


class Priority(Policy):
    """The lowest number first (vLLM); among equals, first come, first served.

    The queue is kept in order as it changes, so a pass costs what it looks at.
    """

    def __init__(self) -> None:
        self.queue: list[Request] = []

    def order(self, waiting: Collection[Request]) -> Iterable[Request]:
        yield from self.queue

    def key(self, request: Request) -> tuple[int, int, int]:
        """(Samples of one prompt came together.)"""
        return request.priority, request.arrival, request.sample

    def joined(self, request: Request) -> None:
        insort(self.queue, request, key=self.key)

    def left(self, request: Request) -> None:
        del self.queue[bisect_left(self.queue, self.key(request), key=self.key)]


class Ageing(Policy):
    """Longest cached prefix first, and every pass a request waits counts as `n_tokens` of it."""

    def __init__(self, *, n_tokens: int = 64) -> None:
        self.n_tokens = n_tokens
        self.n_passes = 0
        self.joined_at: dict[str, int] = {}

    def order(self, waiting: Collection[Request]) -> Iterable[Request]:
        ordered = sorted(waiting, key=self.key)
        self.n_passes += 1
        return ordered

    def key(self, request: Request) -> int:
        age = self.n_passes - self.joined_at[request.id]
        return -(request.lease.match().n_tokens + self.n_tokens * age)

    def joined(self, request: Request) -> None:
        self.joined_at[request.id] = self.n_passes

    def left(self, request: Request) -> None:
        del self.joined_at[request.id]


class LongestPrefix(Policy):
    """The longest cached prefix first, with two refinements of SGLang's.

    Of several requests that match little of the cache (at most `check` tokens) but much of one
    another (at least `deprioritise`), only the first keeps its place.  The others go last, so that
    they hit what the first leaves behind instead of computing it beside it.

    With more than `fallback` waiting, matching them all costs more than it gains: first come,
    first served.
    """

    def __init__(self, *, check: int = 32, deprioritise: int = 32, fallback: int = 128) -> None:
        self.check = check
        self.deprioritise = deprioritise
        self.fallback = fallback

    def order(self, waiting: Collection[Request]) -> Iterable[Request]:
        if len(waiting) > self.fallback:
            return waiting
        matched = {request.id: request.lease.match().n_tokens for request in waiting}
        later = self.repeats(waiting, matched)
        return sorted(waiting, key=lambda r: (r.id in later, self.key(r, matched[r.id])))

    def key(self, request: Request, n_matched: int) -> float:
        """The smallest goes first."""
        return float(-n_matched)

    def repeats(self, waiting: Collection[Request], matched: dict[str, int]) -> dict[str, None]:
        """Those that start like an earlier request of this queue, in a tree of their own.

        Only their first `deprioritise` tokens are looked at: as many as decide.
        """
        queue, pages = RadixTree(page_size=1), count()
        found: dict[str, None] = {}
        for request in waiting:
            if matched[request.id] > self.check:
                continue
            tokens = request.tokens[: min(self.deprioritise, len(request.tokens) - 1)]
            if queue.match(tokens, request.extra).n_tokens >= self.deprioritise:
                found[request.id] = None
            else:
                queue.insert(tokens, [next(pages) for _ in tokens], request.extra)
        return found


class HighestResponseRatio(LongestPrefix):
    """The longest wait in proportion to the work first, both in tokens (SGLang's hrrn).

    Waited: tokens computed since the request came.  Work: its tokens that are not cached.
    """

    def __init__(self, *, check: int = 32, deprioritise: int = 32, fallback: int = 128) -> None:
        super().__init__(check=check, deprioritise=deprioritise, fallback=fallback)
        self.n_served = 0
        self.served_before: dict[str, int] = {}

    def key(self, request: Request, n_matched: int) -> float:
        waited = self.n_served - self.served_before[request.id]
        return -waited / max(1, len(request.tokens) - n_matched)

    def joined(self, request: Request) -> None:
        self.served_before[request.id] = self.n_served

    def left(self, request: Request) -> None:
        del self.served_before[request.id]

    def served(self, request: Request, n_tokens: int) -> None:
        self.n_served += n_tokens


class DfsWeight(Policy):
    """Walk the radix tree depth first, into the child under which most requests wait.

    All requests of a subtree are served together, while what they share is in the cache.
    """

    def order(self, waiting: Collection[Request]) -> Iterable[Request]:
        at: dict[Node, list[tuple[int, Request]]] = {}  # who waits at a node, and how far inside
        weight: Counter[Node] = Counter()  # how many wait at a node or below
        for request in waiting:
            hit = request.lease.match()
            if not isinstance(hit, RadixHit):
                raise InputError("the policy dfs-weight walks a radix tree: use the radix cache")
            at.setdefault(hit.match.node, []).append((-hit.match.inside, request))
            for node in up_to_root(hit.match.node):
                weight[node] += 1
        roots = [node for node in weight if node.parent is None]
        for node in post_order(roots, weight):
            yield from (r for _, r in sorted(at.get(node, []), key=lambda pair: pair[0]))


def up_to_root(node: Node | None) -> Iterator[Node]:
    while node is not None:
        yield node
        node = node.parent


def post_order(roots: list[Node], weight: Counter[Node]) -> Iterator[Node]:
    """Children before their parent, the heaviest child first; nodes without weight are left out."""
    todo = [(node, False) for node in sorted(roots, key=lambda n: weight[n])]
    while todo:
        node, seen = todo.pop()
        if seen:
            yield node
            continue
        children = [child for child in node.children.values() if weight[child]]
        todo.append((node, True))
        todo += [(child, False) for child in sorted(children, key=lambda n: weight[n])]


class VirtualTokens(Policy):
    """The client who has been served least goes first, counted in weighted tokens.

    A client who was away is not owed for the time: on return its count is raised to the lowest of
    those who wait (or of the last who left, if nobody does).
    """

    def __init__(self, *, prompt_weight: int = 1, output_weight: int = 2) -> None:
        self.prompt_weight = prompt_weight
        self.output_weight = output_weight
        self.counts: Counter[str] = Counter()
        self.n_waiting: Counter[str] = Counter()
        self.last_to_leave = ""

    def order(self, waiting: Collection[Request]) -> Iterable[Request]:
        """The next of the least served client, charging each as if it were admitted."""
        queues: dict[str, list[Request]] = {}
        for request in waiting:
            queues.setdefault(request.client, []).append(request)
        heads, charged = dict.fromkeys(queues, 0), Counter(self.counts)
        while heads:
            client = min(heads, key=lambda c: charged[c])
            request = queues[client][heads[client]]
            yield request
            charged[client] += self.prompt_weight * len(request.tokens)
            heads[client] += 1
            if heads[client] == len(queues[client]):
                del heads[client]

    def joined(self, request: Request) -> None:
        if not self.n_waiting[request.client]:
            present = [self.counts[c] for c, n in self.n_waiting.items() if n]
            floor = min(present) if present else self.counts[self.last_to_leave]
            self.counts[request.client] = max(self.counts[request.client], floor)
        self.n_waiting[request.client] += 1

    def left(self, request: Request) -> None:
        self.n_waiting[request.client] -= 1
        self.last_to_leave = request.client

    def served(self, request: Request, n_tokens: int) -> None:
        is_output = request.n_computed - n_tokens >= request.n_prompt
        self.counts[request.client] += n_tokens * (
            self.output_weight if is_output else self.prompt_weight
        )


POLICIES: dict[str, type[Policy]] = {
    "fcfs": Fcfs,
    "priority": Priority,
    "lpm": LongestPrefix,
    "dfs-weight": DfsWeight,
    "ageing": Ageing,
    "hrrn": HighestResponseRatio,
    "vtc": VirtualTokens,
}
