"""One step of sampling: a row of logits and a number in [0, 1) become a token.

Everything that decides is an argument: logits, parameters, history, and chance.  Temperature 0
needs no special case: its filter leaves one token, and whatever the number, that token is drawn.

>>> logits = np.log([0.1, 0.6, 0.3])
>>> sample(logits, SamplingParams(top_k=2), [], uniform=0.99).token
2
>>> law(logits, SamplingParams(top_k=2), []).round(3).tolist()
[0.0, 0.667, 0.333]
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from refimpl.errors import InputError
from refimpl.sampling.alternatives import TokenLogprob, logprobs
from refimpl.sampling.chain import MIROSTAT_ORDER, ORDER, Order, process
from refimpl.sampling.mask import Mask, masked
from refimpl.sampling.mirostat import cut_surprising, next_mu
from refimpl.sampling.params import Real, SamplingParams
from refimpl.sampling.penalties import History
from refimpl.sampling.philox import TOKEN_STREAM, XTC_STREAM
from refimpl.sampling.philox import uniform as philox_uniform
from refimpl.sampling.probability import Logits, Probabilities, log_softmax, pick, softmax


@dataclass(frozen=True, kw_only=True)
class Sampled:
    """A chosen token and how probable it was."""

    token: int
    logprob: float  # under the model's own law
    drawn_logprob: float  # under the law it was drawn from, after every filter
    top: tuple[TokenLogprob, ...] = ()  # the model's most probable tokens, if params.logprobs asks
    drawn_top: tuple[TokenLogprob, ...] = ()  # those of the law it was drawn from
    mu: float | None = None  # mirostat's state for the next step


def sample(
    logits: Float[ndarray, " vocab"],
    params: SamplingParams,
    history: History,
    uniform: float,
    *,
    xtc_uniform: float | None = None,
    mu: Real | None = None,
    order: Order = ORDER,
    mask: Mask | None = None,
) -> Sampled:
    """Choose one token.  `xtc_uniform` is XTC's own number, `mu` the last step's `Sampled.mu`.

    `mask` comes before every filter; the model's own law does not know of it.  Under mirostat the
    filters are `MIROSTAT_ORDER`, whatever `order` says.
    """
    raw = np.asarray(logits, dtype=np.float64)
    given = raw if mask is None else masked(raw, mask)
    if params.mirostat:
        mu = 2.0 * params.mirostat_tau if mu is None else mu
        allowed = cut_surprising(process(given, params, history, order=MIROSTAT_ORDER), mu)
    else:
        coin = xtc_coin(params, xtc_uniform)
        allowed = process(given, params, history, xtc=coin, order=order)
    token = pick(allowed, checked(uniform))
    return Sampled(
        token=token,
        logprob=float(log_softmax(raw)[token]),
        drawn_logprob=float(log_softmax(allowed)[token]),
        top=() if params.logprobs is None else logprobs(raw, params.logprobs),
        drawn_top=() if params.logprobs is None else logprobs(allowed, params.logprobs),
        mu=moved_mu(allowed, token, params, mu),
    )


def sample_at(
    logits: Float[ndarray, " vocab"],
    params: SamplingParams,
    history: History,
    *,
    request: int = 0,
    mu: Real | None = None,
    order: Order = ORDER,
    mask: Mask | None = None,
) -> Sampled:
    """`sample` with the numbers that belong to this seed, request and position.

    The position is the length of the history, so a sequence that is stopped and taken up again, or
    sampled beside others, goes on as if nothing had happened.
    """
    chance, xtc_chance = (
        philox_uniform(params.seed, request, len(history), stream)
        for stream in (TOKEN_STREAM, XTC_STREAM)
    )
    return sample(
        logits, params, history, chance, xtc_uniform=xtc_chance, mu=mu, order=order, mask=mask
    )


def law(
    logits: Float[ndarray, " vocab"],
    params: SamplingParams,
    history: History,
    *,
    order: Order = ORDER,
) -> Probabilities:
    """The probability with which `sample` chooses each token, XTC's coin included."""
    if params.mirostat:
        raise InputError("mirostat's law depends on its state: use softmax(cut_surprising(...))")
    raw = np.asarray(logits, dtype=np.float64)
    q = params.xtc_probability
    without = softmax(process(raw, params, history, order=order))
    if not q:
        return without
    return (1 - q) * without + q * softmax(process(raw, params, history, xtc=True, order=order))


def xtc_coin(params: SamplingParams, xtc_uniform: float | None) -> bool:
    """Does XTC act this time?  Its number must be independent of the one that picks the token."""
    if not params.xtc_probability:
        return False
    if xtc_uniform is None:
        raise InputError("XTC needs a number of its own: pass xtc_uniform, or call sample_at")
    return checked(xtc_uniform) < params.xtc_probability


def moved_mu(allowed: Logits, token: int, params: SamplingParams, mu: Real | None) -> float | None:
    """Mirostat's next state, None without mirostat."""
    if not params.mirostat or mu is None:
        return None
    return next_mu(allowed, token, mu, tau=params.mirostat_tau, eta=params.mirostat_eta)


def checked(uniform: float) -> float:
    """The number itself, if it lies in [0, 1)."""
    if not 0 <= uniform < 1:
        raise InputError(f"a uniform number is {uniform}; it must lie in [0, 1)")
    return uniform
