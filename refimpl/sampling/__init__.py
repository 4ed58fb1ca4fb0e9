"""From logits to a token.

Read in this order: `params` (what a user can ask for), `probability` (logits, the law they stand
for, one choice), `penalties` and `dry` (what was already said), `truncate` and `xtc` (which tokens
may be said), `chain` (the order in which all of that happens), `philox` (where chance comes from),
`mirostat` (a cut-off that follows the text), `alternatives` (what else was likely), `mask` (what
a constraint allows), `choose` (one step, from a row of logits to `Sampled`), `greedy` (its
shortcut), `draws` (all of a step's), `beyond` (which of them are the plainest).

Three rules hold throughout.  A filter is a pure function, float64 logits in, float64 logits out;
-inf means removed.  Ties go to the lowest token id.  Chance is an argument: nothing here draws it
behind the caller's back, so the same arguments always choose the same token.

>>> import numpy as np
>>> logits = np.array([1.0, 3.0, 2.0])
>>> sample(logits, SamplingParams(temperature=0.0), [], uniform=0.0).token
1
>>> params = SamplingParams(seed=7, top_k=2)
>>> sample(logits, params, [], uniform(params.seed, request=0, position=0)).token
2
"""

from refimpl.sampling.alternatives import TokenLogprob, logprobs
from refimpl.sampling.chain import LLAMA_CPP_ORDER, ORDER, process
from refimpl.sampling.choose import Sampled, law, sample, sample_at
from refimpl.sampling.draws import Draw, choose
from refimpl.sampling.params import SamplingParams
from refimpl.sampling.philox import uniform
from refimpl.sampling.probability import Logits, SamplingError, log_softmax, softmax

__all__ = [
    "LLAMA_CPP_ORDER",
    "ORDER",
    "Draw",
    "Logits",
    "Sampled",
    "SamplingError",
    "SamplingParams",
    "TokenLogprob",
    "choose",
    "law",
    "log_softmax",
    "logprobs",
    "process",
    "sample",
    "sample_at",
    "softmax",
    "uniform",
]
