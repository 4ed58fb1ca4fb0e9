"""How many tokens to guess, learnt from how many were right.

If each guess is right with probability a, independently, k guesses give

    E(a, k) = 1 + a + a^2 + ... + a^k = (1 - a^(k + 1)) / (1 - a)    tokens a step, at the cost of
    1 + k (d + v)                                                    plain steps,

where d is what a guess costs to make and v what it costs to compute beside the others, in plain
steps, if every guess costs the same.  It does not: kernels compute tokens in tiles, so the eighth
may be free and the ninth as dear as eight.  `Adaptive` is told what a step of each length costs and
chooses the k with the best quotient; none, if none pays.  It takes for a the right guesses of a
request among those decided, all others fading away, so that it follows the text from a list into a
dialogue, and tries again after a while where it had given up.  It begins with hope: a wrong guess
costs a step or two, and one that was never made may have been right all along.

What was not reached after the first wrong guess decides nothing, so it is not counted.

Source: Leviathan et al. (2023), equation 1 and theorem 3.8, with v = 0.

>>> costs = even_costs(8, 0.1)
>>> [round(gain(0.8, k, costs), 2) for k in (0, 1, 3, 5, 8)]
[1.0, 1.64, 2.27, 2.46, 2.4]
>>> Adaptive(costs, start=0.8).best(0.8), Adaptive(even_costs(8, 0.6)).best(0.3)
(6, 0)
>>> in_tiles_of_four = [1.0, 1.3, 1.35, 1.4, 2.4, 2.5, 2.55, 2.6]
>>> [Adaptive(in_tiles_of_four).best(a) for a in (0.2, 0.5, 0.97)]
[0, 3, 7]
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from refimpl.engine.request import Request
from refimpl.engine.speculative.proposer import is_gone
from refimpl.errors import InputError


def expected_tokens(a: float, k: int) -> float:
    """E(a, k), the tokens of a step with k guesses."""
    return float(sum(a**i for i in range(k + 1)))


def gain(a: float, k: int, costs: Sequence[float]) -> float:
    """How many times faster than plain steps; `costs[k]` is a step with k guesses, in those."""
    return expected_tokens(a, k) / costs[k]


def even_costs(most: int, each: float) -> tuple[float, ...]:
    """Where every guess costs the same.

    >>> even_costs(3, 0.5)
    (1.0, 1.5, 2.0, 2.5)
    """
    return tuple(1 + k * each for k in range(most + 1))


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

    def __init__(self, costs: Sequence[float], *, start: float = 0.9, fading: float = 0.9) -> None:
        if (
            len(costs) < 2
            or not all(c > 0 for c in costs)
            or not 0 <= start < 1
            or not 0 <= fading < 1
        ):
            raise InputError(
                "an adaptive length needs costs above 0 of a step without guesses and of one with "
                "1, 2, ... guesses, and start and fading in [0, 1)"
            )
        self.costs = tuple(costs)
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
        return max(range(len(self.costs)), key=lambda k: gain(a, k, self.costs))

    def learn(self, request: Request, n_offered: int, n_right: int) -> None:
        right, wrong = (self.fading * n for n in self.seen.get(request, (0.0, 0.0)))
        self.seen[request] = (right + n_right, wrong + (n_right < n_offered))

    def forget_the_gone(self) -> None:
        for request in [request for request in self.seen if is_gone(request)]:
            del self.seen[request]
