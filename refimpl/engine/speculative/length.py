"""How many tokens to guess, learnt from how many were right.

If each guess is right with probability a, independently, k guesses give

    E(a, k) = 1 + a + a^2 + ... + a^k = (1 - a^(k + 1)) / (1 - a)    tokens a step, at the cost of
    1 + k (d + v)                                                    plain steps,

where d is what a guess costs to make and v what it costs to compute beside the others, in plain
steps.  `Adaptive` chooses the k with the best quotient; none, if none pays.  It takes for a the
right guesses of a request among those decided, all others fading away, so that it follows the text
from a list into a dialogue, and tries again after a while where it had given up.

What was not reached after the first wrong guess decides nothing, so it is not counted.  That every
guess costs the same is a simplification: kernels that compute tokens in tiles make some of them
free.

Source: Leviathan et al. (2023), equation 1 and theorem 3.8, with v = 0.

>>> [round(gain(0.8, k, cost=0.1), 2) for k in (0, 1, 3, 5, 8)]
[1.0, 1.64, 2.27, 2.46, 2.4]
>>> Adaptive(most=8, cost=0.1, start=0.8).best(0.8)
6
>>> Adaptive(most=8, cost=0.6, start=0.8).best(0.3)
0
"""

from typing import Protocol, runtime_checkable

from refimpl.engine.request import Request
from refimpl.engine.speculative.proposer import is_gone
from refimpl.errors import InputError


def expected_tokens(a: float, k: int) -> float:
    """E(a, k), the tokens of a step with k guesses."""
    return float(sum(a**i for i in range(k + 1)))


def gain(a: float, k: int, *, cost: float) -> float:
    """How many times faster than plain steps; `cost` is that of one guess, d + v."""
    return expected_tokens(a, k) / (1 + k * cost)


@runtime_checkable
class Length(Protocol):
    def of(self, request: Request) -> int:
        """How many tokens to guess for it now."""

    def learn(self, request: Request, n_offered: int, n_right: int) -> None:
        """What became of a draft; of none, if n_offered is 0."""

    def forget_the_gone(self) -> None: ...


class Fixed:
    """Always the same."""

    def __init__(self, n: int) -> None:
        if n < 0:
            raise InputError(f"{n} guesses: give 0 (none) or more")
        self.n = n

    def of(self, request: Request) -> int:
        return self.n

    def learn(self, request: Request, n_offered: int, n_right: int) -> None:
        """It does not."""

    def forget_the_gone(self) -> None: ...


class Adaptive:
    """As many as pay, for each request by itself."""

    def __init__(
        self, *, most: int = 8, cost: float = 0.2, start: float = 0.7, fading: float = 0.9
    ) -> None:
        if most < 1 or cost < 0 or not 0 <= start < 1 or not 0 <= fading < 1:
            raise InputError(
                "an adaptive length needs most >= 1, cost >= 0, and start and fading in [0, 1)"
            )
        self.most = most
        self.cost = cost
        self.start = start
        self.fading = fading
        self.seen: dict[Request, tuple[float, float]] = {}  # right and wrong guesses, fading

    def of(self, request: Request) -> int:
        return self.best(self.rate(request))

    def rate(self, request: Request) -> float:
        """The part of guesses that are right, from `start` as if two had been decided before."""
        right, wrong = self.seen.get(request, (0.0, 0.0))
        return (right + 2 * self.start) / (right + wrong + 2)

    def best(self, a: float) -> int:
        return max(range(self.most + 1), key=lambda k: gain(a, k, cost=self.cost))

    def learn(self, request: Request, n_offered: int, n_right: int) -> None:
        right, wrong = (self.fading * n for n in self.seen.get(request, (0.0, 0.0)))
        self.seen[request] = (right + n_right, wrong + (n_right < n_offered))

    def forget_the_gone(self) -> None:
        for request in [request for request in self.seen if is_gone(request)]:
            del self.seen[request]
