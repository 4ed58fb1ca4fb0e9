"""How far an engine that computes in finite precision may lie from the reference.

No tolerance in this project is chosen.  An operation is written down once more, on numbers that
carry a bound of their own error (`Approx`), and the bound of the result comes out: *running error
analysis*.  The rules are that of one rounding, |fl(a op b) - (a op b)| <= u |a op b| + tiny, and
that of a sum of n terms **in any order**, whose error is at most gamma(n - 1) times the sum of
magnitudes; so the bound holds for every blocking, tree, SIMD width and schedule.  FMA only does
better.

The reference rounds its own result to the same format, which adds half an ulp.

Source: Higham, Accuracy and Stability of Numerical Algorithms (2nd ed.), sections 2.2 (the model),
3.1 (gamma), 3.3 (running error analysis), 4.2 (sums in any order).

>>> gamma(3, 2.0**-24)
1.788...e-07
>>> from refimpl.ops.numerics import F32
>>> x, w = np.float32([[1, 2, 3]]), np.float32([[4, 5, 6]])
>>> linear(x, w, None, F32)                           # y = 32: three products, two sums, one ulp/2
array([[7.62...e-06]])
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Integer
from numpy import ndarray

from refimpl.ops import activation
from refimpl.ops import rope as ropes
from refimpl.ops.attention import visible
from refimpl.ops.numerics import FloatFormat, exact

Bound = Float64[ndarray, "..."]


def gamma(n: int, u: float) -> float:
    """n u / (1 - n u): the relative error of n roundings in any order (Higham, lemma 3.1)."""
    if n * u >= 1:
        raise ValueError(f"{n} roundings at u = {u} have no bound")
    return n * u / (1 - n * u)


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

    def _rounded(self, value: ndarray, error: ndarray, roundings: float = 1.0) -> "Approx":
        """Round once (or to a few ulps): relative to what the engine may really hold."""
        tiny = 2.0 ** (self.engine.emin - self.engine.precision + 1)  # what underflow may cost
        slack = roundings * (self.engine.unit_roundoff * (np.abs(value) + error) + tiny)
        return Approx(value, error + slack, self.engine, self.ulps)

    def given(self, value: ndarray | float | int) -> "Approx":
        """An input: exact."""
        wide = np.asarray(value, dtype=np.float64)
        return Approx(wide, np.zeros_like(wide), self.engine, self.ulps)

    def __add__(self, other: "Approx") -> "Approx":
        return self._rounded(self.value + other.value, self.error + other.error)

    def __sub__(self, other: "Approx") -> "Approx":
        return self._rounded(self.value - other.value, self.error + other.error)

    def __mul__(self, other: "Approx") -> "Approx":
        spread = np.abs(self.value) * other.error + np.abs(other.value) * self.error
        return self._rounded(self.value * other.value, spread + self.error * other.error)

    def __truediv__(self, other: "Approx") -> "Approx":
        least = np.abs(other.value) - other.error  # how small the divisor may be
        least = np.where(least > 0, least, np.nan)
        value = self.value / other.value
        return self._rounded(value, (self.error + np.abs(value) * other.error) / least)

    def sqrt(self) -> "Approx":
        """|sqrt(a + e) - sqrt(a)| <= e / sqrt(a), and never more than sqrt(e)."""
        root = np.sqrt(self.value)
        with np.errstate(divide="ignore", invalid="ignore"):
            moved = np.where(root > 0, self.error / root, np.inf)
        return self._rounded(root, np.minimum(moved, np.sqrt(self.error)))

    def function(
        self,
        f: Callable[[ndarray], ndarray],
        lipschitz: ndarray | float,
        scale: ndarray | float = 0.0,
    ) -> "Approx":
        """An elementary function with |f'| <= lipschitz between here and the error's end.

        `scale` bounds intermediate values whose relative error becomes absolute (0: none).
        """
        value = f(self.value)
        cost = 2 * self.ulps * self.engine.unit_roundoff * np.asarray(scale)
        return self._rounded(value, self.error * lipschitz + cost, 2 * self.ulps)

    def exp(self) -> "Approx":
        return self.function(np.exp, np.exp(self.value + self.error))

    def tanh(self) -> "Approx":
        return self.function(np.tanh, 1.0)

    def sum(self) -> "Approx":
        """The sum over the last axis, in any order."""
        n = self.value.shape[-1]
        magnitude = (np.abs(self.value) + self.error).sum(-1, keepdims=True)
        carried = self.error.sum(-1, keepdims=True)
        reordered = gamma(max(n - 1, 0), self.engine.unit_roundoff) * magnitude
        value = self.value.sum(-1, keepdims=True)
        return Approx(value, carried + reordered, self.engine, self.ulps)

    def bound(self) -> Bound:
        """Against a reference that rounds to the engine's format: half an ulp more.

        The last factor covers the reference's own float64 arithmetic, 2**-29 of the rest.
        """
        half_ulp = self._rounded(self.value, np.zeros_like(self.error)).error
        return np.asarray((self.error + half_ulp) * (1 + 2.0**-20))


def approx(x: Float[ndarray, "..."], engine: FloatFormat) -> Approx:
    """An exact input of an engine."""
    wide = exact(x)
    return Approx(wide, np.zeros_like(wide), engine)


def linear(
    x: Float[ndarray, "tokens inner"],
    weight: Float[ndarray, "outer inner"],
    bias: Float[ndarray, " outer"] | None,
    engine: FloatFormat,
) -> Float64[ndarray, "tokens outer"]:
    """|y - ref| <= gamma(K) sum |x w| + ...: K products and K - 1 sums in any order."""
    y = (approx(x[:, None, :], engine) * approx(weight[None], engine)).sum()
    if bias is not None:
        y = y + approx(bias[None, :, None], engine)
    return y.bound()[..., 0]


def rms_norm(
    x: Float[ndarray, "*rows dim"], weight: Float[ndarray, " dim"], eps: float, engine: FloatFormat
) -> Float64[ndarray, "*rows dim"]:
    a = approx(x, engine)
    mean = (a * a).sum() / a.given(x.shape[-1])
    root = (mean + a.given(eps)).sqrt()
    return (a / root * approx(weight, engine)).bound()


def layer_norm(
    x: Float[ndarray, "*rows dim"],
    weight: Float[ndarray, " dim"],
    bias: Float[ndarray, " dim"],
    eps: float,
    engine: FloatFormat,
) -> Float64[ndarray, "*rows dim"]:
    """Two passes: the mean first, then the squares of what is left."""
    a = approx(x, engine)
    n = a.given(x.shape[-1])
    centred = a - a.sum() / n
    root = ((centred * centred).sum() / n + a.given(eps)).sqrt()
    return (centred / root * approx(weight, engine) + approx(bias, engine)).bound()


def softmax(x: Float[ndarray, "*rows n"], engine: FloatFormat) -> Float64[ndarray, "*rows n"]:
    return _softmax(approx(x, engine)).bound()


def _softmax(a: Approx) -> Approx:
    powers = _powers(a)
    return powers / powers.sum()


def _powers(a: Approx) -> Approx:
    """e^(a - max).  Whatever maximum the engine subtracts, the quotient does not change, so it
    counts as exact; but the difference that is rounded may be larger by the maximum's error."""
    below = a - a.given(a.value.max(-1, keepdims=True))
    off = a.engine.unit_roundoff * a.error.max(-1, keepdims=True)
    return Approx(below.value, below.error + off, a.engine, a.ulps).exp()


