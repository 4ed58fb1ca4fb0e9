"""What a request asks for beyond the plainest settings, for those who choose tokens faster.

Masks, biases, penalties, temperature, top_k, top_p and min_p take sums of weights and an order of
logits; every backend that chooses tokens has them.  The rest has names here, and a backend chooses
by itself if it has all that a request names.

>>> sorted(asked_beyond(SamplingParams(top_p=0.9, typical_p=0.5, logprobs=2)))
['logprobs', 'typical_p']
>>> asked_beyond(SamplingParams(temperature=0.5, min_p=0.1)) == PLAIN
True
"""

from refimpl.sampling.params import SamplingParams

PLAIN: frozenset[str] = frozenset()


def asked_beyond(params: SamplingParams) -> frozenset[str]:
    """The parameters that switch on something else."""
    switched_on = {
        "logprobs": params.logprobs is not None,
        "mirostat": bool(params.mirostat),
        "dry_multiplier": bool(params.dry_multiplier),
        "xtc_probability": bool(params.xtc_probability),
        "top_n_sigma": params.top_n_sigma > 0,
        "typical_p": params.typical_p < 1,
    }
    return frozenset(name for name, on in switched_on.items() if on)
