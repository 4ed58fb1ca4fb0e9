"""An honest engine in float32 throughout: NumPy, another order of addition, online softmax.

It is what the bounds are about: nothing in it is wrong, everything is rounded all the time.  Rows
are computed one by one, so that it keeps the laws of scheduling.
"""

import numpy as np

from refimpl.backend import Composed
from refimpl.formats.quants import widen
from refimpl.ops.moe import route

f = np.float32


def tree(terms):
    """Sums over the last axis, in pairs."""
    assert terms.shape[-1]
    while terms.shape[-1] > 1:
        if terms.shape[-1] % 2:
            terms = np.concatenate([terms, np.zeros_like(terms[..., :1])], axis=-1)
        terms = terms[..., 0::2] + terms[..., 1::2]
    return terms[..., 0]


def erf(x):
    from math import erf

    return np.vectorize(erf, otypes=[np.float32])(x)


ACTIVATIONS = {
    "silu": lambda x: x / (f(1) + np.exp(np.minimum(-x, f(88)))),
    "gelu": lambda x: f(0.5) * x * (f(1) + erf(x * f(0.7071067811865476))),
    "gelu_tanh": lambda x: (
        f(0.5) * x * (f(1) + np.tanh(f(0.7978845608) * (x + f(0.044715) * (x * x * x))))
    ),
}


class Plain32:
    def embed(self, table, tokens, scale=1.0):
        return np.asarray(table[tokens], f) * f(scale)

    def linear(self, x, weight, bias=None):
        w = widen(weight).astype(f)
        y = np.empty((len(x), len(w)), f)  # a step may ask for no rows at all
        for row, out in zip(x, y):
            out[:] = tree(row * w)
        return y if bias is None else y + bias.astype(f)

    def add(self, a, b):
        return a + b

    def rms_norm(self, x, weight, eps):
        inverse = f(1) / np.sqrt(tree(x * x) * f(1 / x.shape[-1]) + f(eps))
        return x * inverse[..., None] * weight.astype(f)

    def layer_norm(self, x, weight, bias, eps):
        n = f(x.shape[-1])
        centred = x - (tree(x) / n)[..., None]
        y = centred / np.sqrt(tree(centred * centred) / n + f(eps))[..., None] * weight.astype(f)
        return y if bias is None else y + bias.astype(f)

    def rope(self, x, positions, frequencies, layout, magnitude):
        pairs, y = len(frequencies), x.copy()
        angle = positions.astype(f)[:, None, None] * frequencies.astype(f)
        cos, sin = np.cos(angle) * f(magnitude), np.sin(angle) * f(magnitude)
        halves = (slice(0, pairs), slice(pairs, 2 * pairs))
        a, b = halves if layout == "half" else (slice(0, 2 * pairs, 2), slice(1, 2 * pairs, 2))
        y[..., a], y[..., b] = x[..., a] * cos - x[..., b] * sin, x[..., a] * sin + x[..., b] * cos
        return y

    def attend(self, q, k, v, positions, *, scale, window=None, soft_cap=None, sinks=None):
        rows = []
        for t, position in enumerate(positions.tolist()):
            first = 0 if window is None else max(0, position - window + 1)
            seen = slice(first, position + 1)
            rows.append(self.online(q[t], k[seen], v[seen], f(scale), soft_cap, sinks))
        return np.stack(rows)

    def online(self, q, k, v, scale, soft_cap, sinks, block=4):
        """Online softmax with base 2, one query: [heads, d] -> [heads, v_dim]."""
        g, log2e = q.shape[0] // k.shape[1], f(1.4426950408889634)
        top, total, out = np.full((q.shape[0], 1), -np.inf, f), f(0), f(0)
        if sinks is not None:
            top, total = sinks[:, None] * log2e, np.ones((q.shape[0], 1), f)
        for start in range(0, len(k), block):
            keys = np.repeat(k[start : start + block], g, axis=1).transpose(1, 0, 2)
            values = np.repeat(v[start : start + block], g, axis=1).transpose(1, 2, 0)
            scores = tree((q * scale)[:, None] * keys)
            if soft_cap is not None:
                scores = f(soft_cap) * np.tanh(scores / f(soft_cap))
            scores = scores * log2e
            raised = np.maximum(top, scores.max(-1, keepdims=True))
            shrink, weights = np.exp2(top - raised), np.exp2(scores - raised)
            total = total * shrink + tree(weights)[:, None]
            out = out * shrink + tree(weights[:, None] * values)
            top = raised
        return out / total

    def activate(self, x, kind):
        return ACTIVATIONS[kind](x)

    def glu(self, gate, up, kind):
        return ACTIVATIONS[kind](gate) * up

    def soft_cap(self, x, cap):
        return f(cap) * np.tanh(x / f(cap))

    def moe(self, x, router_logits, expert, n_used, renormalise):
        ids, _ = route(router_logits, n_used, renormalise)
        powers = np.exp(router_logits - router_logits.max(-1, keepdims=True))
        shares = np.take_along_axis(powers / tree(powers)[:, None], ids, axis=-1)
        if renormalise:
            shares = shares / tree(shares)[:, None]
        outputs = np.zeros((len(x), n_used, x.shape[1]), f)
        for e in np.unique(ids).tolist():
            token, slot = np.nonzero(ids == e)
            outputs[token, slot] = expert(e, x[token])
        return tree(shares[:, None, :] * outputs.transpose(0, 2, 1))


def make_backend():
    return Composed(Plain32(), name="plain32")
