"""What a request says about single tokens, in compiled code: a mask, a bias, penalties.

The same additions and divisions in the same order as the definition (`refimpl.sampling.mask`, then
`logit_bias`, `repetition`, `frequency` and `presence` of `refimpl.sampling.penalties`), so that the
logits are its logits in every bit.  Only tokens that occur in the history are visited: it is
sorted, and equal tokens stand together.  For DRY the repetitions are found here, and the definition
says what they cost.

>>> row, bits = np.float32([2, -1, 0.5, 3]), np.array([0b0111], np.uint32)
>>> nothing, none = np.zeros(0, np.int64), np.zeros(0)
>>> penalised(row, bits, nothing, none, np.array([1, 0, 0]), 2.0, 0.25, 0.5).tolist()
[0.0, -2.75, 0.5, -inf]
"""

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from backends.numba.compile import jit, jit_cached
from refimpl.sampling.penalties import History


@jit
def has_bit(mask: ndarray, i: int) -> bool:
    """Whether token i is allowed; one beyond the mask is not."""
    return i >> 5 < mask.size and mask[i >> 5] >> np.uint32(i & 31) & np.uint32(1) != 0


@jit_cached
def penalised(
    row: ndarray, mask: ndarray, biased: ndarray, biases: ndarray, history: ndarray,
    repetition: float, frequency: float, presence: float,
) -> ndarray:  # fmt: skip
    """The logits after all that; an empty mask allows everything, -inf is what is not allowed.

    `history` and `biased` hold ids of the vocabulary: compiled code does not look.
    """
    x = np.full(row.size, -np.inf)
    for i in range(row.size):
        if mask.size == 0 or has_bit(mask, i):
            x[i] = row[i]
    for j in range(biased.size):
        x[biased[j]] += biases[j]
    seen, first = np.sort(history), 0
    while first < seen.size:
        token, after = seen[first], first + 1
        while after < seen.size and seen[after] == token:
            after += 1
        y = x[token] / repetition if x[token] > 0 else x[token] * repetition
        x[token] = y - frequency * (after - first) - presence
        first = after
    return x


@jit_cached
def repeated(history: ndarray, vocab: int, limit: int) -> ndarray:
    """For each token how long an end of the history it followed before; -1: it never did.

    `refimpl.sampling.dry.repetitions`: read backwards, how far does it agree with itself shifted?

    >>> repeated(np.array([0, 1, 2, 2, 1, 2, 3, 0, 1, 2]), 5, 10).tolist()
    [0, 1, 3, 2, -1]
    """
    s, longest = history[::-1], np.full(vocab, -1)
    z = np.zeros(s.size, np.int64)
    left = right = 0
    for k in range(1, s.size):
        n = min(z[k - left], right - k) if k < right else 0
        while k + n < s.size and s[n] == s[k + n]:
            n += 1
        z[k] = n
        if k + n > right:
            left, right = k, k + n
        longest[s[k - 1]] = max(longest[s[k - 1]], min(n, limit))
    return longest


def ids(tokens: History, vocab: int) -> Int64[ndarray, " tokens"] | None:
    """Token ids as an array, or None if one of them is no id of the vocabulary."""
    found = np.array(tokens, np.int64)
    outside = found.size and not 0 <= found.min() <= found.max() < vocab
    return None if outside else found
