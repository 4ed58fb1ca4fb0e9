"""What each filter of a sampler means, in exact arithmetic: the authority of the vectors beside it.

A float is a rational number, so sums, products and comparisons of the given logits can be exact;
exp and log are taken to 120 digits.  A law is a list with one Decimal per token id, None where the
token has been removed.  Every function is a definition, not a method: it tries every token, place
and length.  Nothing here knows how an engine computes it.

Some cases float64 cannot decide: two numbers that differ by less than its roundings.  There a
definition raises `UndecidableError`.  Numbers that are exactly equal are the boundary, and decided.

>>> from decimal import localcontext
>>> with localcontext(DIGITS):
...     [t for t, x in enumerate(top_p([Decimal(0)] * 4, Decimal("0.5"))) if x is not None]
[0, 1]
"""

from decimal import Context, Decimal
from itertools import pairwise
from math import inf

DIGITS = Context(prec=120)


class UndecidableError(Exception):
    """Two different numbers too close for float64."""


def rounding(x):
    """Relative error of a sum of n weights exp(x) in float64, generously.

    n roundings in the sum, and in each exponent as many as it has units; a few more led there.
    """
    logits = [v for v in x if v is not None]
    size = max(abs(v) for v in logits) + max(logits) - min(logits)
    return Decimal(2) ** -53 * 16 * (len(x) + size + 4)


def at_least(a, b, relative):
    """a >= b, if float64 can tell."""
    if a != b and abs(a - b) <= relative * max(abs(a), abs(b)):
        raise UndecidableError
    return a >= b


# A law and its tokens.


def present(x):
    return [i for i, v in enumerate(x) if v is not None]


def only(x, ids):
    return [v if i in ids else None for i, v in enumerate(x)]


def weights(x):
    peak = max(v for v in x if v is not None)
    return [Decimal(0) if v is None else (v - peak).exp() for v in x]


def probabilities(x):
    w = weights(x)
    return [v / sum(w) for v in w]


def descending(x):
    """Most probable first, ties by lowest id."""
    return sorted(present(x), key=lambda i: (-x[i], i))


def shortest_prefix(order, mass, p, relative):
    """Take tokens in order until they hold p of the whole; at least one."""
    held = Decimal(0)
    for taken, i in enumerate(order, start=1):
        held += mass[i]
        if at_least(held, p * sum(mass), relative):
            return order[:taken]
    return order


# What was already said.


def logit_bias(x, bias):
    added = [v if v is None else v + bias.get(i, 0) for i, v in enumerate(x)]
    return [None if v == -inf else v for v in added]


def repetition(x, history, penalty):
    def lowered(v):
        return v / penalty if v > 0 else v * penalty

    return [lowered(v) if v is not None and i in history else v for i, v in enumerate(x)]


def frequency(x, history, penalty):
    return [v if v is None else v - penalty * history.count(i) for i, v in enumerate(x)]


def presence(x, history, penalty):
    return [v if v is None else v - penalty * (i in history) for i, v in enumerate(x)]


def dry(x, history, multiplier, base, allowed_length, breakers=()):
    limit = since_breaker(history, breakers)

    def penalty(token):
        n = longest_repetition(history, token, limit)
        exempt = [token] in breakers or n is None or n < allowed_length
        return 0 if exempt else multiplier * base ** (n - allowed_length)

    return [v if v is None else v - penalty(i) for i, v in enumerate(x)]


def longest_repetition(tokens, token, limit):
    """Largest n <= limit such that the last n tokens also stand somewhere right before `token`."""
    lengths = [
        n
        for i in range(1, len(tokens))
        if tokens[i] == token
        for n in range(min(i, limit) + 1)
        if tokens[i - n : i] == tokens[len(tokens) - n :]
    ]
    return max(lengths, default=None)


def since_breaker(tokens, breakers):
    """Tokens after the breaker that starts last, the longest of those; all if there is none."""
    matches = [
        (start, len(b))
        for start in range(len(tokens))
        for b in breakers
        if tokens[start : start + len(b)] == b
    ]
    return len(tokens) - sum(max(matches, default=(0, 0)))


# Which tokens may be said.


def temperature(x, t):
    return only(x, descending(x)[:1]) if t == 0 else [v if v is None else v / t for v in x]


def top_k(x, k):
    return only(x, descending(x)[:k]) if k else x


def top_p(x, p):
    return x if p == 1 else only(x, shortest_prefix(descending(x), weights(x), p, rounding(x)))


def typical(x, p):
    if p == 1:
        return x
    law = probabilities(x)
    surprise = {i: -law[i].ln() for i in present(x)}
    entropy = sum(law[i] * surprise[i] for i in surprise)
    distance = {i: abs(surprise[i] - entropy) for i in surprise}
    order = sorted(distance, key=lambda i: (distance[i], i))
    for a, b in pairwise(order):
        if x[a] != x[b] and abs(distance[a] - distance[b]) <= rounding(x):
            raise UndecidableError
    return only(x, shortest_prefix(order, weights(x), p, rounding(x)))


