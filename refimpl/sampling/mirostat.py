"""Mirostat v2: a cut-off that moves so that the text stays as surprising as asked.

A fixed cut-off makes dull text duller and wild text wilder.  Mirostat forbids tokens whose surprise
-log2 p exceeds mu bits, looks at how surprising the token it drew was, and moves mu against the
error: mu' = mu - eta * (observed - tau).  In the long run the text has tau bits a token, which is
a perplexity of 2**tau.  mu is the only state in this package, and it travels as an argument.

Source: Basu et al., "Mirostat: A Neural Text Decoding Algorithm that Directly Controls Perplexity"
(ICLR 2021).  Version 2 cuts by surprise directly, where the paper first fits Zipf's law to find how
many tokens to keep.  As in llama.cpp, the observed surprise is that under the law after the cut,
and mu starts at 2 * tau.

>>> import numpy as np
>>> x = np.log([0.5, 0.25, 0.125, 0.125])
>>> mirostat_v2(x, mu=2.5, tau=2.0, eta=0.5, uniform=0.9)    # the two 3-bit tokens are cut
(1, 2.707...)
"""

from math import log

from refimpl.sampling.params import Real
from refimpl.sampling.probability import Logits, log_softmax, pick
from refimpl.sampling.truncate import keep, largest


def mirostat_v2(
    logits: Logits, mu: Real, *, tau: Real, eta: Real, uniform: float
) -> tuple[int, float]:
    """One step: the token drawn, and the next mu."""
    allowed = cut_surprising(logits, mu)
    token = pick(allowed, uniform)
    return token, next_mu(allowed, token, mu, tau=tau, eta=eta)


def cut_surprising(logits: Logits, mu: Real) -> Logits:
    """Tokens of surprise <= mu bits; the most probable stays in any case (lowest id on ties)."""
    surprise = -log_softmax(logits) / log(2)
    return keep(logits, (surprise <= mu) | largest(logits, 1))


def next_mu(allowed: Logits, token: int, mu: Real, *, tau: Real, eta: Real) -> float:
    """mu - eta * (observed surprise - tau), in bits."""
    observed = -log_softmax(allowed)[token] / log(2)
    return float(mu - eta * (observed - tau))
