"""Numbers that find mistakes: arrays by kind and seed, NaN- and Inf-free.

Ordinary numbers find a wrong index.  A wrong accumulator shows only where terms cancel, a flushed
subnormal only where there are subnormals, a narrow intermediate only where numbers lie far apart.
An array is a function of (kind, shape, seed), so a counterexample is shrunk by shrinking these.

>>> values("cancelling", (1, 4), seed=0).round(2)
array([[ 0.  , -0.  ,  5.12, -5.12]], dtype=float32)
"""

from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Float32
from numpy import ndarray
from numpy.random import Generator

from refimpl.formats.quants.block import BlockType, Packed

Shape = tuple[int, ...]


def normal(rng: Generator, shape: Shape) -> ndarray:
    return np.asarray(rng.standard_normal(shape))


def wide(rng: Generator, shape: Shape) -> ndarray:
    """Magnitudes from 2^-20 to 2^20 beside one another."""
    return np.asarray(rng.standard_normal(shape) * np.exp2(rng.integers(-20, 21, shape)))


def cancelling(rng: Generator, shape: Shape) -> ndarray:
    """Every second number nearly undoes the one before it."""
    x = rng.standard_normal(shape) * np.exp2(rng.integers(-8, 9, shape))
    x[..., 1::2] = -x[..., 0::2][..., : x[..., 1::2].shape[-1]] * (1 + 2.0**-14)
    return np.asarray(x)


def subnormal(rng: Generator, shape: Shape) -> ndarray:
    """Below float32's smallest normal number, 2^-126, and zeros of both signs."""
    x = rng.standard_normal(shape) * 2.0**-130
    return np.asarray(np.where(rng.random(shape) < 0.3, np.copysign(0.0, x), x))


def spiked(rng: Generator, shape: Shape) -> ndarray:
    """One number a million times as large as the others."""
    x = rng.standard_normal(shape)
    if x.size:
        x.reshape(-1)[rng.integers(x.size)] *= 2.0**20
    return np.asarray(x)


def whole(rng: Generator, shape: Shape) -> ndarray:
    """Small integers: every engine can be exact, and ties abound."""
    return rng.integers(-3, 4, shape).astype(np.float64)


def zero(rng: Generator, shape: Shape) -> ndarray:
    return np.zeros(shape)


KINDS: Mapping[str, Callable[[Generator, Shape], ndarray]] = {
    "whole": whole,
    "normal": normal,
    "cancelling": cancelling,
    "wide": wide,
    "spiked": spiked,
    "subnormal": subnormal,
    "zero": zero,
}
"""Simplest first: hypothesis shrinks towards the first."""
TAME = ("whole", "normal", "cancelling", "zero")
"""Those that keep a softmax from being all one key."""


def values(kind: str, shape: Shape, seed: int) -> Float32[ndarray, "..."]:
    return KINDS[kind](np.random.default_rng(seed), shape).astype(np.float32)


LARGEST = 2.0**14
"""Weights beyond it would overflow float32 when multiplied with wide activations."""


def random_blocks(kind: BlockType, shape: Shape, seed: int) -> Packed:
    """A packed tensor of any bytes that decode to numbers: every scale, index and sign pattern.

    `shape` is in weights.  Float fields get numbers between 2^-12 and 1, of both signs; a block
    that still decodes to something huge or to no number (a scale stored as bits can) is all zero
    bytes instead.
    """
    rng = np.random.default_rng(seed)
    n = (*shape[:-1], kind.row_bytes(shape[-1]) // kind.dtype.itemsize)
    raw = rng.integers(0, 256, (*n, kind.dtype.itemsize), dtype=np.uint8)
    blocks = raw.view(kind.dtype)[..., 0]
    for name in kind.dtype.names or ():
        if kind.dtype[name].kind == "f":
            sign = np.where(rng.random(n) < 0.5, -1.0, 1.0)
            blocks[name] = sign * np.exp2(-12 * rng.random(n))
    with np.errstate(all="ignore"):
        decoded = kind.dequantize(blocks)
    usable = np.isfinite(decoded).all(-1) & (np.abs(np.nan_to_num(decoded)) < LARGEST).all(-1)
    blocks.view(np.uint8).reshape(raw.shape)[~usable] = 0
    return Packed(type=kind, blocks=blocks)


def plain_packed(kind: BlockType, shape: Shape, seed: int) -> Packed:
    """The same for types of one number each."""
    assert kind.quantize is not None
    weights = values("normal", shape, seed)
    return Packed(type=kind, blocks=kind.quantize(weights[..., None]))
