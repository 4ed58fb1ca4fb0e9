"""How many guesses were right.

>>> counts = Statistics()
>>> for n_offered, n_right in ((4, 4), (4, 1), (4, 0), (0, 0)):
...     counts.count(n_offered, n_right)
>>> counts.n_tokens, counts.tokens_per_step, counts.rate
(9, 2.25, 0.7142857142857143)
>>> counts.accepted                             # drafts by how many of their tokens were right
Counter({4: 1, 1: 1, 0: 1})
"""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(kw_only=True)
class Statistics:
    """Counts of one engine."""

    n_steps: int = 0  # steps of one request that drew a token, with a draft or without
    n_offered: int = 0
    n_right: int = 0
    n_wrong: int = 0  # refused; what stands behind the first refused guess is undecided
    accepted: Counter[int] = field(default_factory=Counter)

    def count(self, n_offered: int, n_right: int, *, depth: int | None = None) -> None:
        """One step; `depth` is the length of the draft's longest path, if it is a tree."""
        self.n_steps += 1
        self.n_offered += n_offered
        self.n_right += n_right
        if n_offered:
            self.n_wrong += n_right < (n_offered if depth is None else depth)
            self.accepted[n_right] += 1

    @property
    def n_tokens(self) -> int:
        """One of the model's own a step, and the right guesses."""
        return self.n_steps + self.n_right

    @property
    def tokens_per_step(self) -> float:
        return self.n_tokens / self.n_steps if self.n_steps else 0.0

    @property
    def rate(self) -> float:
        """The part of the decided guesses that were right."""
        n = self.n_right + self.n_wrong
        return self.n_right / n if n else 0.0
