"""Choosing tokens in compiled code, for the settings that most requests have.

Temperature, top_k, top_p, min_p, a mask: one pass finds the maximum, one the weights exp(x - max),
in float64 as the definition has it (`refimpl.sampling`).  The filters that need an order sort only
tokens that are within e^-40 of the most probable one; the others cannot be told from zero by any
sum they are part of.  Whatever else a request asks for, the definition chooses.

>>> row, everything = np.float32([1, 3, 2]), np.zeros(0, np.uint32)
>>> token, logprob, drawn = pick(row, everything, 0.0, 0, 1.0, 0.0, 0.5)
>>> token, round(logprob, 4), drawn
(1, -0.4076, 0.0)
"""

from collections.abc import Sequence

import numpy as np
from numpy import ndarray

from backends.numba.compile import jit_cached
from refimpl.errors import RefimplError
from refimpl.sampling import Draw, Sampled, uniform
from refimpl.sampling.draws import attempt, without
from refimpl.sampling.params import SamplingParams

NEGLIGIBLE = -40.0
EVERYTHING = np.zeros(0, np.uint32)


@jit_cached
def front(weights: ndarray, k: int, p: float) -> ndarray:
    """The largest weights' places, largest first: at least k of them, or mass p.

    Few tokens nearly always suffice, so a sort of few is tried before a sort of many.
    """
    mass = weights.sum()
    for line in (-4.0, -8.0, -16.0, NEGLIGIBLE):
        kept = np.flatnonzero(weights > np.exp(line))
        if kept.size >= k if k else weights[kept].sum() >= p * mass:
            break
    return kept[np.argsort(-weights[kept], kind="mergesort")]  # ties: the lowest id first


@jit_cached
def pick(
    row: ndarray, mask: ndarray, t: float, k: int, p: float, least: float, chance: float
) -> tuple[int, float, float]:
    """The token and its log-probabilities, the model's and after the filters; -1: no law."""
    n = row.size
    peak, highest, best = -np.inf, -np.inf, -1
    for i in range(n):
        x = np.float64(row[i])
        if x != x:
            return -1, 0.0, 0.0
        peak = max(peak, x)
        if x > highest and (mask.size == 0 or mask[i >> 5] >> np.uint32(i & 31) & np.uint32(1)):
            highest, best = x, i
    if best < 0 or peak == np.inf:
        return -1, 0.0, 0.0
    total = 0.0
    for i in range(n):
        total += np.exp(np.float64(row[i]) - peak)
    if t == 0.0:
        return best, np.float64(row[best]) - peak - np.log(total), 0.0
    weights = np.zeros(n)
    for i in range(n):
        x = (np.float64(row[i]) - highest) / t
        if mask.size == 0 or mask[i >> 5] >> np.uint32(i & 31) & np.uint32(1):
            weights[i] = np.exp(x)
    if k or p < 1.0:
        kept = front(weights, k, p)
        if k:
            kept = kept[:k]
        if p < 1.0:
            mass = weights[kept].sum() if k else weights.sum()
            running, m = 0.0, 0
            while m < kept.size and running < p * mass:
                running += weights[kept[m]]
                m += 1
            kept = kept[:m]
        cut = np.zeros(n)
        cut[kept] = weights[kept]
        weights = cut
    mass = 0.0
    for i in range(n):
        if weights[i] < least:
            weights[i] = 0.0
        mass += weights[i]
    goal, running, token = chance * mass, 0.0, best
    for i in range(n):
        running += weights[i]
        if running > goal:
            token = i
            break
    x = np.float64(row[token])
    return token, x - peak - np.log(total), (x - highest) / t - np.log(mass)


def choose(logits: ndarray, draws: Sequence[Draw]) -> list[Sampled | RefimplError]:
    return [
        compiled(logits, draw) if is_plain(draw.params) else attempt(logits, draw) for draw in draws
    ]


def is_plain(params: SamplingParams) -> bool:
    """Does it ask for nothing that `pick` does not know?"""
    return (
        params.logprobs is None
        and not params.mirostat
        and not params.logit_bias
        and params.repetition_penalty == 1
        and not params.frequency_penalty
        and not params.presence_penalty
        and not params.dry_multiplier
        and not params.xtc_probability
        and params.top_n_sigma <= 0
        and params.typical_p >= 1
    )


def compiled(logits: ndarray, draw: Draw) -> Sampled | RefimplError:
    p = draw.params
    row = without(logits[draw.row, : draw.vocab_size], draw.banned)
    mask = EVERYTHING if draw.mask is None else draw.mask
    if mask.size and 32 * mask.size < row.size:  # a token beyond the mask is not allowed
        return attempt(logits, draw)
    chance = uniform(p.seed, draw.sample, len(draw.history)) if p.temperature else 0.0
    token, logprob, drawn = pick(
        np.ascontiguousarray(row), mask, float(p.temperature), p.top_k, float(p.top_p),
        float(p.min_p), chance,
    )  # fmt: skip
    if token < 0:
        return attempt(logits, draw)  # which says what is wrong
    return Sampled(token=token, logprob=logprob, drawn_logprob=drawn)
