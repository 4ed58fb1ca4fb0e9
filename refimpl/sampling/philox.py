"""Random numbers without a state: the n-th number is a function of n.

A generator that remembers where it is makes every sample depend on how many were drawn before it,
and so on the batch it ran in.  Philox 4x32-10 instead scrambles a counter under a key, as a block
cipher does: ten rounds of multiply, take the high half, exclusive-or.  Ask for the number of
(seed, request, position) in any order, on any machine, and it is the same one.

Source: Salmon, Moraes, Dror, Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3" (SC 2011).
The tests hold the known answers of the authors' Random123 library.

>>> [f"{word:08x}" for word in philox_4x32_10((0, 0, 0, 0), (0, 0))]
['6627e8d5', 'e169c58d', 'bc57ac4c', '9b00dbd8']
>>> uniform(seed=7, request=0, position=0)
0.9545971285563127
"""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from jaxtyping import Float64, UInt64
from numpy import ndarray

from refimpl.errors import InputError

Word = TypeVar("Word", int, ndarray)
"""32 bits: an int, or an array of uint64 for many numbers at once."""

M0, M1 = 0xD2511F53, 0xCD9E8D57
"""The two round multipliers."""
W0, W1 = 0x9E3779B9, 0xBB67AE85
"""What the key grows by each round: the golden ratio and sqrt(3), less 1, times 2**32."""
WORD = 0xFFFFFFFF

TOKEN_STREAM, XTC_STREAM = 0, 1
"""One position may need several independent numbers; each use has its own stream."""


def philox_4x32_10(
    counter: tuple[Word, Word, Word, Word], key: tuple[Word, Word]
) -> tuple[Word, Word, Word, Word]:
    """Four random 32-bit words for a counter of four words and a key of two."""
    k0, k1 = key
    for _ in range(10):
        counter = one_round(counter, k0, k1)
        k0, k1 = (k0 + W0) & WORD, (k1 + W1) & WORD
    return counter


def one_round(
    counter: tuple[Word, Word, Word, Word], k0: Word, k1: Word
) -> tuple[Word, Word, Word, Word]:
    """Two products: their high halves are mixed with the other words and the key, low ones move."""
    c0, c1, c2, c3 = counter
    left, right = M0 * c0, M1 * c2
    return (right >> 32) ^ c1 ^ k0, right & WORD, (left >> 32) ^ c3 ^ k1, left & WORD


def uniform(seed: int, request: int, position: int, stream: int = 0) -> float:
    """A number in [0, 1): a multiple of 2**-53, each equally likely.

    `request` tells the samples of one seed apart; `position` is the index the chosen token will
    have in its sequence.  Counter = (position, stream, request low, request high), key = (seed low,
    seed high), so 64-bit seeds and requests and 32-bit positions and streams never collide.
    """
    counter = (
        fits("position", position, 32),
        fits("stream", stream, 32),
        *halves(fits("request", request, 64)),
    )
    first, second, _, _ = philox_4x32_10(counter, halves(fits("seed", seed, 64)))
    return ((first >> 5) * 2**26 + (second >> 6)) * 2.0**-53  # 27 and 26 of the 64 bits


def uniforms(
    seeds: Sequence[int], requests: Sequence[int], positions: Sequence[int]
) -> Float64[ndarray, " n"]:
    """`uniform` of each triple, all scrambled together.

    >>> uniforms([7, 8], [0, 1], [0, 3]).tolist() == [uniform(7, 0, 0), uniform(8, 1, 3)]
    True
    """
    counter = (
        words("position", positions, 32),
        np.zeros(len(positions), np.uint64),
        *halves(words("request", requests, 64)),
    )
    first, second, _, _ = philox_4x32_10(counter, halves(words("seed", seeds, 64)))
    return ((first >> 5) * 2**26 + (second >> 6)) * 2.0**-53


def words(name: str, values: Sequence[int], bits: int) -> UInt64[ndarray, " n"]:
    """The values, if they are unsigned numbers of so many bits."""
    for extreme in (min(values, default=0), max(values, default=0)):
        fits(name, extreme, bits)
    return np.array(values, np.uint64)


def halves(value: Word) -> tuple[Word, Word]:
    """The low and the high 32 bits."""
    return value & WORD, value >> 32


def fits(name: str, value: int, bits: int) -> int:
    """The value itself, if it is an unsigned number of that many bits."""
    if not 0 <= value < 1 << bits:
        raise InputError(f"{name} is {value}; it must lie between 0 and 2**{bits} - 1")
    return value
