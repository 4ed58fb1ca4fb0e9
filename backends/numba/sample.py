"""Choosing tokens in compiled code, for the settings that requests have.

A mask, a bias and penalties come first (`penalise`), then the `filters`; all in float64, as the
definition has it (`refimpl.sampling`).  A token is always the definition's: where sums of powers
lie so close to a line that two libraries' might not agree, the definition chooses.
Log-probabilities may differ in their last digits, mirostat's state may not (`mirostat`).
Greedy draws from rows as they are, the most frequent, are made together.

>>> row = np.float32([1, 3, 2])
>>> off = -1.0, 0, 1.0, 1.0, 0.0, -1.0, np.inf
>>> token, logprob, drawn = pick(row, row.astype(float), 0.5, 0.0, *off)
>>> token, round(logprob, 4), drawn
(1, -0.4076, 0.0)
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import isfinite, log

import numpy as np
from numpy import ndarray

from backends.numba.compile import jit_cached
from backends.numba.filters import leaders, min_p, place, top_n_sigma, top_p, typical, xtc
from backends.numba.mirostat import cut_surprising, line, moved
from backends.numba.penalise import ids, penalised, repeated
from backends.numba.powers import greatest, mass, weigh
from refimpl.errors import RefimplError
from refimpl.sampling import Draw, Sampled, TokenLogprob, uniform
from refimpl.sampling.draws import attempt, without
from refimpl.sampling.dry import LOG_FLOAT32_MAX, since_breaker
from refimpl.sampling.greedy import is_greatest
from refimpl.sampling.penalties import recent
from refimpl.sampling.philox import TOKEN_STREAM, XTC_STREAM
from refimpl.sampling.probability import Logits

EVERYTHING = np.zeros(0, np.uint32)
AT_ONCE = 1 << 16  # logits


@jit_cached
def pick(
    row: ndarray, x: ndarray, chance: float, t: float, sigmas: float, k: int, typical_mass: float,
    p: float, least: float, threshold: float, mu: float,
) -> tuple[int, float, float]:  # fmt: skip
    """The token and its log-probabilities, the model's and after the filters; -1: no law, or not
    sure.

    `row` are the model's logits; `x` what is left of them, in float64, becomes what the token was
    drawn from.  A threshold below 0: XTC does not act; mu without end: mirostat does not.
    """
    best = checked_greatest(row, x)
    if best < 0:
        return -1, 0.0, 0.0
    peak, highest = greatest(row), x[best]
    w = np.empty(row.size)
    weigh(row, w)
    log_total = np.log(mass(w))
    if t == 0.0:
        x[:] = -np.inf
        x[best] = highest
        return best, np.float64(row[best]) - peak - log_total, 0.0
    if sigmas > 0.0:
        top_n_sigma(x, sigmas)
    if t != 1.0:
        for i in range(x.size):
            x[i] = (x[i] - highest) / t
    kept = np.sort(leaders(x, k)[:k])  # of k tokens, all the rest is cheap
    left = x[kept] if k else x
    if k or t != 1.0 or sigmas > 0.0 or not equal(row, x):
        w = w[: left.size]
        weigh(left, w)
    sure = typical_mass >= 1.0 or typical(left, w, typical_mass)
    sure = sure and (p >= 1.0 or top_p(left, w, p))
    sure = sure and (least <= 0.0 or min_p(left, w, least))
    sure = sure and (threshold < 0.0 or xtc(left, w, threshold))
    sure = sure and (mu == np.inf or cut_surprising(left, w, mu))
    token, found = place(w, chance)
    if not (sure and found):
        return -1, 0.0, 0.0
    drawn = left[token] - greatest(left) - np.log(mass(w))
    if k:
        x[:] = -np.inf
        x[kept] = left
        token = kept[token]
    return token, np.float64(row[token]) - peak - log_total, drawn


@jit_cached
def checked_greatest(row: ndarray, x: ndarray) -> int:
    """The place of the greatest x, of equals the first; -1 where one of the two is no law."""
    wrong = 0
    for i in range(row.size):
        wrong += (row[i] != row[i]) | (x[i] != x[i])
    if wrong or greatest(row) == np.inf:
        return -1
    highest, best = greatest(x), 0
    if abs(highest) == np.inf:
        return -1
    while x[best] != highest:
        best += 1
    return best


@jit_cached
def equal(row: ndarray, x: ndarray) -> bool:
    changed = 0
    for i in range(row.size):
        changed += row[i] != x[i]
    return changed == 0


@jit_cached
def most_probable(x: ndarray, k: int) -> tuple[ndarray, ndarray]:
    """The k most probable tokens that are left, and their log-probabilities."""
    found, w = leaders(x, k)[:k], np.empty(x.size)
    weigh(x, w)
    return found, x[found] - greatest(x) - np.log(mass(w))


def choose(logits: ndarray, draws: Sequence[Draw]) -> list[Sampled | RefimplError]:
    known = dict(greatest_at_once(logits, draws))
    return [known[i] if i in known else alone(logits, draw) for i, draw in enumerate(draws)]


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


def alone(logits: ndarray, draw: Draw) -> Sampled | RefimplError:
    p = draw.params
    row = np.ascontiguousarray(without(logits[draw.row, : draw.vocab_size], draw.banned))
    x = allowed_by(row, draw)
    if x is None:
        return attempt(logits, draw)  # which says what is wrong
    token, logprob, drawn = pick(
        row, x, chance(draw) if p.temperature else 0.0, float(p.temperature), float(p.top_n_sigma),
        p.top_k, float(p.typical_p), float(p.top_p), float(p.min_p), xtc_threshold(draw),
        line(draw),
    )  # fmt: skip
    if token < 0:
        return attempt(logits, draw)
    found = Sampled(token=token, logprob=logprob, drawn_logprob=drawn, mu=moved(x, token, draw))
    if p.logprobs is None:
        return found
    tops = alternatives(row.astype(np.float64), p.logprobs), alternatives(x, p.logprobs)
    return replace(found, top=tops[0], drawn_top=tops[1])


def chance(draw: Draw, stream: int = TOKEN_STREAM) -> float:
    return uniform(draw.params.seed, draw.sample, len(draw.history), stream)


def xtc_threshold(draw: Draw) -> float:
    """Below 0 if its coin says that nothing happens."""
    asked = draw.params.xtc_probability
    acts = asked and chance(draw, XTC_STREAM) < asked
    return float(draw.params.xtc_threshold) if acts else -1.0


def alternatives(x: Logits, k: int) -> tuple[TokenLogprob, ...]:
    tokens, logprobs = (found.tolist() for found in most_probable(x, k))
    pairs = zip(tokens, logprobs, strict=True)
    return tuple(TokenLogprob(token=token, logprob=logprob) for token, logprob in pairs)


def allowed_by(row: ndarray, draw: Draw) -> Logits | None:
    """The logits after mask, bias and penalties; None where a token is named that there is not."""
    p = draw.params
    changed = draw.mask is not None or p.logit_bias or p.penalises
    seen = recent(draw.history, p.penalty_last_n) if p.penalises else ()
    history, biased = ids(seen, len(row)), ids(tuple(p.logit_bias), len(row))
    if history is None or biased is None:
        return None
    x: Logits = row.astype(np.float64) if not changed else penalised(
        row, EVERYTHING if draw.mask is None else draw.mask, biased,
        np.array(tuple(p.logit_bias.values()), np.float64), history,
        float(p.repetition_penalty), float(p.frequency_penalty), float(p.presence_penalty),
    )  # fmt: skip
    return lowered_by_dry(x, draw) if p.dry_multiplier else x


def lowered_by_dry(x: Logits, draw: Draw) -> Logits | None:
    """`refimpl.sampling.dry`, with its repetitions found by compiled code."""
    p, breakers = draw.params, draw.params.dry_sequence_breakers
    tokens = recent(draw.history, p.dry_penalty_last_n)
    history = ids(tokens, len(x))
    if history is None:
        return None
    limit = since_breaker(list(tokens), breakers) if breakers else len(history)
    lengths = repeated(history, len(x), limit)
    exempt = [breaker[0] for breaker in breakers if len(breaker) == 1]
    lengths[[token for token in exempt if 0 <= token < len(x)]] = -1
    cap = int(LOG_FLOAT32_MAX / log(p.dry_base)) if p.dry_base > 1 else 0
    for token in np.flatnonzero(lengths >= p.dry_allowed_length).tolist():
        n = int(lengths[token]) - p.dry_allowed_length
        x[token] -= p.dry_multiplier * float(p.dry_base) ** min(n, cap)
    return x
