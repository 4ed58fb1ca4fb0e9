"""Which tokens of a draft the model would have said itself: the test that speculation rests on.

A *draft* is a guess at the next tokens, as a chain or as a tree:

    known tokens        ... a b c            node   0  1  2  3  4
    draft                   |                token  d  e  f  x  y
                            d - e - f        parent -1 0  1  0  -1
                            |   x
                            y

The model computes all of it at once, and so knows its own law after `c` and after every node.
*Accepted* are the nodes along one path from the root; the token that follows the last of them is
the model's own: *recovered* if a guess stood there and was refused, *bonus* if none did.  So a step
gives one token at least, whatever the draft.  Two ways to decide:

- A guess is compared (`follow`).  The model draws its next token as it always does, with the number
  that belongs to the position, and the node with that token, if there is one, is accepted.  Nothing
  else changes: the text is that of plain decoding in every bit, greedy or not (llama.cpp).
- A node that was *drawn*, from a law q of which the draft is honest, is accepted with probability
  min(1, p / q), where p is the model's law; after a refusal p becomes the *residual*, max(p - q, 0)
  made a law again, and the next sibling is tried (`judge`).  The text has the model's law, not its
  bits, and more is accepted: sum min(p, q) against sum p q for independent draws.  (Leviathan et
  al., Fast Inference from Transformers via Speculative Decoding, ICML 2023, theorem 3.5; Chen et
  al. 2023; for siblings Miao et al., SpecInfer, ASPLOS 2024, algorithm 2.)

For a guess, which has no law, nothing is lost by comparing: q is 1 there, and p / q is p.

Chance.  Every number is `uniform(seed, sample, position, stream)`, the position that of the token
it decides:

    stream 0            the model's own draw: compared with, or a bonus
    stream 1            XTC's coin
    stream 2            recovered: the draw from the residual
    stream 16 + 2c      is the c-th sibling accepted?
    stream 17 + 2c      the draft's own draw of its c-th sibling

A position is decided once, by numbers nobody used before to decide anything: that a draft was made
for it earlier, and thrown away with its parent, has told nothing about them.  Hence one rule for
whoever drafts: how long a draft is and how it branches may depend on the text, never on what was
drawn.

>>> draft = Draft(tokens=(3, 4, 5, 8, 9), parents=(-1, 0, 1, 0, -1))
>>> follow(draft, [3, 8, 0, 0, 7, 0])       # 3 is right; then 8, a leaf, after which comes 7
[0, 3]
>>> judge(np.array([0.2, 0.8]), [(0, np.array([0.5, 0.5]))], [0.39], recover=0.0)
(0, 0)
>>> judge(np.array([0.2, 0.8]), [(0, np.array([0.5, 0.5]))], [0.41], recover=0.0)
(None, 1)
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from refimpl.errors import InputError
from refimpl.sampling.probability import Probabilities

RESIDUAL_STREAM = 2


def accept_stream(sibling: int) -> int:
    """The stream that decides whether a sibling is accepted."""
    return 16 + 2 * sibling


def draft_stream(sibling: int) -> int:
    """The stream from which a draft draws a sibling."""
    return 17 + 2 * sibling


@dataclass(frozen=True, kw_only=True, eq=False)
class Draft:
    """Guessed tokens.  `parents` number what each follows, -1 the last known token; None: a chain.

    `laws` are those the tokens were drawn from; None, if they were not drawn but chosen.
    """

    tokens: tuple[int, ...]
    parents: tuple[int, ...] | None = None
    laws: tuple[Probabilities, ...] | None = None

    def __post_init__(self) -> None:
        parents = self.parents
        if parents is not None and not (
            len(parents) == len(self.tokens) and all(-1 <= p < i for i, p in enumerate(parents))
        ):
            raise InputError("a draft names for each token one that stands before it")
        if self.laws is not None and len(self.laws) != len(self.tokens):
            raise InputError("a draft that was drawn has a law for each token")

    def __len__(self) -> int:
        return len(self.tokens)

    def parent(self, node: int) -> int:
        return node - 1 if self.parents is None else self.parents[node]

    def path(self, node: int) -> list[int]:
        """The nodes from the root to this one."""
        if self.parents is None:
            return [*range(node + 1)]
        nodes = []
        while node >= 0:
            nodes.append(node)
            node = self.parent(node)
        return nodes[::-1]

    def children(self, node: int) -> list[int]:
        if self.parents is None:
            return [*range(node + 1, len(self))[:1]]
        return [i for i in range(node + 1, len(self)) if self.parent(i) == node]

    def first(self, n: int) -> "Draft":
        """Its first n nodes: a tree too, since parents stand before their children."""
        return Draft(
            tokens=self.tokens[:n],
            parents=self.parents and self.parents[:n],
            laws=self.laws and self.laws[:n],
        )

    @property
    def depth(self) -> int:
        """The length of its longest path: how many tokens could be right."""
        if self.parents is None:
            return len(self)
        return max((len(self.path(node)) for node in range(len(self))), default=0)

    @property
    def trunk(self) -> "Draft":
        """The chain it begins with."""
        n = next((i for i in range(len(self)) if self.parent(i) != i - 1), len(self))
        return Draft(tokens=self.tokens[:n], laws=self.laws and self.laws[:n])

    def n_in_place(self, path: Sequence[int]) -> int:
        """How many nodes of a path lie where the tokens of a plain text would: in their order."""
        return next((i for i, node in enumerate(path) if i != node), len(path))


def follow(draft: Draft, chosen: Sequence[int]) -> list[int]:
    """The path of the model's own choices: chosen[0] at the root, chosen[1 + i] after node i."""
    path: list[int] = []
    node = child_with(draft, -1, chosen[0])
    while node is not None:
        path.append(node)
        node = child_with(draft, node, chosen[1 + node])
    return path


def child_with(draft: Draft, node: int, token: int) -> int | None:
    """The first child of a node that has this token."""
    return next((i for i in draft.children(node) if draft.tokens[i] == token), None)


def judge(
    p: Probabilities,
    siblings: Sequence[tuple[int, Probabilities]],
    accept: Sequence[float],
    *,
    recover: float,
) -> tuple[int | None, int]:
    """Which of some drawn tokens, each with its law, is accepted, if any; and the token that comes.

    The token has law p, whatever the siblings' laws, if each was drawn from its own.
    """
    for i, ((token, q), chance) in enumerate(zip(siblings, accept, strict=True)):
        if chance * q[token] < p[token]:
            return i, token
        p = residual(p, q)
    return None, pick_from(p, recover)


def residual(p: Probabilities, q: Probabilities) -> Probabilities:
    """max(p - q, 0), made a law again: what p has and q does not cover.

    >>> residual(np.array([0.2, 0.5, 0.3]), np.array([0.6, 0.3, 0.1])).round(3).tolist()
    [0.0, 0.5, 0.5]
    """
    left = np.maximum(p - q, 0.0)
    total = float(left.sum())
    return left / total if total > 0 else p  # p = q: a refusal was rounding


def pick_from(law: Probabilities, uniform: float) -> int:
    """The inverse of the distribution function, as `refimpl.sampling.probability.pick`."""
    running = np.cumsum(law)
    return int(np.searchsorted(running, uniform * running[-1], side="right"))