def min_p(x, p):
    w = weights(x)
    return only(x, [i for i in present(x) if at_least(w[i], p, rounding(x))]) if p else x


def top_n_sigma(x, n):
    """max - x_i <= n sigma, both sides squared: no square root is needed."""
    if n <= 0:
        return x
    values = [x[i] for i in present(x)]
    mean = sum(values) / len(values)
    variance = sum((v - mean) ** 2 for v in values) / len(values)

    def within(v):
        return at_least(n * n * variance, (max(values) - v) ** 2, rounding(x))

    return only(x, [i for i in present(x) if within(x[i])])


def xtc(x, threshold):
    w = weights(x)
    reached = [i for i in descending(x) if at_least(w[i], threshold * sum(w), rounding(x))]
    return only(x, [i for i in present(x) if i not in reached[:-1]])


def mirostat_cut(x, mu):
    """-log2 p <= mu is p >= 2**-mu."""
    w = weights(x)
    line = Decimal(2) ** -mu * sum(w)
    allowed = [i for i in present(x) if at_least(w[i], line, rounding(x))]
    return only(x, [*allowed, descending(x)[0]])


# From parameters to a law, and from a law to a token.  Numbers in `params` are Decimals.


def recent(history, last_n):
    return history if last_n < 0 else history[max(0, len(history) - last_n) :]


def seen(params, history):
    return recent(history, params.get("penalty_last_n", 64))


def dry_of(x, params, history):
    return dry(
        x,
        recent(history, params.get("dry_penalty_last_n", -1)),
        params.get("dry_multiplier", Decimal(0)),
        params.get("dry_base", Decimal("1.75")),
        params.get("dry_allowed_length", 2),
        params.get("dry_sequence_breakers", []),
    )


FILTERS = {
    "logit_bias": lambda x, p, h: logit_bias(x, p.get("logit_bias", {})),
    "repetition": lambda x, p, h: repetition(x, seen(p, h), p.get("repetition_penalty", 1)),
    "frequency": lambda x, p, h: frequency(x, seen(p, h), p.get("frequency_penalty", 0)),
    "presence": lambda x, p, h: presence(x, seen(p, h), p.get("presence_penalty", 0)),
    "dry": dry_of,
    "top_n_sigma": lambda x, p, h: top_n_sigma(x, p.get("top_n_sigma", -1)),
    "temperature": lambda x, p, h: temperature(x, p.get("temperature", 1)),
    "top_k": lambda x, p, h: top_k(x, p.get("top_k", 0)),
    "typical": lambda x, p, h: typical(x, p.get("typical_p", 1)),
    "top_p": lambda x, p, h: top_p(x, p.get("top_p", 1)),
    "min_p": lambda x, p, h: min_p(x, p.get("min_p", 0)),
    "xtc": lambda x, p, h: xtc(x, p["xtc_threshold"]) if p["xtc_fires"] else x,
}


def process(x, params, history, order):
    """The logits after every filter, and how far float64 may be off in the probabilities."""
    bound = rounding(x)
    for name in order:
        x = FILTERS[name](x, params, history)
        refuse_near_ties(x)
        bound += rounding(x)
    return x, bound


def refuse_near_ties(x):
    """Two logits that arithmetic has brought this close may tie, or change places, in float64."""
    for a, b in pairwise(sorted(v for v in x if v is not None)):
        if 0 < b - a <= rounding(x):
            raise UndecidableError


def law(x, params, history, order):
    """The probability of every token, over both ways that XTC's coin may fall, and a bound."""
    q = params.get("xtc_probability", Decimal(0))
    coins = [(w, fires) for w, fires in ((1 - q, False), (q, True)) if w]
    total, bounds = [Decimal(0)] * len(x), []
    for weight, fires in coins:
        left, bound = process(x, {**params, "xtc_fires": fires}, history, order)
        total = [t + weight * p for t, p in zip(total, probabilities(left), strict=True)]
        bounds.append(bound)
    return total, max(bounds)


def pick(x, uniform):
    """The first id whose running sum exceeds `uniform`."""
    running = Decimal(0)
    for i, w in enumerate(weights(x)):
        running += w
        if not at_least(uniform * sum(weights(x)), running, rounding(x)):
            return i
    raise AssertionError("the running sum ends at 1, which exceeds every uniform number")


def to_exact(logits):
    """Decimals equal to the floats; -inf (or a missing number) is a removed token."""
    return [None if v is None or v == -inf else Decimal(float(v)) for v in logits]
