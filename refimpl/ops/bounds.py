"""How far an engine that computes in finite precision may lie from the reference.

No tolerance in this project is chosen.  An operation is written down once more, on numbers that
carry a bound of their own error (`refimpl.ops.approx`), and the bound of the result comes out.  It
holds for every order of addition, so for every blocking, tree, SIMD width and schedule.

The reference rounds its own result to the same format, which adds half an ulp.

Each function takes the arguments of the operation it is named after, and `engine`, the format in
which the engine computes.  What engines are known to do besides, the bounds allow: multiply by a
reciprocal, fold the scale and log2(e) into the scores, keep a quantised block's scale outside of
its sum, flush an exp to zero.  They do not allow another algorithm: a one-pass variance has another
bound, and an engine that uses it must declare it.

>>> from refimpl.ops.numerics import F32
>>> x, w = np.float32([[1, 2, 3]]), np.float32([[4, 5, 6]])
>>> linear(x, w, engine=F32)                          # y = 32: three products, two sums, one ulp/2
array([[7.62...e-06]])
"""

import numpy as np
from jaxtyping import Float, Float64, Integer
from numpy import ndarray

from refimpl.formats.quants import dot
from refimpl.formats.quants.block import Packed, Tensor
from refimpl.ops import activation, half
from refimpl.ops import moe as experts
from refimpl.ops import rope as ropes
from refimpl.ops.approx import Approx, approx, gamma, tiny
from refimpl.ops.attention import visible
from refimpl.ops.numerics import BF16, FloatFormat, exact

EXTRA = 8
"""Roundings that quantised dot products have besides their sums: scales, minimums, decoding, and
the lanes of a vector that are added last."""


def embed(
    table: Tensor, tokens: Integer[ndarray, " tokens"], scale: float = 1.0, *, engine: FloatFormat
) -> Float64[ndarray, "tokens dim"]:
    """Decoding is exact.  A scale is rounded to the engine's format, and so is the product."""
    rows = approx(table[tokens], engine)
    if scale == 1.0:
        return np.zeros(rows.value.shape)
    return (rows * rows.given(scale).rounded()).bound()


def linear(
    x: Float[ndarray, "tokens inner"],
    weight: Tensor,
    bias: Float[ndarray, " outer"] | None = None,
    *,
    engine: FloatFormat,
) -> Float64[ndarray, "tokens outer"]:
    """|y - ref| <= gamma(K) sum |x w| + ...: K products and K - 1 sums in any order.

    With packed weights w = scale * q - minimum an engine may sum q x and x first, so the magnitudes
    are those of scale * q and of the minimum, which may cancel in w.
    """
    wide, w = exact(x), exact(weight[...])
    inner = w.shape[1]
    if isinstance(weight, Packed) and weight.type.split is not None:
        size, largest = decoded_sizes(weight)
        return products(wide @ w.T, np.abs(wide) @ size.T, inner + EXTRA, largest, bias, engine)
    return products(wide @ w.T, np.abs(wide) @ np.abs(w).T, inner, 1.0, bias, engine)


def decoded_sizes(weight: Packed) -> tuple[Float64[ndarray, "outer inner"], float]:
    """|scale q| + |minimum| of every weight, and the largest number that multiplies a sum."""
    parts = dot.split_rows(weight.type, weight.blocks)
    inner = parts.q.shape[1]
    scale = np.abs(dot.exactly(parts.scale, inner))
    low = np.zeros(1) if parts.minimum is None else np.abs(dot.exactly(parts.minimum, inner))
    q = np.abs(exact(parts.q))
    return scale * q + low, 1.0 + float(max(scale.max(), low.max(), q.max()))


def products(
    value: Float64[ndarray, "tokens outer"],
    magnitude: Float64[ndarray, "tokens outer"],
    roundings: int,
    largest: float,
    bias: Float[ndarray, " outer"] | None,
    engine: FloatFormat,
) -> Float64[ndarray, "tokens outer"]:
    """A sum of products with so many roundings on the way of each, and a bias."""
    lost = 2 * roundings * tiny(engine) * largest
    y = Approx(value, gamma(roundings, engine.unit_roundoff) * magnitude + lost, engine)
    return (y if bias is None else y + approx(bias, engine)).bound()


def linear_q8(
    x: Float[ndarray, "tokens inner"],
    weight: Tensor,
    bias: Float[ndarray, " outer"] | None = None,
    *,
    engine: FloatFormat,
) -> Float64[ndarray, "tokens outer"]:
    """act="q8": integers are summed exactly, so what is added is segments, not products."""
    if not isinstance(weight, Packed) or weight.type.split is None:
        return linear(x, weight, bias, engine=engine)
    act = dot.partner(weight.type)
    x = np.asarray(x, np.float32)
    y, magnitude = dot.unrounded(x, weight.type, weight.blocks, act)
    segments = max(
        dot.split_rows(dot.activation_type(act), dot.quantize_activations(x, act)).scale.shape[1],
        dot.split_rows(weight.type, weight.blocks[:1]).scale.shape[1],
    )
    largest = 128.0 * 256 * decoded_sizes(weight)[1]
    return products(y, magnitude, segments + EXTRA, largest, bias, engine)


