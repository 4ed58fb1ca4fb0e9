"""Which tokens may be said: temperature, and five ways to cut off the improbable tail.

The tail of a language model's law is many tokens of almost no probability each, which together are
drawn often enough to spoil a text.  Each filter draws the line by another rule:

    top_n_sigma   logits within n standard deviations of the largest
    top_k         the k most probable
    typical       those whose surprise is closest to the average surprise
    top_p         the most probable that together hold p of the mass
    min_p         those at least min_p times as probable as the most probable

All of them keep at least one token, and `keep_largest` settles ties: the lowest id comes first.
Inputs hold no NaN (`process` looks once, before the first filter).

>>> x = np.log([0.4, 0.3, 0.2, 0.1])
>>> survivors = lambda y: np.flatnonzero(y > -np.inf).tolist()
>>> survivors(top_k(x, 2)), survivors(top_p(x, 0.6)), survivors(min_p(x, 0.3))
([0, 1], [0, 1], [0, 1, 2])
>>> survivors(typical(x, 0.4)), survivors(top_n_sigma(x, 1.0))
([1, 2], [0, 1])
"""

import numpy as np
from jaxtyping import Bool
from numpy import ndarray

from refimpl.sampling.params import Real
from refimpl.sampling.probability import Logits, below_max, log_softmax, weights

Kept = Bool[ndarray, " vocab"]


def temperature(logits: Logits, t: Real) -> Logits:
    """(x - max x) / t.  Below 1 sharpens the law, above 1 flattens it; 0 is the limit: argmax.

    At 0 only the lowest id among the largest logits is kept.  The maximum is subtracted first: that
    leaves the law alone, and x / t could round two neighbours to one number, so that the largest
    logit would no longer be the only one.  Ackley, Hinton, Sejnowski (1985).

    >>> temperature(np.array([1.0, 3.0, 2.0]), 2.0).tolist()
    [-1.0, 0.0, -0.5]
    """
    if t == 0:
        return keep_largest(logits, 1)
    if t == 1:
        return logits
    with np.errstate(over="ignore"):  # beyond -1e308 is as good as removed
        return below_max(logits) / t


def top_k(logits: Logits, k: int) -> Logits:
    """The k largest logits; 0 is off.  Fan, Lewis, Dauphin (2018).

    Exactly k survive (or all, if there are fewer): where the k-th is tied, the lowest ids.

    >>> top_k(np.array([1.0, 2.0, 1.0, 1.0]), 3).tolist()
    [1.0, 2.0, 1.0, -inf]
    """
    return keep_largest(logits, k) if k else logits


def top_p(logits: Logits, p: Real) -> Logits:
    """The smallest prefix of the descending order whose mass is >= p; 1 is off.

    Holtzman et al., "The Curious Case of Neural Text Degeneration" (2020), section 3.1.  A prefix
    that reaches p exactly is enough.  Only the *number* of survivors needs the sorted order, and
    equal logits have equal mass, so values are sorted and not ids.

    >>> top_p(np.zeros(4), 0.5).tolist()
    [0.0, 0.0, -inf, -inf]
    """
    if p >= 1:
        return logits
    return keep_largest(logits, prefix_with_mass(weights(np.sort(logits)[::-1]), p))


def typical(logits: Logits, p: Real) -> Logits:
    """The fewest tokens of mass >= p, those of surprise nearest to the entropy first; 1 is off.

    With surprise s_i = -log p_i and entropy H = sum p_i s_i, tokens are taken in the order of
    |s_i - H|, ties by lowest id, until they hold p.  What is left may lack the most probable token.
    Meister et al., "Locally Typical Sampling" (2023).  (llama.cpp's set must hold more than p.)

    >>> typical(np.log([0.8, 0.1, 0.1]), 0.7).round(2).tolist()
    [-0.22, -inf, -inf]
    """
    if p >= 1:
        return logits
    candidates = np.flatnonzero(logits > -np.inf)
    log_p = log_softmax(logits)[candidates]
    probability = np.exp(log_p)
    entropy = np.cumsum(-log_p * probability)[-1]
    order = np.argsort(np.abs(-log_p - entropy), kind="stable")
    kept = np.zeros(len(logits), dtype=bool)
    kept[candidates[order[: prefix_with_mass(probability[order], p)]]] = True
    return keep(logits, kept)


def min_p(logits: Logits, p: Real) -> Logits:
    """Tokens with p_i >= p * max p; 0 is off.  The line is inclusive, and ties stay together.

    Nguyen et al., "Turning Up the Heat: Min-p Sampling" (2025).

    >>> min_p(np.array([0.0, 0.0, -1.0]), 1.0).tolist()
    [0.0, 0.0, -inf]
    """
    return keep(logits, weights(logits) >= p) if p else logits


def top_n_sigma(logits: Logits, n: Real) -> Logits:
    """Logits >= max - n * sigma, sigma their standard deviation; 0 or less is off.

    Tang et al., "Top-n-sigma: Not All Logits Are You Need" (2024).  Sigma is that of the
    population (divided by the count), over tokens not yet removed.  The line is inclusive, and it
    scales with the logits: temperature changes nothing here.

    >>> top_n_sigma(np.array([0.0, 2.0, 4.0, 2.0]), 1.0).round(1).tolist()    # sigma = sqrt(2)
    [-inf, -inf, 4.0, -inf]
    """
    if n <= 0:
        return logits
    x = below_max(logits)
    candidates = x[x > -np.inf]
    mean = np.cumsum(candidates)[-1] / len(candidates)
    sigma = np.sqrt(np.cumsum((candidates - mean) ** 2)[-1] / len(candidates))
    return keep(logits, x >= -n * sigma)


def keep(logits: Logits, kept: Kept) -> Logits:
    """The logits with every token outside `kept` removed."""
    return np.where(kept, logits, -np.inf)


def keep_largest(logits: Logits, count: int) -> Logits:
    """The `count` largest logits, the lowest ids first among equals."""
    return keep(logits, largest(logits, count))


def largest(logits: Logits, count: int) -> Kept:
    """Where the `count` largest logits are: all above the count-th, and the first of its equals.

    This is argsort(-x, stable)[:count], without sorting ids: a partition is ten times as fast.
    """
    if count >= len(logits) or count <= 0:
        return np.full(len(logits), count > 0)
    smallest_kept = np.partition(logits, -count)[-count]
    mask: ndarray = logits > smallest_kept
    equals = np.flatnonzero(logits == smallest_kept)
    mask[equals[: count - np.count_nonzero(mask)]] = True
    return mask


def prefix_with_mass(masses: ndarray, p: Real) -> int:
    """Length of the shortest prefix that holds at least p of the whole; never zero."""
    running = np.cumsum(masses)
    return 1 + int(np.count_nonzero(running < p * running[-1]))
