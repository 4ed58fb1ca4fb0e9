"""Numbers that know how far off they may be: the arithmetic under `refimpl.ops.bounds`.

An `Approx` is a float64 value and a bound on how far an engine's version of it may lie away.
Adding or multiplying two of them gives the bound of the result: *running error analysis*.  The
rules are that of one rounding, |fl(a op b) - (a op b)| <= u |a op b| + tiny, and that of a sum of n
terms **in any order**, whose error is at most gamma(n - 1) times the sum of magnitudes; so a bound
holds for every blocking, tree, SIMD width and schedule.  FMA only does better.

Source: Higham, Accuracy and Stability of Numerical Algorithms (2nd ed.), sections 2.2 (the model),
3.1 (gamma), 3.3 (running error analysis), 4.2 (sums in any order).

>>> gamma(3, 2.0**-24)
1.788...e-07
>>> from refimpl.ops.numerics import F32
>>> third = approx(np.float32([1.0]), F32) / approx(np.float32([3.0]), F32)
>>> float(third.error[0] / third.value[0] * 2**24)       # one rounding: u, relative to the value
1.0
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Float64
from numpy import ndarray

from refimpl.ops.numerics import FloatFormat, exact

Bound = Float64[ndarray, "..."]


def gamma(n: int, u: float) -> float:
    """n u / (1 - n u): the relative error of n roundings in any order (Higham, lemma 3.1)."""
    if n * u >= 1:
        raise ValueError(f"{n} roundings at u = {u} have no bound")
    return n * u / (1 - n * u)


def tiny(engine: FloatFormat) -> float:
    """What underflow may cost: the smallest subnormal number."""
    return float(2.0 ** (engine.emin - engine.precision + 1))


@dataclass(frozen=True, eq=False)
class Approx:
    """A float64 value and a bound on how far a computed version of it may lie away.

    `engine` is the format in which the engine computes; `ulps` is how many units in the last place
    its elementary functions (exp, tanh, ...) may be off.
    """

    value: Float64[ndarray, "..."]
    error: Float64[ndarray, "..."]
    engine: FloatFormat
    ulps: float = 4.0

    def rounded(self, roundings: ndarray | float | int = 1) -> "Approx":
        """Round once (or a few times): relative to what the engine may really hold."""
        size = self.engine.unit_roundoff * (np.abs(self.value) + self.error)
        return self.off_by(roundings * (size + tiny(self.engine)))

    def off_by(self, error: ndarray | float | int) -> "Approx":
        """So much further away."""
        return replace(self, error=np.asarray(self.error + error))

    def given(self, value: ndarray | float | int) -> "Approx":
        """An input: exact."""
        wide = np.asarray(value, dtype=np.float64)
        return Approx(wide, np.zeros_like(wide), self.engine, self.ulps)

    def _new(self, value: ndarray, error: ndarray) -> "Approx":
        return Approx(np.asarray(value), np.asarray(error), self.engine, self.ulps)

    def __getitem__(self, index: Any) -> "Approx":
        return self._new(self.value[index], self.error[index])

    def __add__(self, other: "Approx") -> "Approx":
        return self._new(self.value + other.value, self.error + other.error).rounded()

    def __sub__(self, other: "Approx") -> "Approx":
        return self._new(self.value - other.value, self.error + other.error).rounded()

    def __mul__(self, other: "Approx") -> "Approx":
        spread = np.abs(self.value) * other.error + np.abs(other.value) * self.error
        return self._new(self.value * other.value, spread + self.error * other.error).rounded()

    def __truediv__(self, other: "Approx") -> "Approx":
        least = np.abs(other.value) - other.error  # how small the divisor may be
        least = np.where(least > 0, least, np.nan)
        value = self.value / other.value
        return self._new(value, (self.error + np.abs(value) * other.error) / least).rounded()

    def sqrt(self) -> "Approx":
        """|sqrt(a + e) - sqrt(a)| <= e / sqrt(a), and never more than sqrt(e)."""
        root = np.sqrt(self.value)
        with np.errstate(divide="ignore", invalid="ignore"):
            moved = np.where(root > 0, self.error / root, np.inf)
        return self._new(root, np.minimum(moved, np.sqrt(self.error))).rounded()

    def function(
        self,
        f: Callable[[ndarray], ndarray],
        lipschitz: ndarray | float,
        scale: ndarray | float = 0.0,
    ) -> "Approx":
        """An elementary function with |f'| <= lipschitz between here and the error's end.

        `scale` bounds intermediate values whose relative error becomes absolute (0: none).
        """
        cost = 2 * self.ulps * self.engine.unit_roundoff * np.asarray(scale)
        return self._new(f(self.value), self.error * lipschitz + cost).rounded(2 * self.ulps)

    def exp(self) -> "Approx":
        """An exp made for speed may give 0 for what is not a normal number."""
        with np.errstate(over="ignore"):
            steepest = np.exp(self.value + self.error)
        return self.function(np.exp, steepest).off_by(2.0**self.engine.emin)

    def tanh(self) -> "Approx":
        return self.function(np.tanh, 1.0)

    def sum(self) -> "Approx":
        """The sum over the last axis, in any order."""
        n = self.value.shape[-1]
        magnitude = (np.abs(self.value) + self.error).sum(-1, keepdims=True)
        carried = self.error.sum(-1, keepdims=True)
        reordered = gamma(max(n - 1, 0), self.engine.unit_roundoff) * magnitude
        return self._new(self.value.sum(-1, keepdims=True), carried + reordered)

    def bound(self) -> Bound:
        """Against a reference that rounds to the engine's format: half an ulp more.

        The last factor covers the reference's own float64 arithmetic, 2**-29 of the rest.
        """
        half_ulp = self.given(self.value).rounded().error
        return np.asarray((self.error + half_ulp) * (1 + 2.0**-20))


def approx(x: Float[ndarray, "..."], engine: FloatFormat) -> Approx:
    """An exact input of an engine."""
    wide = exact(x)
    return Approx(wide, np.zeros_like(wide), engine)
