"""Greedy draws without their detour: one token is left by temperature 0, and it is drawn.

`sample` gives the same for these parameters, by way of the whole chain of filters; it is the
definition, and this the shortcut (a test holds them together).

>>> is_greatest(SamplingParams(temperature=0.0)), is_greatest(SamplingParams(temperature=0.5))
(True, False)
>>> greatest(np.log([0.1, 0.6, 0.3]), SamplingParams(temperature=0.0)).token
1
"""

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from refimpl.sampling.alternatives import TokenLogprob, logprobs
from refimpl.sampling.choose import Sampled
from refimpl.sampling.mask import Mask, masked
from refimpl.sampling.params import SamplingParams
from refimpl.sampling.probability import Logits, below_max, log_softmax


def is_greatest(params: SamplingParams) -> bool:
    """Is a draw under these parameters just the greatest logit?"""
    p = params
    changed = p.penalises or p.dry_multiplier or p.logit_bias or p.mirostat
    return p.temperature == 0 and not changed


def greatest(
    logits: Float[ndarray, " vocab"], params: SamplingParams, mask: Mask | None = None
) -> Sampled:
    """For parameters that `is_greatest`; of equals, the lowest id."""
    raw = np.asarray(logits, dtype=np.float64)
    token, k = int(allowed(raw, mask).argmax()), params.logprobs
    return Sampled(
        token=token,
        logprob=float(log_softmax(raw)[token]),
        drawn_logprob=0.0,
        top=() if k is None else logprobs(raw, k),
        drawn_top=(TokenLogprob(token=token, logprob=0.0),) if k else (),
    )


def allowed(raw: Logits, mask: Mask | None) -> Logits:
    """What a constraint leaves of them, if there is one; an error if that is nothing."""
    if mask is None:
        return raw
    left = masked(raw, mask)
    below_max(left)
    return left
