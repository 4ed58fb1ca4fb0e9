"""Defaults are neutral; nonsense is refused with the range that would have been right."""

import math

import pytest

from refimpl.errors import InputError
from refimpl.sampling import SamplingParams

REFUSED = {
    "temperature": (-0.1, math.inf, math.nan),
    "top_k": (-1,),
    "typical_p": (-0.1, 1.1, math.nan),
    "top_p": (-0.1, 1.1, math.nan),
    "min_p": (-0.1, 1.1, math.nan),
    "top_n_sigma": (math.inf, math.nan),
    "xtc_probability": (-0.1, 1.1),
    "xtc_threshold": (-0.1, 1.1),
    "repetition_penalty": (0.0, -1.0, math.inf, math.nan),
    "frequency_penalty": (math.inf, math.nan),
    "presence_penalty": (-math.inf, math.nan),
    "penalty_last_n": (-2,),
    "dry_multiplier": (-1.0, math.nan),
    "dry_base": (0.9, math.inf, math.nan),
    "dry_allowed_length": (-1,),
    "dry_penalty_last_n": (-2,),
    "dry_sequence_breakers": (((1,), ()),),
    "logit_bias": ({-1: 1.0}, {0: math.inf}, {0: math.nan}),
    "mirostat": (1, 3),
    "mirostat_tau": (0.0, math.nan),
    "mirostat_eta": (-0.1, math.inf),
    "seed": (-1, 2**64),
    "max_tokens": (-1,),
    "min_tokens": (-1, 129),
    "stop": (("",),),
    "logprobs": (-1,),
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, bad in REFUSED.items() for value in bad]
)
def test_a_value_out_of_range_is_refused_by_name(name, value):
    with pytest.raises(InputError, match=rf"^{name} is .*; it must be "):
        SamplingParams(**{name: value})


def test_the_ends_of_the_ranges_are_allowed():
    SamplingParams(temperature=0, top_k=0, typical_p=0, top_p=0, min_p=1, dry_base=1, logprobs=0)
    SamplingParams(seed=2**64 - 1, min_tokens=128, max_tokens=128, logit_bias={0: -math.inf})
    SamplingParams(mirostat=2, logit_bias={3: 1.0}, temperature=0.5)


def test_the_callers_bias_can_change_without_changing_the_request():
    bias = {1: 2.0}
    params = SamplingParams(logit_bias=bias)
    bias[1] = 100.0
    assert params.logit_bias == {1: 2.0}
    assert hash(params) == hash(SamplingParams(logit_bias={1: 2.0}))
