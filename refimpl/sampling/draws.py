"""All the tokens of a step, chosen at once: what a backend is asked to do with its logits.

Each draw names its row and carries everything that decides, so draws know nothing of one another,
and one that fails fails alone.

>>> rows = np.log([[0.1, 0.6, 0.3], [0.2, 0.2, 0.6]])
>>> greedy = SamplingParams(temperature=0.0)
>>> [one.token for one in choose(rows, [Draw(row=1, params=greedy), Draw(row=0, params=greedy)])]
[2, 1]
"""

from collections.abc import Sequence, Set
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from refimpl.errors import RefimplError
from refimpl.sampling.choose import Sampled, sample_at
from refimpl.sampling.greedy import greatest, is_greatest
from refimpl.sampling.mask import Mask
from refimpl.sampling.params import SamplingParams


@dataclass(slots=True, kw_only=True, eq=False)
class Draw:
    """One token to be chosen from one row of logits."""

    row: int
    params: SamplingParams
    history: Sequence[int] = ()  # every token before it
    sample: int = 0  # which of n samples of a prompt
    mu: float | None = None  # mirostat's state
    vocab_size: int | None = None  # logits beyond it are padding
    banned: frozenset[int] = frozenset()  # what would end it too early
    mask: Mask | None = None  # what a constraint allows


def choose(
    logits: Float[ndarray, "rows vocab"], draws: Sequence[Draw]
) -> list[Sampled | RefimplError]:
    """A token for each draw, or why there is none."""
    return [attempt(logits, draw) for draw in draws]


def remembers(params: SamplingParams) -> bool:
    """Does a token's law depend on the tokens before it, beyond the logits?

    >>> remembers(SamplingParams(top_p=0.9)), remembers(SamplingParams(presence_penalty=0.5))
    (False, True)
    """
    return params.penalises or bool(params.dry_multiplier or params.mirostat)


def attempt(logits: Float[ndarray, "rows vocab"], draw: Draw) -> Sampled | RefimplError:
    row = without(logits[draw.row, : draw.vocab_size], draw.banned)
    try:
        if is_greatest(draw.params):
            return greatest(row, draw.params, draw.mask)
        return sample_at(
            row, draw.params, draw.history, request=draw.sample, mu=draw.mu, mask=draw.mask
        )
    except RefimplError as error:
        return error


def without(logits: Float[ndarray, " vocab"], banned: Set[int]) -> Float[ndarray, " vocab"]:
    """The logits with some tokens made impossible."""
    if not banned:
        return logits
    out = logits.copy()
    out[sorted(token for token in banned if token < len(out))] = -np.inf
    return out
