"""A vocabulary as a tree of bytes, level by level.

Two tokens with a common beginning share the work of reading it.  Each level is three arrays over
its nodes: the parent's index in the level above, the byte, and the token that ends here or -1.
Tokens spelled alike (byte-fallback tokens double ordinary ones) hang together in `twins`.

>>> trie = Trie.of([b"a", b"ab", b"", b"b", b"ab"])
>>> [(level.parent.tolist(), bytes(level.byte), level.token.tolist()) for level in trie.levels]
[([0, 0], b'ab', [0, 3]), ([0], b'b', [1])]
>>> trie.twins.tolist()
[[1, 4]]
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int32, UInt8
from numpy import ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class Level:
    parent: Int32[ndarray, " nodes"]
    byte: UInt8[ndarray, " nodes"]
    token: Int32[ndarray, " nodes"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Trie:
    """`size` tokens; those without bytes (special ones) are never text and are in no level."""

    size: int
    levels: tuple[Level, ...]
    twins: Int32[ndarray, "pairs 2"]
    longest: int

    @classmethod
    def of(cls, tokens: Sequence[bytes]) -> "Trie":
        first: dict[bytes, int] = {}
        twins = []
        for t, b in enumerate(tokens):
            if b and first.setdefault(b, t) != t:
                twins.append((first[b], t))
        words = sorted(first, key=len)
        return cls(
            size=len(tokens),
            levels=tuple(_levels(words, np.array([first[w] for w in words], np.int32))),
            twins=np.array(twins, np.int32).reshape(-1, 2),
            longest=len(words[-1]) if words else 0,
        )


def _levels(words: list[bytes], ids: Int32[ndarray, " words"]) -> list[Level]:
    """Prefixes of length d+1 are pairs (prefix of length d, byte), numbered in sorted order."""
    lengths = np.array([len(w) for w in words], np.int64)
    starts = np.concatenate([[0], np.cumsum(lengths)])[:-1]
    text = np.frombuffer(b"".join(words), np.uint8)
    node = np.zeros(len(words), np.int64)  # of each word, on the level above
    levels = []
    for depth in range(int(lengths[-1]) if words else 0):
        live = lengths > depth
        pairs = node[live] * 256 + text[starts[live] + depth]
        unique, inverse = np.unique(pairs, return_inverse=True)
        node[live] = inverse
        token = np.full(len(unique), -1, np.int32)
        ends = lengths == depth + 1
        token[node[ends]] = ids[ends]
        levels.append(
            Level(
                parent=(unique // 256).astype(np.int32),
                byte=(unique % 256).astype(np.uint8),
                token=token,
            )
        )
    return levels
