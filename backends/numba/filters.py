"""The filters of `refimpl.sampling.truncate` and `.xtc`, compiled, and how sure they are.

`x` are logits in float64, -inf where a token is removed.  Differences, quotients, square roots and
sums in the order of the ids are the definition's in every bit, and so is every order between
logits.  Powers are not: two libraries' may differ in their last bits, and then sums of them do.  So
where a power or a sum of them draws a line, a filter is *sure* only if everything else lies further
from the line than both can be off (`slack`).  If it is not, the definition has to choose.

Powers are taken to be good to 4 units in the last place (NumPy's and ours are better).  A sum of
n of them, in whatever order, is then good to gamma(n + 8), relative to itself (Higham, section
4.2).

>>> x, w = np.log([0.4, 0.3, 0.2, 0.1]), np.empty(4)
>>> weigh(x, w)
>>> top_p(x, w, 0.6), np.flatnonzero(x > -np.inf).tolist()
(True, [0, 1])
>>> x = np.zeros(4)                    # the first two hold exactly half: the definition's business
>>> weigh(x, w)
>>> top_p(x, w, 0.5)
False
"""

import numpy as np
from numpy import ndarray

from backends.numba.compile import jit, jit_cached
from backends.numba.powers import greatest, mass, weigh

UNIT = 2.0**-53
TINY = 1e-300
"""About where float64 begins to lose digits."""
LINES = (4.0, 16.0, 40.0, np.inf)
"""How far below the greatest to look for the tokens that matter: few nearly always suffice."""
BUCKETS_EACH = 16
BUCKETS = 40 * BUCKETS_EACH + 1
"""The last is for all that lies further than e^40 below: no sum can tell it from nothing."""


@jit_cached
def slack(n: int) -> float:
    """How far two sums of n powers may lie apart, relative to their value."""
    return 2 * (n + 16) * UNIT / (1 - (n + 16) * UNIT)


@jit_cached
def leaders(x: ndarray, k: int) -> ndarray:
    """At least k tokens (or all that are left), the greatest first, of equals the lowest id."""
    peak = greatest(x)
    kept = np.flatnonzero(x == peak)
    for line in LINES:
        if kept.size < k:
            kept = np.flatnonzero((x >= peak - line) & (x > -np.inf))
    return kept[np.argsort(-x[kept], kind="mergesort")]


@jit_cached
def top_n_sigma(x: ndarray, n: float) -> None:
    """Logits within n standard deviations of the greatest: the definition's own arithmetic."""
    peak, total, count = x.max(), 0.0, 0
    for i in range(x.size):
        if x[i] - peak > -np.inf:
            total += x[i] - peak
            count += 1
    mean, squares = total / count, 0.0
    for i in range(x.size):
        if x[i] - peak > -np.inf:
            squares += (x[i] - peak - mean) * (x[i] - peak - mean)
    least = -n * np.sqrt(squares / count)
    for i in range(x.size):
        if not x[i] - peak >= least:
            x[i] = -np.inf


@jit_cached
def prefix(w: ndarray, before: float, goal: float, off: float) -> tuple[int, bool]:
    """How many of these weights reach the goal, and whether that is sure.

    `before` is held already; if it is nothing, one weight at least is taken.
    """
    running, m, sure = before, 0, True
    while m < w.size and (running < goal or running == 0):
        sure = running == 0 or goal - running > off
        running += w[m]
        m += 1
    return m, sure and running - goal > off


@jit_cached
def line_bucket(x: ndarray, w: ndarray, centre: float, goal: float) -> tuple[float, float, float]:
    """Between which distances from the centre the nearest tokens come to weigh more than the goal.

    All that are nearer are within it, and weigh what is returned last; only the few in between have
    to be sorted.  (No array of distances: memory that is asked for and given back with every draw
    costs as much as all the arithmetic.)
    """
    held = np.zeros(BUCKETS)
    for i in range(x.size):
        held[bucket(abs(centre - x[i]))] += w[i]
    before, b = 0.0, 0
    while b < BUCKETS - 1 and before + held[b] <= goal:
        before += held[b]
        b += 1
    return b / BUCKETS_EACH, (b + 1) / BUCKETS_EACH if b < BUCKETS - 1 else np.inf, before


@jit
def bucket(distance: float) -> int:
    return int(BUCKETS_EACH * distance) if distance < 40.0 else BUCKETS - 1


