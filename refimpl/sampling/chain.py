"""The order of the filters, as data.

Order matters: each filter sees the law the one before it left.  Two orders are in use.

`ORDER` is ours.  As in vLLM and Hugging Face transformers, temperature comes *before* the tail is
cut, so the filters judge the law that tokens are really drawn from.  A high temperature flattens
it, and top_p = 0.9 then lets more tokens in.

`LLAMA_CPP_ORDER` puts temperature last: the filters judge the model's own law, and temperature only
redistributes mass among the survivors.  However high it is, no token enters that was out at 1.

>>> x = np.log([0.90, 0.06, 0.04])
>>> hot = SamplingParams(temperature=2.0, top_p=0.85)
>>> [int(np.count_nonzero(process(x, hot, order=o) > -np.inf)) for o in (ORDER, LLAMA_CPP_ORDER)]
[2, 1]
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from refimpl.sampling.dry import dry
from refimpl.sampling.params import SamplingParams
from refimpl.sampling.penalties import (
    History,
    frequency,
    logit_bias,
    presence,
    recent,
    repetition,
)
from refimpl.sampling.probability import Logits, below_max
from refimpl.sampling.truncate import min_p, temperature, top_k, top_n_sigma, top_p, typical
from refimpl.sampling.xtc import xtc


@dataclass(frozen=True, kw_only=True)
class Step:
    """Everything besides the logits that a filter may read."""

    params: SamplingParams
    history: History
    xtc: bool  # how XTC's coin fell

    @property
    def seen(self) -> History:
        """What the penalties look at."""
        return recent(self.history, self.params.penalty_last_n)


Filter = Callable[[Logits, Step], Logits]
Order = tuple[tuple[str, Filter], ...]


def apply_dry(x: Logits, step: Step) -> Logits:
    return dry(
        x,
        recent(step.history, step.params.dry_penalty_last_n),
        multiplier=step.params.dry_multiplier,
        base=step.params.dry_base,
        allowed_length=step.params.dry_allowed_length,
        breakers=step.params.dry_sequence_breakers,
    )


FILTERS: dict[str, Filter] = {
    "logit_bias": lambda x, step: logit_bias(x, step.params.logit_bias),
    "repetition": lambda x, step: repetition(x, step.seen, step.params.repetition_penalty),
    "frequency": lambda x, step: frequency(x, step.seen, step.params.frequency_penalty),
    "presence": lambda x, step: presence(x, step.seen, step.params.presence_penalty),
    "dry": apply_dry,
    "top_n_sigma": lambda x, step: top_n_sigma(x, step.params.top_n_sigma),
    "temperature": lambda x, step: temperature(x, step.params.temperature),
    "top_k": lambda x, step: top_k(x, step.params.top_k),
    "typical": lambda x, step: typical(x, step.params.typical_p),
    "top_p": lambda x, step: top_p(x, step.params.top_p),
    "min_p": lambda x, step: min_p(x, step.params.min_p),
    "xtc": lambda x, step: xtc(x, step.params.xtc_threshold) if step.xtc else x,
}


def in_order(names: str) -> Order:
    """The named filters, one after the other."""
    return tuple((name, FILTERS[name]) for name in names.split())


FIRST = "logit_bias repetition frequency presence dry top_n_sigma"
CUTS = "top_k typical top_p min_p xtc"
ORDER = in_order(f"{FIRST} temperature {CUTS}")
LLAMA_CPP_ORDER = in_order(f"{FIRST} {CUTS} temperature")
MIROSTAT_ORDER = in_order("logit_bias temperature")
"""All that llama.cpp runs before mirostat, which draws the line by itself."""


def process(
    logits: Logits,
    params: SamplingParams,
    history: History = (),
    *,
    xtc: bool = False,
    order: Order = ORDER,
) -> Logits:
    """The logits after every filter; the input is not changed.  `xtc` says how XTC's coin fell."""
    below_max(logits)  # refuses NaN and +inf before any filter compares them
    step = Step(params=params, history=history, xtc=xtc)
    with np.errstate(over="ignore"):  # an infinite logit is refused where it is used
        for _, run in order:
            logits = run(logits, step)
    return logits
