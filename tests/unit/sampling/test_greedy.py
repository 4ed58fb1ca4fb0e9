"""The shortcut gives what the whole chain of filters gives."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from refimpl.sampling import SamplingError, SamplingParams, sample_at
from refimpl.sampling.greedy import greatest, is_greatest

PARAMS = st.builds(
    SamplingParams,
    temperature=st.sampled_from([0.0, 1.0]),
    top_k=st.integers(0, 3),
    top_p=st.sampled_from([0.5, 1.0]),
    min_p=st.sampled_from([0.0, 0.3]),
    typical_p=st.sampled_from([0.4, 1.0]),
    top_n_sigma=st.sampled_from([-1.0, 0.5]),
    xtc_probability=st.sampled_from([0.0, 1.0]),
    repetition_penalty=st.sampled_from([1.0, 1.5]),
    presence_penalty=st.sampled_from([0.0, 0.5]),
    logprobs=st.sampled_from([None, 0, 2]),
    logit_bias=st.sampled_from([{}, {1: 2.0}]),
)

MASKS = st.none() | st.integers(1, 63).map(lambda bits: np.array([bits], np.uint32))


@given(PARAMS, st.lists(st.integers(-3, 3), min_size=2, max_size=6), MASKS)
def test_where_a_draw_is_called_the_greatest_logit_it_is(params, values, mask):
    row = np.array(values, dtype=np.float64)
    nothing_left = mask is not None and not mask[0] & (2 ** len(values) - 1)
    if is_greatest(params) and not nothing_left:
        assert greatest(row, params, mask) == sample_at(row, params, [0, 1], mask=mask)
    assert is_greatest(SamplingParams(temperature=0.0))


@pytest.mark.parametrize("row", [[np.nan, 1.0], [np.inf, 0.0], [-np.inf, -np.inf]])
def test_no_law_is_the_same_error(row):
    params, said = SamplingParams(temperature=0.0), []
    row = np.array(row)
    for draw in (lambda: greatest(row, params), lambda: sample_at(row, params, [])):
        with pytest.raises(SamplingError) as error:
            draw()
        said.append(str(error.value))
    assert said[0] == said[1]


def test_nothing_left_by_the_mask_is_an_error():
    with pytest.raises(SamplingError):
        greatest(np.zeros(3), SamplingParams(temperature=0.0), np.array([0], np.uint32))
