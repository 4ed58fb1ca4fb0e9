"""The four searches by which llama.cpp chooses the scale of a group of weights.

Sources: make_qx_quants, make_q3_quants, make_qkx2_quants and make_qkx3_quants, make_qp_quants in
ggml-quants.c (0.25), by Iwan Kawrakow.  Each minimises the weighted square error
sum of w * (x - scale * q)**2 over the scale and the integers q: given the integers, the best scale
is sum(w x q) / sum(w q q), and the error falls by sum(w x q)**2 / sum(w q q), so candidates are
compared by cross-multiplying.  The candidates are a handful of first guesses at the scale.

Shapes: x [k, n] is n groups of k weights, one group a *column*: sums then run down the rows in C's
order and every step is vectorised over the groups.  w, the weight of each error, has the same
shape.  Scales are [n], integers [k, n].  All arithmetic is float32, one rounding per operation.

>>> x = np.array([[1.0], [-2.0], [0.5]], np.float32)
>>> scale, q = symmetric(x, 4, x * x)
>>> scale.tolist(), q.T.tolist()                # q is shifted by 4: 4 + x / scale
([0.5], [[6, 0, 5]])
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float32, Int32
from numpy import ndarray

from refimpl.formats.quants.encode import clip, divide, nearest_int, ordered_sum

Group = Float32[ndarray, "k n"]
Scale = Float32[ndarray, "n"]
Integers = Int32[ndarray, "k n"]

TOO_SMALL = np.float32(1e-15)


def largest_down(x: Group) -> Scale:
    """The number of largest magnitude in each column, the first of equals; NaN counts as zero."""
    magnitude = np.fmax(np.abs(x), np.float32(0))
    at = magnitude.argmax(axis=0), np.arange(x.shape[1])
    return np.where(magnitude[at] > 0, x[at], np.float32(0))


def first_lowest(x: Group) -> Scale:
    """The smallest of each column; of 0 and -0, the one that comes first."""
    lowest: ndarray = x[x.argmin(axis=0), np.arange(x.shape[1])]
    return lowest


def moments(x: Group, w: Group, q: Integers) -> tuple[Scale, Scale]:
    """sum(w x q), sum(w q q)."""
    f = q.astype(np.float32)
    return ordered_sum(w * x * f), ordered_sum(w * f * f)


def symmetric(x: Group, half: int, w: Group) -> tuple[Scale, Integers]:
    """q in -half .. half - 1, returned plus half (but 0 for a group of zeros): make_qx_quants."""
    largest = largest_down(x)

    def rounded(guess: np.float32) -> Integers:
        return clip(nearest_int(-guess / largest * x), -half, half - 1)

    q = rounded(np.float32(half))
    xq, qq = moments(x, w, q)
    scale = divide(xq, qq, qq != 0)
    best = scale * xq
    for step in (s for s in range(-9, 10) if s):
        other = rounded(np.float32(half) + np.float32(0.1) * np.float32(step))
        xq, qq = moments(x, w, other)
        better = (qq > 0) & (xq * xq > best * qq)
        q = np.where(better, other, q)
        scale = np.where(better, xq / qq, scale)
        best = np.where(better, scale * xq, best)
    zero = np.abs(largest) < TOO_SMALL
    return np.where(zero, np.float32(0), scale), np.where(zero, 0, q + half)


def descend(
    x: Group, w: Group, q: ndarray, xq: Scale, qq: Scale, low: int, high: int, *, both: bool
) -> Scale:
    """Change one integer at a time, in order, while that lowers the error; at most five rounds.

    `q` is changed in place.  `both`: also ask that the sum of squares without the integer is
    positive before dividing by the other sum (make_qp_quants does, make_q3_quants does not).
    """
    for _ in range(5):
        changed = False
        for xi, wi, qi in zip(x, w, q, strict=True):
            was = qi.astype(np.float32)
            without_xq, without_qq = xq - wi * xi * was, qq - wi * was * was
            new = clip(nearest_int(xi * without_qq / without_xq), low, high)
            f = new.astype(np.float32)
            new_xq, new_qq = without_xq + wi * xi * f, without_qq + wi * f * f
            better = (without_xq > 0) & (new != qi)
            better &= without_qq > 0 if both else new_qq > 0
            better &= new_xq * new_xq * qq > xq * xq * new_qq
            qi[better] = new[better]
            xq, qq = np.where(better, new_xq, xq), np.where(better, new_qq, qq)
            changed |= bool(better.any())
        if not changed:
            break
    return divide(xq, qq, qq > 0)


def descending(x: Group, half: int) -> tuple[Scale, Integers]:
    """As `symmetric` with w = x**2, from one guess and then by `descend`: make_q3_quants."""
    largest = largest_down(x)
    w = x * x
    q = clip(nearest_int(np.float32(-half) / largest * x), -half, half - 1)
    scale = descend(x, w, q, *moments(x, w, q), -half, half - 1, both=False)
    zero = np.abs(largest) < TOO_SMALL
    return np.where(zero, np.float32(0), scale), np.where(zero, 0, q + half)


def with_minimum(
    x: Group, top: int, w: Group, guesses: Iterator[np.float32], *, absolute: bool
) -> tuple[Scale, Scale, Integers]:
    """x = scale * q - minimum, q in 0 .. top, minimum >= 0: make_qkx2_quants, make_qkx3_quants.

    Each guess at the number of steps in the range gives integers; for those the best scale and
    minimum solve a 2 x 2 system (and the next guess is taken from that minimum up).  `absolute`
    compares sums of w |error| instead of w error**2.
    """
    low, highest = first_lowest(x), x.max(axis=0)
    low = np.where(low > 0, np.float32(0), low)
    sum_w, sum_x = ordered_sum(w), ordered_sum(w * x)

    def rounded(steps: np.float32) -> Integers:
        return clip(nearest_int(steps / (highest - low) * (x - low)), 0, top)

    def error(scale: Scale, low: Scale, q: Integers) -> Scale:
        off = scale * q.astype(np.float32) + low - x
        return ordered_sum(w * (np.abs(off) if absolute else off * off))

    steps = np.float32(top)
    flat = highest == low
    q, scale = rounded(steps), np.float32(1) / (steps / (highest - low))
    least = error(scale, low, q)
    for steps in guesses:
        other = rounded(steps)
        other_scale, other_low, solvable = _solve(x, w, other, sum_w, sum_x)
        off = error(other_scale, other_low, other)
        better = solvable & (off < least)
        q, least = np.where(better, other, q), np.where(better, off, least)
        scale, low = np.where(better, other_scale, scale), np.where(better, other_low, low)
    return np.where(flat, np.float32(0), scale), -low, np.where(flat, 0, q)


def _solve(
    x: Group, w: Group, q: Integers, sum_w: Scale, sum_x: Scale
) -> tuple[Scale, Scale, Bool[ndarray, "n"]]:
    """Least squares for scale and (negative) minimum; a positive one is set to zero."""
    f = q.astype(np.float32)
    wq = w * f
    sum_q, sum_qq, sum_xq = ordered_sum(wq), ordered_sum(wq * f), ordered_sum(wq * x)
    det = sum_w * sum_qq - sum_q * sum_q
    scale = (sum_w * sum_xq - sum_x * sum_q) / det
    low = (sum_qq * sum_x - sum_q * sum_xq) / det
    above = low > 0
    return (
        np.where(above, sum_xq / sum_qq, scale),
        np.where(above, np.float32(0), low),
        det > 0,
    )


def guesses(top: int, first: float, step: float, count: int) -> Iterator[np.float32]:
    """top + first, top + first + step, ... as C computes them."""
    for i in range(count + 1):
        yield np.float32(first) + np.float32(step) * np.float32(i) + np.float32(top)


def positive(x: Group, top: int, w: Group) -> tuple[Scale, Integers]:
    """q in 0 .. top for x >= 0 (the scales of a super-block are such): make_qp_quants.

    The integers live in a byte: for a negative x (IQ2_XXS has some) they wrap around, as in C.
    """
    largest = np.fmax(x.max(axis=0), np.float32(0))
    inverse = np.float32(top) / largest

    def error(inverse: Scale, q: ndarray) -> Scale:
        off = x - np.float32(1) / inverse * q.astype(np.float32)
        return ordered_sum(w * off * off)

    least = error(inverse, nearest_int(inverse * x).astype(np.uint8))
    for i in (i for i in range(-4, 5) if i):
        other = (np.float32(0.1) * np.float32(i) + np.float32(top)) / largest
        off = error(other, np.minimum(nearest_int(other * x), top))
        better = off < least
        least, inverse = np.where(better, off, least), np.where(better, other, inverse)
    rounded = np.minimum(nearest_int(inverse * x), top)
    q = rounded.astype(np.uint8)
    scale = descend(x, w, q, *moments(x, w, rounded), -(2**31), top, both=True)
    zero = largest < TOO_SMALL
    return np.where(zero, np.float32(0), scale), np.where(zero, 0, q.astype(np.int32))
