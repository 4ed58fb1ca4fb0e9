"""Logits, the probabilities they stand for, and one choice among them.

A *law* is a probability for every token id.  Logits describe it up to a constant: p_i is
proportional to exp(x_i), and x_i = -inf says that token i cannot be chosen.  Everything is float64;
sums run in the order of the ids, one term after the other, so the total that normalises is the last
of the running sums that choose.

>>> softmax(np.log([1.0, 2.0, 1.0])).round(12).tolist()
[0.25, 0.5, 0.25]
>>> [pick(np.log([1.0, 2.0, 1.0]), u) for u in (0.0, 0.2, 0.3, 0.7, 0.8)]
[0, 0, 1, 1, 2]
"""

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from refimpl.errors import RefimplError

Logits = Float64[ndarray, " vocab"]
"""One number per token id; -inf removes a token."""
Probabilities = Float64[ndarray, " vocab"]


class SamplingError(RefimplError):
    """No token can be chosen from these logits."""


def below_max(logits: Logits) -> Logits:
    """x - max x: the same law, and exp cannot overflow.  Logits that have no law are refused."""
    peak = logits.max() if len(logits) else -np.inf
    if not np.isfinite(peak):
        raise SamplingError(complaint(peak))
    with np.errstate(over="ignore"):  # a logit too far below the maximum to subtract has p = 0
        shifted: ndarray = logits - peak
    return shifted


def complaint(peak: float) -> str:
    """Why logits with this maximum describe no law, and what to look at."""
    if np.isnan(peak):
        return "the logits contain NaN: look for an overflow in the forward pass or in the weights"
    if peak > 0:
        return "a logit is +inf: lower the logit bias, or look for an overflow in the forward pass"
    return "every token has been removed: relax the logit bias, the grammar or the filters"


def weights(logits: Logits) -> Float64[ndarray, " vocab"]:
    """exp(x - max x): proportional to the probabilities, 1 for the most probable token."""
    w: ndarray = np.exp(below_max(logits))
    return w


def softmax(logits: Logits) -> Probabilities:
    """p_i = exp(x_i) / sum_j exp(x_j)."""
    w = weights(logits)
    p: ndarray = w / np.cumsum(w)[-1]
    return p


def log_softmax(logits: Logits) -> Logits:
    """log p_i, without the underflow that log(softmax(x)) would have."""
    x = below_max(logits)
    log_p: ndarray = x - np.log(np.cumsum(np.exp(x))[-1])
    return log_p


def pick(logits: Logits, uniform: float) -> int:
    """The inverse of the distribution function: the first id whose running sum exceeds `uniform`.

    In the order of the ids, not of the probabilities, which needs no sort.  Each token has a slice
    of [0, 1) as wide as its probability; a removed token's is empty.
    """
    running = np.cumsum(weights(logits))
    return int(np.searchsorted(running, uniform * running[-1], side="right"))