@jit_cached
def top_p(x: ndarray, w: ndarray, p: float) -> bool:
    """The fewest of the greatest that hold p of the mass."""
    peak, whole = greatest(x), mass(w)
    goal, off = p * whole, slack(x.size) * whole
    near, far, before = line_bucket(x, w, peak, goal + off)
    for i in range(x.size):
        x[i] = -np.inf if peak - x[i] >= far else x[i]
    for i in range(x.size):
        w[i] = 0.0 if x[i] == -np.inf else w[i]
    line = np.flatnonzero((peak - x >= near) & (x > -np.inf))
    order = line[np.argsort(-x[line], kind="mergesort")]
    m, sure = prefix(w[order], before, goal, off)
    x[order[m:]], w[order[m:]] = -np.inf, 0.0
    return sure


@jit_cached
def min_p(x: ndarray, w: ndarray, p: float) -> bool:
    """Tokens at least p times as probable as the greatest."""
    peak, off, near = greatest(x), slack(1) * p + TINY, 0
    for i in range(x.size):
        near += (abs(w[i] - p) <= off) & (x[i] < peak) & (x[i] > -np.inf)
    if near:
        return False
    for i in range(x.size):
        x[i] = -np.inf if (w[i] < p) & (x[i] < peak) else x[i]
    for i in range(w.size):
        w[i] = 0.0 if x[i] == -np.inf else w[i]
    return True


@jit_cached
def xtc(x: ndarray, w: ndarray, threshold: float) -> bool:
    """Of the tokens that reach the threshold, only the last stays."""
    line, last, count = threshold * mass(w), -1, 0
    off = slack(x.size) * line + TINY
    for i in range(x.size):
        if x[i] > -np.inf:
            if abs(w[i] - line) <= off and line > 0:
                return False
            if w[i] >= line:
                count += 1
                if last < 0 or x[i] <= x[last]:
                    last = i
    if count > 1:
        for i in range(x.size):
            if i != last and x[i] > -np.inf and w[i] >= line:
                x[i] = -np.inf
        weigh(x, w)
    return True


@jit_cached
def typical(x: ndarray, w: ndarray, p: float) -> bool:
    """The fewest tokens that hold p of the mass, those of surprise nearest to the average first.

    The surprise of a token is s = log(mass) + max x - x, their average H.  An error of e in a sum
    of powers, relative to it, is one of e (1 + log(mass) + s) in s, and of 2 e `spread` in H.
    """
    peak, whole, n = greatest(x), mass(w), x.size
    log_mass, average, spread = np.log(whole), 0.0, 0.0
    for i in range(n):
        if x[i] > -np.inf:
            s, q = log_mass - (x[i] - peak), w[i] / whole
            if s == np.inf:
                return False
            average += q * s
            spread += q * (1 + s) * (1 + log_mass + s)
    distance = np.abs(log_mass - (x - peak) - average)
    goal, off = p * whole, 2 * slack(n) * (2 + log_mass + average) * whole
    near, far, _ = line_bucket(distance, w, 0.0, goal + off)
    nearer, further, before = -1.0, np.inf, 0.0  # the neighbours of those in between
    for d in distance:
        nearer = max(nearer, d) if d < near else nearer
        further = min(further, d) if d >= far else further
    for i in range(n):
        before += w[i] if distance[i] < nearer else 0.0
    line = np.flatnonzero((distance >= nearer) & (distance <= further) & (distance < np.inf))
    order = line[np.argsort(distance[line], kind="mergesort")]
    m, sure = prefix(w[order], before, goal, off)
    if not sure:
        return False
    first, after, y = m - 1, m, x[order]  # the run of equals in which the line is drawn
    while first > 0 and y[first - 1] == y[m - 1]:
        first -= 1
    while after < y.size and y[after] == y[m - 1]:
        after += 1
    for j in (first, after):
        if 0 < j < y.size:
            most = 2 * log_mass + 2 - (y[j - 1] - peak) - (y[j] - peak)
            gap = distance[order[j]] - distance[order[j - 1]]
            sure = sure and gap > 2 * slack(n) * (most + 2 * spread)
    for i in range(n):
        x[i] = x[i] if distance[i] < nearer else -np.inf
    x[order[:m]] = y[:m]
    weigh(x, w)
    return sure


@jit_cached
def place(w: ndarray, chance: float) -> tuple[int, bool]:
    """The first token whose running sum exceeds that part of the mass, and whether it is sure."""
    whole, running, token, sure = mass(w), 0.0, -1, True
    goal, off = chance * whole, slack(w.size) * whole
    for i in range(w.size):
        if w[i] > 0:
            sure, token = running == 0 or goal - running > off, i
            running += w[i]
            if running > goal:
                break
    return token, sure and (running - goal > off or not w[token + 1 :].any())
