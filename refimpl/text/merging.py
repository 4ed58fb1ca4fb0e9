"""Merging: the one algorithm under both byte-pair encoding and SentencePiece.

A word starts as single characters.  Of all neighbouring pairs, merge the cheapest, the leftmost if
several are equally cheap; repeat until no pair may merge.  What a pair costs is the only thing that
differs: BPE looks up the pair's rank in its list of merges (`refimpl.text.bpe`), SentencePiece
looks up the score of the pair's concatenation (`refimpl.text.spm`).

`merge_plain` says it in five lines and takes quadratic time.  `merge` gives the same pieces in
n log n: it keeps the candidates in a heap, and the pieces as positions in the word.

Sources: Sennrich, Haddow & Birch 2016 (arXiv:1508.07909), section 3.2; Kudo & Richardson 2018
(arXiv:1808.06226), section 3.1, for the heap.

>>> ranks = {("h", "u"): 0, ("g", "s"): 1, ("hu", "g"): 2}
>>> merge_plain("hugs", lambda left, right: ranks.get((left, right)))
['hu', 'gs']
>>> merge("hugs", lambda left, right: ranks.get((left, right)))
['hu', 'gs']
"""

from collections.abc import Callable, Iterator
from heapq import heapify, heappop, heappush

Cost = Callable[[str, str], int | float | None]
"""What merging (left, right) costs; None if they may not merge.  Lower goes first."""

DEAD = -1


def merge_plain(word: str, cost: Cost) -> list[str]:
    """The definition: look at every pair again before each merge."""
    pieces = list(word)
    while candidates := [
        (price, i)
        for i in range(len(pieces) - 1)
        if (price := cost(pieces[i], pieces[i + 1])) is not None
    ]:
        _, i = min(candidates)
        pieces[i : i + 2] = [pieces[i] + pieces[i + 1]]
    return pieces


def merge(word: str, cost: Cost) -> list[str]:
    """`merge_plain`, by a heap of candidate pairs.

    A piece is a span of the word: the live piece that starts at a is word[a : stop[a]], the live
    one that ends at c is word[start[c] : c].  A candidate (price, a, b, c) would join word[a:b]
    with word[b:c].  Pieces only grow, so once one of the two has changed, the candidate is stale
    for good.
    """
    n = len(word)
    stop = list(range(1, n + 1))
    start = list(range(-1, n))
    heap = list(_candidates(word, cost, [(a, a + 1, a + 2) for a in range(n - 1)]))
    heapify(heap)
    while heap:
        _, a, b, c = heappop(heap)
        if stop[a] != b or stop[b] != c:
            continue
        stop[a], stop[b], start[c] = c, DEAD, a
        before = [(start[a], a, c)] if a > 0 else []
        after = [(a, c, stop[c])] if c < n else []
        for candidate in _candidates(word, cost, before + after):
            heappush(heap, candidate)
    return list(_spans(word, stop))


def _candidates(
    word: str, cost: Cost, pairs: list[tuple[int, int, int]]
) -> Iterator[tuple[int | float, int, int, int]]:
    """(price, a, b, c) of the pairs that may merge."""
    for a, b, c in pairs:
        price = cost(word[a:b], word[b:c])
        if price is not None:
            yield price, a, b, c


def _spans(word: str, stop: list[int]) -> Iterator[str]:
    a = 0
    while a < len(word):
        yield word[a : stop[a]]
        a = stop[a]
