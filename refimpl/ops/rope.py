"""Rotary position embedding: turn each pair of coordinates by an angle that grows with position.

A dot product of two rotated vectors depends only on the difference of their positions, which is
the whole point.  Pair i turns by position * frequency[i]; frequencies fall geometrically from 1
radian a token to 1/base.  Two facts differ between model files:

- the layout: which coordinates form a pair.  "interleaved" pairs (0,1)(2,3)..., as in the paper and
  in llama GGUFs; "half" pairs (0, d/2)(1, d/2+1)..., as in Hugging Face code and GPT-NeoX;
- the frequencies: a model stretched to a longer context slows some of them down.

Sources: Su et al. 2021 (RoFormer, eq. 15); Chen et al. 2023 (position interpolation: "linear");
Peng et al. 2023 (YaRN; its section 3.1 is the NTK-aware change of base); Llama 3.1's model card and
reference code ("llama3"); Ding et al. 2024 (LongRoPE: per-pair factors).

>>> x = np.float32([[[1, 0, 0, 0]]])                            # one token, one head, head_dim 4
>>> rope(x, np.array([1]), frequencies(4, base=100.0), "interleaved").round(3)
array([[[0.54 , 0.841, 0.   , 0.   ]]], dtype=float32)
>>> rope(x, np.array([1]), frequencies(4, base=100.0), "half").round(3)
array([[[0.54 , 0.   , 0.841, 0.   ]]], dtype=float32)
"""

from dataclasses import dataclass
from math import log, pi, sqrt
from typing import Literal

import numpy as np
from jaxtyping import Float, Float64, Integer
from numpy import ndarray

from refimpl.ops.numerics import F32, Rounding, exact

Layout = Literal["interleaved", "half"]


def rope(
    x: Float[ndarray, "tokens heads head_dim"],
    positions: Integer[ndarray, " tokens"],
    frequencies: Float64[ndarray, " pairs"],
    layout: Layout,
    magnitude: float = 1.0,
    *,
    to: Rounding = F32,
) -> Float[ndarray, "tokens heads head_dim"]:
    """Rotate the first 2 * pairs coordinates of every head; the rest pass through unchanged.

    `magnitude` multiplies the rotated part (YaRN's and LongRoPE's attention factor).
    """
    wide = exact(x).copy()
    rotated = wide[..., : 2 * len(frequencies)]  # [tokens, heads, 2 * pairs]
    if layout == "interleaved":
        a, b = rotated[..., 0::2], rotated[..., 1::2]
    else:
        a, b = rotated[..., : len(frequencies)], rotated[..., len(frequencies) :]
    angles = positions[:, None, None] * frequencies  # [tokens, 1, pairs]
    cos, sin = np.cos(angles) * magnitude, np.sin(angles) * magnitude
    a[...], b[...] = a * cos - b * sin, a * sin + b * cos
    return to(wide)


def frequencies(rotary_dim: int, base: float) -> Float64[ndarray, " pairs"]:
    """base ** (-2i / rotary_dim) radians a token, for pair i."""
    return np.asarray(float(base) ** (-np.arange(0, rotary_dim, 2) / rotary_dim))


@dataclass(frozen=True, kw_only=True)
class Linear:
    """Position interpolation: all angles shrink by the factor."""

    factor: float

    def frequencies(self, rotary_dim: int, base: float) -> Float64[ndarray, " pairs"]:
        return frequencies(rotary_dim, base) / self.factor

    @property
    def magnitude(self) -> float:
        return 1.0


@dataclass(frozen=True, kw_only=True)
class NTK:
    """A larger base: the slowest pair slows by `factor`, the fastest hardly at all."""

    factor: float

    def frequencies(self, rotary_dim: int, base: float) -> Float64[ndarray, " pairs"]:
        return frequencies(rotary_dim, base * self.factor ** (rotary_dim / (rotary_dim - 2)))

    @property
    def magnitude(self) -> float:
        return 1.0


@dataclass(frozen=True, kw_only=True)
class Llama3:
    """Slow pairs are slowed further by `factor`, fast ones stay, with a ramp between."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_context: int

    def frequencies(self, rotary_dim: int, base: float) -> Float64[ndarray, " pairs"]:
        plain = frequencies(rotary_dim, base)
        turns = self.original_context * plain / (2 * pi)  # full turns within the training context
        span = self.high_freq_factor - self.low_freq_factor
        keep = np.clip((turns - self.low_freq_factor) / span, 0.0, 1.0)
        return np.asarray((1 - keep) * plain / self.factor + keep * plain)

    @property
    def magnitude(self) -> float:
        return 1.0


@dataclass(frozen=True, kw_only=True)
class Yarn:
    """Pairs that turn often are kept, those that turn less than once interpolated (section 3.2);
    attention is sharpened by `magnitude` to make up for the crowding (section 3.4)."""

    factor: float
    original_context: int
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    attention_factor: float | None = None
    truncate: bool = True

    def frequencies(self, rotary_dim: int, base: float) -> Float64[ndarray, " pairs"]:
        plain = frequencies(rotary_dim, base)
        low, high = (
            self._pair(turns, rotary_dim, base) for turns in (self.beta_fast, self.beta_slow)
        )
        if self.truncate:
            low, high = np.floor(low), np.ceil(high)
        low, high = max(low, 0.0), min(high, rotary_dim - 1.0)
        ramp = (np.arange(len(plain)) - low) / (high - low if high != low else 0.001)
        keep = 1.0 - np.clip(ramp, 0.0, 1.0)
        return np.asarray((1 - keep) * plain / self.factor + keep * plain)

    def _pair(self, turns: float, rotary_dim: int, base: float) -> float:
        """The (fractional) pair that makes `turns` full turns within the training context."""
        return rotary_dim * log(self.original_context / (turns * 2 * pi)) / (2 * log(base))

    @property
    def magnitude(self) -> float:
        if self.attention_factor is not None:
            return self.attention_factor
        return 1.0 if self.factor <= 1 else 0.1 * log(self.factor) + 1.0


@dataclass(frozen=True, kw_only=True)
class Factors:
    """A divisor for every pair: llama GGUFs' `rope_freqs.weight`, and LongRoPE's two tables."""

    divisors: tuple[float, ...]
    magnitude: float = 1.0

    def frequencies(self, rotary_dim: int, base: float) -> Float64[ndarray, " pairs"]:
        return np.asarray(frequencies(rotary_dim, base) / np.asarray(self.divisors))

    @staticmethod
    def longrope_magnitude(stretch: float, original_context: int) -> float:
        """LongRoPE's attention factor for a context `stretch` times the one trained on."""
        return 1.0 if stretch <= 1 else sqrt(1 + log(stretch) / log(original_context))


Scaling = Linear | NTK | Llama3 | Yarn | Factors
