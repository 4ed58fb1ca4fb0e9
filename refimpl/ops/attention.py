"""Attention three ways: the formula, the definition, and the algorithm every fast engine uses.

Query t, at position p of its sequence, looks at the keys of positions p - window + 1 .. p (all of
0 .. p without a window), and takes the average of their values weighted by softmax(q.k * scale).

- `attend_textbook` is Vaswani et al. 2017, eq. 1, with matrices and a mask of -inf.
- `attend` is the definition in this project: each query over exactly the keys it can see.  Masked
  keys do not take part at all, so no chunking of the prompt can change a bit of the result.
- `attend_online` never holds a row of scores: it walks the keys in blocks and keeps a running
  maximum, sum and average (Milakov & Gimelshein 2018; FlashAttention, Dao et al. 2022, alg. 1).

They are equal in exact arithmetic, and the tests hold them to each other.

Heads: query head h reads key/value head h // (n_heads // n_kv_heads) (GQA, Ainslie et al. 2023; MQA
is the case of one key/value head).  `soft_cap` is Gemma 2's cap * tanh(score / cap).  `sinks` are
gpt-oss's learned logits, one a head: a key that takes weight and gives no value (the older sense,
StreamingLLM's first tokens that stay visible, is a matter of which keys a cache keeps).

Glossary: g query heads share a key/value head; n keys are visible; d is head_dim.

>>> rng = np.random.default_rng(0)
>>> q, k, v = (rng.standard_normal((5, heads, 4)).astype(np.float32) for heads in (4, 2, 2))
>>> whole = attend(q, k, v, np.arange(5), scale=0.5)
>>> last = attend(q[4:], k, v, np.array([4]), scale=0.5)      # the last query alone, as in decoding
>>> bool((whole[4] == last[0]).all())
True
"""

import numpy as np
from jaxtyping import Float, Float64, Integer
from numpy import ndarray

from refimpl.ops.numerics import F32, Rounding, dot, exact


def visible(position: int, window: int | None) -> slice:
    """The keys that a query at `position` can see; a window counts the query's own key.

    >>> visible(7, None), visible(7, 3)
    (slice(0, 8, None), slice(5, 8, None))
    """
    first = 0 if window is None else max(0, position - window + 1)
    return slice(first, position + 1)


def attend(
    q: Float[ndarray, "tokens heads head_dim"],
    k: Float[ndarray, "context kv_heads head_dim"],
    v: Float[ndarray, "context kv_heads v_dim"],
    positions: Integer[ndarray, " tokens"],
    *,
    scale: float,
    window: int | None = None,
    soft_cap: float | None = None,
    sinks: Float[ndarray, " heads"] | None = None,
    to: Rounding = F32,
) -> Float[ndarray, "tokens heads v_dim"]:
    """Each query over exactly its visible keys.  Row j of k and v belongs to position j."""
    out = np.empty((len(q), q.shape[1], v.shape[2]))  # [tokens, heads, v_dim]
    for t, position in enumerate(positions.tolist()):
        keys = visible(position, window)
        out[t] = attend_one(
            exact(q[t]), exact(k[keys]), exact(v[keys]), scale=scale, soft_cap=soft_cap, sinks=sinks
        )
    return to(out)


def attend_one(
    q: Float64[ndarray, "heads head_dim"],
    k: Float64[ndarray, "n kv_heads head_dim"],
    v: Float64[ndarray, "n kv_heads v_dim"],
    *,
    scale: float,
    soft_cap: float | None = None,
    sinks: Float[ndarray, " heads"] | None = None,
) -> Float64[ndarray, "heads v_dim"]:
    """One query over all the keys given, in float64, unrounded."""
    kv_heads = k.shape[1]
    grouped = q.reshape(kv_heads, -1, 1, q.shape[-1])  # [kv_heads, g, 1, d]
    scores = dot(grouped, k.transpose(1, 0, 2)[:, None])  # [kv_heads, g, n]
    scores = capped(scores * scale, soft_cap)
    top = scores.max(axis=-1, keepdims=True)
    extra = np.zeros_like(top)
    if sinks is not None:
        sink = exact(sinks).reshape(kv_heads, -1, 1)
        top = np.maximum(top, sink)
        extra = np.exp(sink - top)
    weights = np.exp(scores - top)
    total = dot(weights, np.ones(len(k)))[..., None] + extra  # [kv_heads, g, 1]
    average = (
        dot(weights[:, :, None], v.transpose(1, 2, 0)[:, None]) / total
    )  # [kv_heads, g, v_dim]
    return np.asarray(average.reshape(q.shape[0], -1))