def linear_half(
    x: Float[ndarray, "tokens inner"],
    weight: Tensor,
    bias: Float[ndarray, " outer"] | None = None,
    *,
    engine: FloatFormat,
) -> Float64[ndarray, "tokens outer"]:
    """act="half": the rounding is part of the definition, and what follows is a sum like any other.

    An engine may add bfloat16 products with instructions that know no subnormal numbers.
    """
    to = half.half_of(weight)
    if to is None:
        return linear_q8(x, weight, bias, engine=engine)
    with np.errstate(over="ignore", invalid="ignore"):
        x = half.rounded(x, weight)
        bound = linear(x, weight, bias, engine=engine)
        return bound + half.flushed(x, weight, engine) if to is BF16 else bound


def add(
    a: Float[ndarray, "*shape"], b: Float[ndarray, "*shape"], *, engine: FloatFormat
) -> Float64[ndarray, "*shape"]:
    """One rounding each: an engine and the reference can differ by an ulp at most, and do not."""
    return (approx(a, engine) + approx(b, engine)).bound()


def rms_norm(
    x: Float[ndarray, "*rows dim"],
    weight: Float[ndarray, " dim"],
    eps: float,
    *,
    engine: FloatFormat,
) -> Float64[ndarray, "*rows dim"]:
    a = approx(x, engine)
    return (a * inverse_root(a, eps) * approx(weight, engine)).bound()


def layer_norm(
    x: Float[ndarray, "*rows dim"],
    weight: Float[ndarray, " dim"],
    bias: Float[ndarray, " dim"] | None,
    eps: float,
    *,
    engine: FloatFormat,
) -> Float64[ndarray, "*rows dim"]:
    """Two passes: the mean first, then the squares of what is left."""
    a = approx(x, engine)
    centred = a - mean(a)
    scaled = centred * inverse_root(centred, eps) * approx(weight, engine)
    return (scaled if bias is None else scaled + approx(bias, engine)).bound()


def mean(a: Approx) -> Approx:
    """The sum over n, or the sum times a rounded 1/n."""
    return (a.sum() / a.given(a.value.shape[-1])).rounded()


def inverse_root(a: Approx, eps: float) -> Approx:
    """1 / sqrt(mean(a^2) + eps), by a division or by a function of its own."""
    root = (mean(a * a) + a.given(eps).rounded()).sqrt()
    return (root.given(1.0) / root).rounded(2 * a.ulps)


def softmax(x: Float[ndarray, "*rows n"], *, engine: FloatFormat) -> Float64[ndarray, "*rows n"]:
    return shares(approx(x, engine)).bound()


def shares(a: Approx) -> Approx:
    """The softmax over the last axis."""
    numerators = powers(a)
    return numerators / numerators.sum()


def powers(a: Approx) -> Approx:
    """e^(a - max).  Whatever maximum the engine subtracts, the quotient does not change, so it
    counts as exact; but the difference that is rounded may be larger by the maximum's error, and
    both its terms may have been multiplied by a rounded log2(e)."""
    top = a.value.max(-1, keepdims=True)
    folded = 2 * (np.abs(a.value) + np.abs(top)) + a.error.max(-1, keepdims=True)
    return (a - a.given(top)).off_by(a.engine.unit_roundoff * folded).exp()


def activate(
    x: Float[ndarray, "*shape"], kind: str, *, engine: FloatFormat
) -> Float64[ndarray, "*shape"]:
    return activated(approx(x, engine), kind).bound()


def glu(
    gate: Float[ndarray, "*shape"], up: Float[ndarray, "*shape"], kind: str, *, engine: FloatFormat
) -> Float64[ndarray, "*shape"]:
    return (activated(approx(gate, engine), kind) * approx(up, engine)).bound()


def activated(a: Approx, kind: str) -> Approx:
    """An activation of an exact input.

    A GELU multiplies x by 1 + tanh or 1 + erf, which cancel for x < 0: a few roundings relative to
    |x|.  SiLU only divides x by 1 + e^-x, whose exponent may have been multiplied by log2(e): a few
    roundings, and |x| more, relative to the result.
    """
    f = activation.ACTIVATIONS[kind]
    if kind != "silu":
        return a.function(f, 1.13, np.abs(a.value))
    y = Approx(f(a.value), np.zeros_like(a.value), a.engine)
    flushed = np.abs(a.value) * 2.0**a.engine.emin
    return y.rounded(2 * a.ulps + 4 + 2 * np.abs(a.value)).off_by(flushed)


def soft_cap(
    x: Float[ndarray, "*shape"], cap: float, *, engine: FloatFormat
) -> Float64[ndarray, "*shape"]:
    return capped(approx(x, engine), cap).bound()


def capped(a: Approx, cap: float) -> Approx:
    """cap tanh(a / cap), or times a rounded 1 / cap."""
    limit = a.given(cap).rounded()
    return limit * (a / limit).rounded().tanh()


