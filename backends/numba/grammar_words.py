"""Sorted words as a trie of characters: names of members, and strings that are one of a list."""

import numpy as np
from jaxtyping import Int32
from numpy import ndarray

from backends.numba.compile import jit_masks_cached
from backends.numba.grammar_arrays import Growing
from backends.numba.grammar_layout import TRIE_COLUMNS


class WordTries:
    """Tries one after the other; their nodes have numbers before they are built."""

    def __init__(self) -> None:
        self.size, self.made = 0, 0
        self.words: list[tuple[str, ...]] = []
        self.ids: dict[tuple[str, ...], int] = {}
        self.table = Growing(TRIE_COLUMNS)

    def root(self, words: tuple[str, ...]) -> int:
        """The root of a trie of sorted words."""
        if words not in self.ids:
            self.ids[words] = self.size
            self.words.append(words)
            self.size += 1 + _count_nodes(words)
        return self.ids[words]

    def array(self) -> Int32[ndarray, "nodes 6"]:
        """The nodes of all tries so far."""
        if self.made < len(self.words):
            new = self.words[self.made :]
            joined = "".join(w for words in new for w in words)
            text = np.frombuffer(joined.encode("utf-32-le") or bytes(4), np.uint32)
            lengths = np.array([len(w) for words in new for w in words] or [0], np.int32)
            counts = np.array([len(words) for words in new], np.int32)
            begin = self.table.more(self.size - self.table.size)
            fill_tries(text, lengths, counts, self.table.array, begin)
            self.made = len(self.words)
        return self.table.array


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


@jit_masks_cached
def fill_tries(text: ndarray, lengths: ndarray, counts: ndarray, out: ndarray, n: int) -> None:
    """Tries in depth-first order, one after the other: (point, skip, name, lo, hi), from n on."""
    word, start = 0, 0
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
