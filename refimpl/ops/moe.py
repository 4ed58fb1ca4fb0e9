"""Mixture of experts: a router sends each token to a few of many feed-forward networks.

Sources: Shazeer et al. 2017; Mixtral (Jiang et al. 2024, section 2.1), which renormalises over the
chosen experts; Qwen3-MoE's `norm_topk_prob` says whether to.

>>> ids, weights = route(np.float32([[1.0, 3.0, 3.0, 0.0]]), n_used=2, renormalise=True)
>>> ids.tolist(), weights.tolist()                      # a tie goes to the lowest expert first
([[1, 2]], [[0.5, 0.5]])
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Float64, Int
from numpy import ndarray

from refimpl.ops.activation import softmax
from refimpl.ops.numerics import F32, F64, Rounding, dot, exact

Expert = Callable[[int, Float[ndarray, "tokens dim"]], Float[ndarray, "tokens dim"]]


def route(
    logits: Float[ndarray, "tokens experts"], n_used: int, renormalise: bool
) -> tuple[Int[ndarray, "tokens used"], Float64[ndarray, "tokens used"]]:
    """The n_used likeliest experts of each token, likeliest first, and their shares (unrounded)."""
    shares = softmax(logits, to=F64)
    ids = np.argsort(-shares, axis=-1, kind="stable")[:, :n_used]
    chosen = np.take_along_axis(shares, ids, axis=-1)
    if renormalise:
        chosen = chosen / dot(chosen, np.ones(n_used))[:, None]
    return ids, chosen


def moe(
    x: Float[ndarray, "tokens dim"],
    router_logits: Float[ndarray, "tokens experts"],
    expert: Expert,
    n_used: int,
    renormalise: bool,
    *,
    to: Rounding = F32,
) -> Float[ndarray, "tokens dim"]:
    """The weighted sum of `expert(e, rows)`, rounded once; an expert sees only its own tokens."""
    ids, shares = route(router_logits, n_used, renormalise)
    outputs = np.zeros((len(x), n_used, x.shape[1]))  # [tokens, used, dim]
    for e in np.unique(ids).tolist():
        token, slot = np.nonzero(ids == e)
        outputs[token, slot] = exact(expert(e, x[token]))
    return to(dot(outputs.transpose(0, 2, 1), shares[:, None, :]))