def attend(
    q: Float[ndarray, "tokens heads head_dim"],
    k: Float[ndarray, "context kv_heads head_dim"],
    v: Float[ndarray, "context kv_heads v_dim"],
    positions: Integer[ndarray, " tokens"],
    *,
    engine: FloatFormat,
    scale: float,
    window: int | None = None,
    soft_cap: float | None = None,
    sinks: Float[ndarray, " heads"] | None = None,
) -> Float64[ndarray, "tokens heads v_dim"]:
    """Holds for the textbook order and for online softmax in blocks of any size."""
    g = q.shape[1] // k.shape[1]
    rows = []
    for t, position in enumerate(positions.tolist()):
        keys = visible(position, window)
        kt = np.repeat(exact(k[keys]), g, axis=1).transpose(1, 0, 2)  # [heads, n, d]
        vt = np.repeat(exact(v[keys]), g, axis=1).transpose(1, 2, 0)  # [heads, v_dim, n]
        scaled = approx(exact(q[t][:, None, :]) * scale, engine).rounded(2)  # [heads, 1, d]
        scores = (scaled * approx(kt, engine)).sum()[..., 0]  # [heads, n]
        scores = scores if soft_cap is None else capped(scores, soft_cap)
        parts = rescaled(powers(scores if sinks is None else with_sink(scores, exact(sinks))))
        n = vt.shape[-1]
        average = (parts[:, None, :n] * approx(vt, engine)).sum() / parts[:, None, :].sum()
        rows.append(average.bound()[..., 0])
    return np.stack(rows)


def with_sink(scores: Approx, sinks: Float64[ndarray, " heads"]) -> Approx:
    """One more key a head; its score is an input."""
    column = scores.given(sinks[:, None])
    return Approx(
        np.concatenate([scores.value, column.value], axis=1),
        np.concatenate([scores.error, column.error], axis=1),
        scores.engine,
        scores.ulps,
    )


def rescaled(parts: Approx) -> Approx:
    """A walk over n keys rescales a term at most n times, by e^(old - new): an exp and a product
    each, and differences whose roundings add up to at most u times the scores' range."""
    with np.errstate(divide="ignore"):
        span = -np.log(np.maximum(parts.value.min(), 5e-324))
    roundings = parts.value.shape[-1] * int(2 * parts.ulps + 2) + int(np.ceil(span))
    return parts.off_by(gamma(roundings, parts.engine.unit_roundoff) * (parts.value + parts.error))


def rope(
    x: Float[ndarray, "tokens heads head_dim"],
    positions: Integer[ndarray, " tokens"],
    frequencies: Float64[ndarray, " pairs"],
    layout: ropes.Layout,
    magnitude: float = 1.0,
    *,
    engine: FloatFormat,
) -> Float64[ndarray, "tokens heads head_dim"]:
    """An engine that multiplies position and frequency in its own format, as most do.

    The angle then carries two roundings, of the frequency and of the product, which at position p
    turn a pair by as much as 2 u p radians too far: long contexts need better angles than float32.
    """
    frequency = approx(frequencies, engine).rounded()
    angle = approx(positions[:, None, None].astype(np.float64), engine) * frequency
    size = angle.given(magnitude).rounded()
    cos, sin = angle.function(np.cos, 1.0) * size, angle.function(np.sin, 1.0) * size
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


def moe(
    x: Float[ndarray, "tokens dim"],
    router_logits: Float[ndarray, "tokens experts"],
    expert: experts.Expert,
    n_used: int,
    renormalise: bool,
    *,
    engine: FloatFormat,
) -> Float64[ndarray, "tokens dim"]:
    """The weighted sum; an expert's own result is an input here.

    Where two experts are so nearly as likely that an engine may take the other, there is no bound.
    """
    share = shares(approx(router_logits, engine))
    ids, _ = experts.route(router_logits, n_used, renormalise)
    rows = np.arange(len(x))[:, None]
    chosen = share[rows, ids]  # [tokens, used]
    chosen = chosen / chosen.sum() if renormalise else chosen
    outputs = np.zeros((len(x), n_used, x.shape[1]))  # [tokens, used, dim]
    for e in np.unique(ids).tolist():
        token, slot = np.nonzero(ids == e)
        outputs[token, slot] = exact(expert(e, x[token]))
    y = (chosen[:, None, :] * approx(outputs.transpose(0, 2, 1), engine)).sum()
    sure = decidable(share, router_logits, ids)
    return np.where(sure[:, None], y.bound()[..., 0], np.inf)


def decidable(share: Approx, logits: Float[ndarray, "tokens experts"], ids: ndarray) -> ndarray:
    """Is the last expert chosen surely likelier than the next?  A tie is decided by id."""
    n_used = ids.shape[1]
    if n_used == logits.shape[1]:
        return np.ones(len(logits), dtype=bool)
    order = np.argsort(-share.value, axis=-1, kind="stable")
    rows, last, next_ = np.arange(len(logits)), order[:, n_used - 1], order[:, n_used]
    gap = share.value[rows, last] - share.value[rows, next_]
    doubt = share.error[rows, last] + share.error[rows, next_]
    return np.asarray((gap > doubt) | (logits[rows, last] == logits[rows, next_]))
