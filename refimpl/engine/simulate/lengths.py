"""Where the lengths of prompts and answers come from.

The vLLM paper drew them from ShareGPT and Alpaca and publishes their means (figure 11): 161 and 338
tokens, 19 and 58.  Those data sets are not ours to ship, so `SHAREGPT` and `ALPACA` draw from
log-normal laws with those means, clipped at the model's 2048 tokens; a trace brings lengths of its
own (columns ContextTokens and GeneratedTokens, as in the Azure LLM inference traces).

>>> rng = Random(0)
>>> prompts, answers = zip(*(SHAREGPT(rng) for _ in range(4000)))
>>> round(sum(prompts) / 4000, -1), round(sum(answers) / 4000, -1)
(160.0, 340.0)
"""

import csv
from collections.abc import Callable
from math import exp, log
from pathlib import Path
from random import Random

from refimpl.errors import FormatError

Lengths = Callable[[Random], tuple[int, int]]
"""A prompt's length and its answer's."""

CONTEXT = 2048


def log_normal(mean: float, spread: float) -> Callable[[Random], int]:
    """Whole numbers from 1 with this mean; `spread` is the standard deviation of the logarithm."""
    centre = log(mean) - spread**2 / 2
    return lambda rng: max(1, round(exp(rng.gauss(centre, spread))))


def drawn(prompt_mean: float, answer_mean: float, *, spread: float = 0.9) -> Lengths:
    prompt, answer = log_normal(prompt_mean, spread), log_normal(answer_mean, spread)

    def lengths(rng: Random) -> tuple[int, int]:
        n_prompt = min(prompt(rng), CONTEXT - 1)
        return n_prompt, min(answer(rng), CONTEXT - n_prompt)

    return lengths


SHAREGPT = drawn(161.31, 348.0)  # clipping takes the mean back to the paper's 337.99
ALPACA = drawn(19.31, 58.45)


def from_trace(path: Path) -> Lengths:
    """Pairs from a trace, each as likely as it is frequent there."""
    with path.open(newline="") as file:
        try:
            pairs = [
                (int(row["ContextTokens"]), int(row["GeneratedTokens"]))
                for row in csv.DictReader(file)
            ]
        except (KeyError, TypeError, ValueError):
            raise FormatError(
                f"{path} is not a trace with columns ContextTokens and GeneratedTokens"
            ) from None
    return lambda rng: rng.choice(pairs)