def attend_textbook(
    q: Float[ndarray, "tokens heads head_dim"],
    k: Float[ndarray, "context kv_heads head_dim"],
    v: Float[ndarray, "context kv_heads v_dim"],
    positions: Integer[ndarray, " tokens"],
    *,
    scale: float,
    window: int | None = None,
    soft_cap: float | None = None,
    sinks: Float[ndarray, " heads"] | None = None,
    to: Rounding = F32,
) -> Float[ndarray, "tokens heads v_dim"]:
    """softmax(Q K^T * scale + mask) V, for all queries at once."""
    g = q.shape[1] // k.shape[1]
    keys, values = (np.repeat(exact(x), g, axis=1) for x in (k, v))  # [context, heads, d]
    scores = np.einsum("thd,jhd->htj", exact(q), keys) * scale  # [heads, tokens, context]
    distance = positions[:, None] - np.arange(len(k))  # [tokens, context]
    hidden = (distance < 0) | (distance >= (len(k) if window is None else window))
    scores = np.where(hidden, -np.inf, capped(scores, soft_cap))
    if sinks is not None:  # one more column, whose value is zero
        column = np.broadcast_to(exact(sinks)[:, None, None], (*scores.shape[:2], 1))
        scores = np.concatenate([scores, column], axis=-1)
        values = np.concatenate([values, np.zeros_like(values[:1])])
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    return to(np.einsum("htj,jhd->thd", weights, values))


def attend_online(
    q: Float[ndarray, "tokens heads head_dim"],
    k: Float[ndarray, "context kv_heads head_dim"],
    v: Float[ndarray, "context kv_heads v_dim"],
    positions: Integer[ndarray, " tokens"],
    *,
    scale: float,
    window: int | None = None,
    soft_cap: float | None = None,
    sinks: Float[ndarray, " heads"] | None = None,
    block: int = 16,
    to: Rounding = F32,
) -> Float[ndarray, "tokens heads v_dim"]:
    """One pass over the keys in blocks, keeping (maximum, sum, weighted sum) for every query.

    When a block raises the maximum, what was gathered so far is scaled down by e^(old - new).
    """
    g = q.shape[1] // k.shape[1]
    top = np.full((*q.shape[:2], 1), -np.inf)  # [tokens, heads, 1]
    total = np.zeros_like(top)
    if sinks is not None:  # a sink is a first block of one key without a value
        top[:] = exact(sinks)[:, None]
        total[:] = 1.0
    gathered = np.zeros((*q.shape[:2], v.shape[2]))  # [tokens, heads, v_dim]
    for start in range(0, len(k), block):
        keys = np.repeat(exact(k[start : start + block]), g, axis=1)
        values = np.repeat(exact(v[start : start + block]), g, axis=1)
        scores = capped(np.einsum("thd,jhd->thj", exact(q), keys) * scale, soft_cap)
        distance = positions[:, None] - np.arange(start, start + len(keys))  # [tokens, block]
        hidden = (distance < 0) | (distance >= (len(k) if window is None else window))
        scores = np.where(hidden[:, None, :], -np.inf, scores)
        raised = np.maximum(top, scores.max(axis=-1, keepdims=True))
        anchor = np.where(np.isneginf(raised), 0.0, raised)  # nothing seen yet: avoid inf - inf
        shrink = np.exp(top - anchor)
        weights = np.exp(scores - anchor)
        total = total * shrink + weights.sum(axis=-1, keepdims=True)
        gathered = gathered * shrink + np.einsum("thj,jhd->thd", weights, values)
        top = raised
    return to(gathered / total)


def capped(scores: Float64[ndarray, "..."], cap: float | None) -> Float64[ndarray, "..."]:
    """cap * tanh(scores / cap), or the scores themselves."""
    return scores if cap is None else cap * np.tanh(scores / cap)
