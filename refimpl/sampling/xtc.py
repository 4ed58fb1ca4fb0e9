"""XTC, "exclude top choices": now and then, forbid everything the model is sure of but one.

Truncation removes the tail; XTC removes the head.  If two or more tokens reach the threshold, the
model has several good continuations, and all but the least probable of them are removed, which
breaks cliches without letting nonsense in.  It happens with a given probability, once per token;
the coin belongs to the caller (`choose`), so that this filter stays a function.

Source: p-e-w, text-generation-webui pull request 6335 (2024).

>>> xtc(np.log([0.5, 0.3, 0.15, 0.05]), threshold=0.1).round(2).tolist()
[-inf, -inf, -1.9, -3.0]
>>> xtc(np.log([0.5, 0.3, 0.15, 0.05]), threshold=0.4).round(2).tolist()
[-0.69, -1.2, -1.9, -3.0]
"""

import numpy as np

from refimpl.sampling.params import Real
from refimpl.sampling.probability import Logits, weights
from refimpl.sampling.truncate import keep, largest


def xtc(logits: Logits, threshold: Real) -> Logits:
    """Of the tokens with p_i >= threshold, only the last in descending order stays, with the rest.

    The line is inclusive; among equals the lowest id comes first, so the highest stays.  With fewer
    than two such tokens, as always when threshold > 1/2, nothing happens.
    """
    w = weights(logits)
    reached = (w >= threshold * np.cumsum(w)[-1]) & (logits > -np.inf)
    return keep(logits, ~largest(logits, int(np.count_nonzero(reached)) - 1))