def glu(
    gate: Float[ndarray, "*shape"], up: Float[ndarray, "*shape"], kind: str, engine: FloatFormat
) -> Float64[ndarray, "*shape"]:
    """The activations grow at most like 1.13 x and are x times a factor in [-0.2, 1.2]."""
    a = approx(gate, engine)
    return (activated(a, kind) * approx(up, engine)).bound()


def activated(a: Approx, kind: str) -> Approx:
    """A few roundings relative to |x|: x times a sigmoid, a tanh or an erf in [0, 1]."""
    return a.function(activation.ACTIVATIONS[kind], 1.13, np.abs(a.value))


def attend(
    q: Float[ndarray, "tokens heads head_dim"],
    k: Float[ndarray, "context kv_heads head_dim"],
    v: Float[ndarray, "context kv_heads v_dim"],
    positions: Integer[ndarray, " tokens"],
    engine: FloatFormat,
    *,
    scale: float,
    window: int | None = None,
    soft_cap: float | None = None,
) -> Float64[ndarray, "tokens heads v_dim"]:
    """Holds for the textbook order and for online softmax in blocks of any size.

    A walk over n keys rescales a term at most n times, by e^(old - new): an exp and a product each,
    and differences whose roundings add up to at most u times the scores' range.
    """
    g = q.shape[1] // k.shape[1]
    rows = []
    for t, position in enumerate(positions.tolist()):
        keys = visible(position, window)
        kt = np.repeat(exact(k[keys]), g, axis=1).transpose(1, 0, 2)  # [heads, n, d]
        vt = np.repeat(exact(v[keys]), g, axis=1).transpose(1, 2, 0)  # [heads, v_dim, n]
        scores = (approx(q[t][:, None, :], engine) * approx(kt, engine)).sum()
        scores = scores * scores.given(scale)
        if soft_cap is not None:
            cap = scores.given(soft_cap)
            scores = cap * (scores / cap).tanh()
        flat = Approx(scores.value[..., 0], scores.error[..., 0], engine)  # [heads, n]
        powers = _powers(flat)
        span = flat.value.max() - flat.value.min() + 2 * flat.error.max()
        roundings = flat.value.shape[-1] * int(2 * powers.ulps + 2) + int(np.ceil(span))
        rescaled = gamma(roundings, engine.unit_roundoff) * (powers.value + powers.error)
        powers = Approx(powers.value, powers.error + rescaled, engine)
        lifted = Approx(powers.value[:, None, :], powers.error[:, None, :], engine)
        total = lifted.sum()
        rows.append(((lifted * approx(vt, engine)).sum() / total).bound()[..., 0])
    return np.stack(rows)


