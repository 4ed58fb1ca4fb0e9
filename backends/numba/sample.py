"""Choosing tokens in compiled code, for the settings that requests have.

A mask, a bias and penalties come first (`penalise`); then temperature, top_k, top_p and min_p: one
pass finds the maximum, one the weights exp(x - max), in float64 as the definition has it
(`refimpl.sampling`).  The filters that need an order sort only tokens that are within e^-40 of the
most probable one; the others cannot be told from zero by any sum they are part of.  Greedy draws
from rows as they are, the most frequent, are made together.  Whatever else a request asks for, the
definition chooses.

>>> row = np.float32([1, 3, 2])
>>> token, logprob, drawn = pick(row, row, 0.0, 0, 1.0, 0.0, 0.5)
>>> token, round(logprob, 4), drawn
(1, -0.4076, 0.0)
"""

from collections.abc import Iterator, Sequence
from math import isfinite

import numpy as np
from numpy import ndarray

from backends.numba.compile import jit_cached
from backends.numba.penalise import ids, penalised
from refimpl.errors import RefimplError
from refimpl.sampling import Draw, Sampled, uniform
from refimpl.sampling.draws import attempt, without
from refimpl.sampling.greedy import is_greatest
from refimpl.sampling.params import SamplingParams
from refimpl.sampling.penalties import recent

NEGLIGIBLE = -40.0
EVERYTHING = np.zeros(0, np.uint32)
AT_ONCE = 1 << 16  # logits


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
    row: ndarray, allowed: ndarray, t: float, k: int, p: float, least: float, chance: float
) -> tuple[int, float, float]:
    """The token and its log-probabilities, the model's and after the filters; -1: no law.

    `row` are the model's logits, `allowed` what is left of them (float32 or float64).
    """
    n = row.size
    peak, highest, best = -np.inf, -np.inf, -1
    for i in range(n):
        x, y = np.float64(row[i]), np.float64(allowed[i])
        if x != x or y != y:
            return -1, 0.0, 0.0
        peak = max(peak, x)
        if y > highest:
            highest, best = y, i
    if best < 0 or peak == np.inf or highest == np.inf:
        return -1, 0.0, 0.0
    total = 0.0
    for i in range(n):
        total += np.exp(np.float64(row[i]) - peak)
    if t == 0.0:
        return best, np.float64(row[best]) - peak - np.log(total), 0.0
    weights = np.empty(n)
    for i in range(n):
        weights[i] = np.exp((np.float64(allowed[i]) - highest) / t)
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
    x, y = np.float64(row[token]), np.float64(allowed[token])
    return token, x - peak - np.log(total), (y - highest) / t - np.log(mass)


def choose(logits: ndarray, draws: Sequence[Draw]) -> list[Sampled | RefimplError]:
    known = dict(greatest_at_once(logits, draws))
    return [known[i] if i in known else alone(logits, draw) for i, draw in enumerate(draws)]


def alone(logits: ndarray, draw: Draw) -> Sampled | RefimplError:
    return compiled(logits, draw) if is_plain(draw.params) else attempt(logits, draw)


def takes_the_greatest(draw: Draw) -> bool:
    """Is it the greatest logit of a row that nothing changes?"""
    plain = draw.params.logprobs is None and draw.mask is None and not draw.banned
    return plain and is_greatest(draw.params)


def greatest_at_once(logits: ndarray, draws: Sequence[Draw]) -> Iterator[tuple[int, Sampled]]:
    """Greedy draws, by their number, unless their rows are no distributions.

    A draft is verified with a draw after each of its tokens: whole arrays cost less than row by
    row.  A few rows at a time, so that they stay in the processor's cache.
    """
    greedy = [i for i, draw in enumerate(draws) if takes_the_greatest(draw)]
    n_at_once = max(1, AT_ONCE // logits.shape[1])
    for size in dict.fromkeys(draws[i].vocab_size for i in greedy):
        some = [i for i in greedy if draws[i].vocab_size == size]
        for few in (some[i : i + n_at_once] for i in range(0, len(some), n_at_once)):
            rows = logits[[draws[i].row for i in few], :size]
            tokens = rows.argmax(axis=1)  # of equals, the lowest id; of NaN, the first
            peaks = rows[np.arange(len(few)), tokens].astype(np.float64)
            with np.errstate(invalid="ignore"):
                logprobs = -np.log(np.exp(rows - peaks[:, None]).sum(axis=1))
            for i, token, logprob in zip(few, tokens.tolist(), logprobs.tolist(), strict=True):
                if isfinite(logprob):
                    yield i, Sampled(token=token, logprob=logprob, drawn_logprob=0.0)


def is_plain(params: SamplingParams) -> bool:
    """Does it ask for nothing that is not compiled?"""
    return (
        params.logprobs is None
        and not params.mirostat
        and not params.dry_multiplier
        and not params.xtc_probability
        and params.top_n_sigma <= 0
        and params.typical_p >= 1
    )


def compiled(logits: ndarray, draw: Draw) -> Sampled | RefimplError:
    p = draw.params
    row = np.ascontiguousarray(without(logits[draw.row, : draw.vocab_size], draw.banned))
    allowed = allowed_by(row, draw)
    if allowed is None:
        return attempt(logits, draw)  # which says what is wrong
    chance = uniform(p.seed, draw.sample, len(draw.history)) if p.temperature else 0.0
    token, logprob, drawn = pick(
        row, allowed, float(p.temperature), p.top_k, float(p.top_p), float(p.min_p), chance
    )
    if token < 0:
        return attempt(logits, draw)
    return Sampled(token=token, logprob=logprob, drawn_logprob=drawn)


def allowed_by(row: ndarray, draw: Draw) -> ndarray | None:
    """The logits after mask, bias and penalties; None where a token is named that there is not."""
    p = draw.params
    penalises = p.repetition_penalty != 1 or p.frequency_penalty or p.presence_penalty
    if draw.mask is None and not p.logit_bias and not penalises:
        return row
    seen = recent(draw.history, p.penalty_last_n) if penalises else ()
    history, biased = ids(seen, len(row)), ids(tuple(p.logit_bias), len(row))
    if history is None or biased is None:
        return None
    return penalised(
        row, EVERYTHING if draw.mask is None else draw.mask, biased,
        np.array(tuple(p.logit_bias.values()), np.float64), history,
        float(p.repetition_penalty), float(p.frequency_penalty), float(p.presence_penalty),
    )  # fmt: skip
