"""DRY, "don't repeat yourself": a token that would continue a repetition is pushed down.

Repetition penalties punish words; DRY punishes sequences.  If the text ends in n tokens that
already occurred together, then whatever followed them last time would extend the repetition, and
its logit is lowered by multiplier * base ** (n - allowed_length), for n >= allowed_length.  Of
several earlier occurrences the longest counts.  *Breakers* (newlines, quotation marks, the markers
of a chat) are where a repetition may not reach across: structure may repeat, content should not.

Source: p-e-w, text-generation-webui pull request 5677 (2024); the breaker rule and the cap on the
exponent are those of llama.cpp, after pi6am's version in koboldcpp pull request 982.

    history   a b c c b c y a b c
    ends in       3                the last three tokens, a b c, also stand here; c came next
                    1              c; b came next
                        2          b c; y came next

>>> import numpy as np
>>> a, b, c, y = range(4)
>>> lengths = repetitions([a, b, c, c, b, c, y, a, b, c], limit=10)
>>> [(name, lengths[token]) for name, token in (("c", c), ("b", b), ("y", y))]
[('c', 3), ('b', 1), ('y', 2)]
>>> dry(np.zeros(4), [a, b, c, c, b, c, y, a, b, c], multiplier=1.0, base=2.0).tolist()
[0.0, 0.0, -2.0, -1.0]
"""

from collections.abc import Sequence
from math import log

from refimpl.sampling.params import Real
from refimpl.sampling.penalties import History, occurrences
from refimpl.sampling.probability import Logits

LOG_FLOAT32_MAX = 88.72283935546875
"""The exponent is capped so that base ** exponent stays a float32: a penalised token becomes
hopeless but not impossible, and still wins where nothing else is left."""


def dry(
    logits: Logits,
    history: History,
    *,
    multiplier: Real,
    base: Real = 1.75,
    allowed_length: int = 2,
    breakers: Sequence[Sequence[int]] = (),
) -> Logits:
    """x_i - multiplier * base ** (n_i - allowed_length), if token i would extend a repetition of
    n_i >= allowed_length tokens.  A token that is a breaker by itself is never lowered."""
    if not multiplier:
        return logits
    occurrences(history, len(logits))  # refuses ids outside the vocabulary
    tokens = [int(token) for token in history]
    cap = int(LOG_FLOAT32_MAX / log(base)) if base > 1 else 0
    exempt = frozenset(breaker[0] for breaker in breakers if len(breaker) == 1)
    lowered = logits.copy()
    for token, n in repetitions(tokens, limit=since_breaker(tokens, breakers)).items():
        if n >= allowed_length and token not in exempt:
            lowered[token] -= multiplier * float(base) ** min(n - allowed_length, cap)
    return lowered


def repetitions(tokens: Sequence[int], limit: int) -> dict[int, int]:
    """For every token that followed an earlier occurrence of the text's end: the longest such end.

    Lengths are clipped to `limit`.  Read from the end backwards the question becomes: how far does
    the sequence agree with itself shifted by k?  That is its Z-array.
    """
    backwards = tokens[::-1]
    longest: dict[int, int] = {}
    for shift, n in enumerate(z_array(backwards)):
        if shift > 0:
            follower = backwards[shift - 1]
            longest[follower] = max(longest.get(follower, 0), min(n, limit))
    return longest


def z_array(s: Sequence[int]) -> list[int]:
    """z[k] = length of the longest common prefix of s and s[k:], in linear time (z[0] stays 0).

    [left, right) is the match that reaches furthest; inside it, s repeats its own beginning, so
    z[k - left] is known to hold as far as `right`.  Gusfield, Algorithms on Strings (1997), 1.4.

    >>> z_array([7, 7, 8, 7, 7, 8, 9])
    [0, 1, 0, 3, 1, 0, 0]
    """
    z = [0] * len(s)
    left = right = 0
    for k in range(1, len(s)):
        n = min(z[k - left], right - k) if k < right else 0
        while k + n < len(s) and s[n] == s[k + n]:
            n += 1
        z[k] = n
        if k + n > right:
            left, right = k, k + n
    return z


def since_breaker(tokens: Sequence[int], breakers: Sequence[Sequence[int]]) -> int:
    """How many tokens follow the breaker that starts last; all of them where there is none.

    Of several that start at the same place the longest counts.

    >>> since_breaker([5, 1, 2, 6, 7], [[1, 2], [6, 9]])
    2
    """
    by_head: dict[int, list[list[int]]] = {}
    for breaker in breakers:
        by_head.setdefault(breaker[0], []).append(list(breaker))
    for start in reversed(range(len(tokens))):
        found = [
            len(breaker)
            for breaker in by_head.get(tokens[start], [])
            if list(tokens[start : start + len(breaker)]) == breaker
        ]
        if found:
            return len(tokens) - start - max(found)
    return len(tokens)