def rope(
    x: Float[ndarray, "tokens heads head_dim"],
    positions: Integer[ndarray, " tokens"],
    frequencies: Float64[ndarray, " pairs"],
    layout: ropes.Layout,
    engine: FloatFormat,
) -> Float64[ndarray, "tokens heads head_dim"]:
    """An engine that multiplies position and frequency in its own format, as most do.

    The angle then carries two roundings, of the frequency and of the product, which at position p
    turn a pair by as much as 2 u p radians too far: long contexts need better angles than float32.
    """
    frequency = Approx(frequencies, engine.unit_roundoff * np.abs(frequencies), engine)
    angle = approx(positions[:, None, None].astype(np.float64), engine) * frequency
    cos, sin = angle.function(np.cos, 1.0), angle.function(np.sin, 1.0)
    out = np.zeros(x.shape)
    pairs = len(frequencies)
    a, b = (
        (slice(0, 2 * pairs, 2), slice(1, 2 * pairs, 2))
        if layout == "interleaved"
        else (slice(0, pairs), slice(pairs, 2 * pairs))
    )
    first, second = approx(x[..., a], engine), approx(x[..., b], engine)
    out[..., a] = (first * cos - second * sin).bound()
    out[..., b] = (first * sin + second * cos).bound()
    return out


def add(
    a: Float[ndarray, "*shape"], b: Float[ndarray, "*shape"], engine: FloatFormat
) -> Float64[ndarray, "*shape"]:
    """One rounding each: an engine and the reference can differ by an ulp at most, and do not."""
    return (approx(a, engine) + approx(b, engine)).bound()
