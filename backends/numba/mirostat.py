"""Mirostat's line (`refimpl.sampling.mirostat`), compiled, and its state.

The line is a filter like the others (`filters`): where a token lies closer to it than two
libraries' sums of powers may lie apart, the cut is not sure, and the definition chooses.  The state
mu is carried from token to token, so it may not differ in its last digits, as log-probabilities
may.  The definition itself moves it, by what the cut has left: tokens of at most mu bits of
surprise, of which there are no more than 2^mu.

>>> x = np.log([0.5, 0.25, 0.125, 0.125])
>>> w = np.exp(x - x.max())
>>> cut_surprising(x, w, 2.5), w.tolist()              # the two of 3 bits are cut
(True, [1.0, 0.5, 0.0, 0.0])
>>> cut_surprising(x, w, log(3) / log(2))              # what 1/3 has, so nobody is sure
False
"""

from math import log

import numpy as np
from numpy import ndarray

from backends.numba.compile import jit_cached
from backends.numba.filters import slack
from backends.numba.powers import greatest, mass
from refimpl.sampling import Draw, Logits
from refimpl.sampling.mirostat import next_mu

LOG_2 = log(2)


@jit_cached
def cut_surprising(x: ndarray, w: ndarray, mu: float) -> bool:
    """Tokens of surprise <= mu bits; the first of the greatest stays in any case.

    Two surprises of a token may lie apart, in nats, by the difference of two logarithms of sums, by
    4 units in the last place of each logarithm, and by two roundings of each surprise.
    """
    peak, log_mass, first, near = greatest(x), np.log(mass(w)), 0, 0
    while x[first] != peak:
        first += 1
    off = slack(x.size) * (2 + 2 * log_mass + abs(mu))
    for i in range(x.size):
        surprise = (log_mass - (x[i] - peak)) / LOG_2
        near += (abs(surprise - mu) <= off) & (i != first)
        x[i] = -np.inf if (surprise > mu) & (i != first) else x[i]
    for i in range(x.size):
        w[i] = 0.0 if x[i] == -np.inf else w[i]
    return near == 0


@jit_cached
def survivors(x: ndarray, token: int) -> tuple[ndarray, int]:
    """The logits that are left, and which of them is the token's."""
    at = 0
    for i in range(token):
        at += x[i] > -np.inf
    return x[x > -np.inf], at


def line(draw: Draw) -> float:
    """mu for this draw; without end where mirostat draws no line."""
    if not draw.params.mirostat:
        return np.inf
    return float(2.0 * draw.params.mirostat_tau if draw.mu is None else draw.mu)


def moved(x: Logits, token: int, draw: Draw) -> float | None:
    """The next mu, of logits `x` from which the token was drawn; None without mirostat."""
    if not draw.params.mirostat:
        return None
    left, at = survivors(x, token)
    tau, eta = draw.params.mirostat_tau, draw.params.mirostat_eta
    return next_mu(left, at, line(draw), tau=tau, eta=eta)
