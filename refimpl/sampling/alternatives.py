"""The most probable tokens and their log-probabilities.

Two laws are worth asking about: that of the model (pass its logits) and that which tokens are drawn
from after every filter (pass what `process` returns).  APIs differ in which they report; vLLM gives
the model's unless told otherwise, `Sampled` gives both.

>>> [(t.token, round(t.logprob, 3)) for t in logprobs(np.log([0.1, 0.6, 0.3]), 2)]
[(1, -0.511), (2, -1.204)]
"""

from dataclasses import dataclass

import numpy as np

from refimpl.sampling.probability import Logits, log_softmax
from refimpl.sampling.truncate import largest


@dataclass(frozen=True, kw_only=True)
class TokenLogprob:
    """A token id and the natural logarithm of its probability."""

    token: int
    logprob: float


def logprobs(logits: Logits, k: int) -> tuple[TokenLogprob, ...]:
    """The k most probable tokens, most probable first, ties by lowest id; removed tokens never."""
    log_p = log_softmax(logits)
    ids = np.flatnonzero(largest(logits, k) & (logits > -np.inf))
    ranked = ids[np.argsort(-logits[ids], kind="stable")]
    return tuple(TokenLogprob(token=int(i), logprob=float(log_p[i])) for i in ranked)
