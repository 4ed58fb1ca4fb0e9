"""Which of several options is best, given how probable each of their tokens is.

Longer options have smaller probabilities, so raw probabilities favour short ones.  Three ways out,
with SGLang's names and rules:

- `token_length`: the highest mean log-probability of a token.  Late tokens of a long word are
  nearly certain, which favours long ones;
- `greedy`: token by token, only the options with the most probable next one stay.  An option that
  has ended is continued by its mean, to be compared with longer ones;
- `unconditional`: the mean of what the text before it adds to each token's log-probability, over
  the option by itself (Brown et al. 2020, section 2.4, normalise so).  The first token by itself
  has no log-probability; it counts as 0.

Ties go to the option that comes first.

Source: SGLang's `python/sglang/lang/choices.py`; its test's figures are in tests/unit/lang.

>>> organ = OptionScore.of([-0.1])
>>> organism = OptionScore.of([-0.1, -0.3], unconditional=[None, -1.4])
>>> organ.mean, round(organism.mean, 3)
(-0.1, -0.2)
>>> token_length([organ, organism]).index, greedy([organ, organism]).index
(0, 0)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from refimpl.errors import InputError

Method = Literal["token_length", "greedy", "unconditional"]


@dataclass(frozen=True, kw_only=True)
class OptionScore:
    """The log-probabilities of an option's tokens: after the text, and by itself."""

    logprobs: tuple[float, ...]
    mean: float
    unconditional: tuple[float | None, ...] | None = None

    @classmethod
    def of(
        cls, logprobs: Sequence[float], *, unconditional: Sequence[float | None] | None = None
    ) -> "OptionScore":
        return cls(
            logprobs=tuple(logprobs),
            mean=mean(logprobs),
            unconditional=None if unconditional is None else tuple(unconditional),
        )


@dataclass(frozen=True, kw_only=True)
class Decision:
    """The best option, and what was compared: a number each, or (greedy) a row of them."""

    index: int
    scores: tuple[float, ...]
    rows: tuple[tuple[float, ...], ...] = ()


def token_length(options: Sequence[OptionScore]) -> Decision:
    scores = tuple(option.mean for option in options)
    return Decision(index=first_largest(scores), scores=scores)


def greedy(options: Sequence[OptionScore]) -> Decision:
    longest = max(len(option.logprobs) for option in options)
    rows = tuple(continued(option.logprobs, longest) for option in options)
    left = list(range(len(options)))
    for j in range(longest):
        best = max(rows[i][j] for i in left)
        left = [i for i in left if rows[i][j] == best]
    return Decision(index=left[0], scores=tuple(mean(o.logprobs) for o in options), rows=rows)


def continued(logprobs: tuple[float, ...], length: int) -> tuple[float, ...]:
    return logprobs + (mean(logprobs),) * (length - len(logprobs))


def unconditional(options: Sequence[OptionScore]) -> Decision:
    scores = tuple(mean(gains(option)) for option in options)
    return Decision(index=first_largest(scores), scores=scores)


def gains(option: OptionScore) -> list[float]:
    """What the text before adds to each token."""
    alone = option.unconditional
    if alone is None or len(alone) != len(option.logprobs):
        raise InputError("an option needs the log-probability of each of its tokens by itself, too")
    return [
        after - (by_itself or 0.0) for after, by_itself in zip(option.logprobs, alone, strict=True)
    ]


METHODS: dict[str, Callable[[Sequence[OptionScore]], Decision]] = {
    "token_length": token_length,
    "greedy": greedy,
    "unconditional": unconditional,
}


def decide(method: str, options: Sequence[OptionScore]) -> Decision:
    if method not in METHODS:
        raise InputError(f"no method {method!r} to select by: use one of {', '.join(METHODS)}")
    return METHODS[method](options)


def first_largest(values: Sequence[float]) -> int:
    return max(range(len(values)), key=values.__getitem__)


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
