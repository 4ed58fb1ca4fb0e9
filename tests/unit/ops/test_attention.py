"""Three ways of attention, held to each other and to chunking."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from refimpl.ops.attention import attend, attend_online, attend_textbook
from refimpl.ops.numerics import F64


@st.composite
def problems(draw):
    """(q, k, v, positions, keyword arguments) with GQA, windows, soft-caps and sinks."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kv_heads, g = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    d, dv = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    context = draw(st.integers(1, 40))
    new = draw(st.integers(1, context))
    size = draw(st.sampled_from([0.1, 1.0, 8.0]))
    heads = kv_heads * g
    q = (rng.standard_normal((new, heads, d)) * size).astype(np.float32)
    k = (rng.standard_normal((context, kv_heads, d)) * size).astype(np.float32)
    v = rng.standard_normal((context, kv_heads, dv)).astype(np.float32)
    kwargs = {
        "scale": d**-0.5,
        "window": draw(st.none() | st.integers(1, 45)),
        "soft_cap": draw(st.none() | st.sampled_from([1.0, 30.0])),
        "sinks": draw(st.sampled_from([None, rng.standard_normal(heads).astype(np.float32)])),
    }
    return q, k, v, np.arange(context - new, context), kwargs


@given(problems(), st.integers(1, 17))
def test_textbook_and_online_equal_the_definition(problem, block):
    q, k, v, positions, kwargs = problem
    definition = attend(q, k, v, positions, to=F64, **kwargs)
    textbook = attend_textbook(q, k, v, positions, to=F64, **kwargs)
    online = attend_online(q, k, v, positions, block=block, to=F64, **kwargs)
    # float64 on both sides: some hundred roundings of values that |v| bounds
    room = 1e-12 * np.abs(v).max()
    assert np.abs(textbook - definition).max() <= room
    assert np.abs(online - definition).max() <= room


@given(problems())
def test_a_query_gives_the_same_bits_alone(problem):
    q, k, v, positions, kwargs = problem
    together = attend(q, k, v, positions, **kwargs)
    for t, position in enumerate(positions):
        alone = attend(
            q[t : t + 1], k[: position + 1], v[: position + 1], positions[t : t + 1], **kwargs
        )
        assert np.array_equal(alone[0], together[t])


@given(problems())
def test_what_lies_outside_the_window_is_never_read(problem):
    q, k, v, positions, kwargs = problem
    position, window = positions[-1], kwargs["window"] or len(k)
    clean = attend(q[-1:], k, v, positions[-1:], **kwargs)
    k, v = k.copy(), v.copy()
    hidden = np.arange(len(k)) <= position - window
    k[hidden], v[hidden] = np.nan, np.nan
    assert np.array_equal(attend(q[-1:], k, v, positions[-1:], **kwargs), clean)


def test_grouped_heads_read_their_own_key_value_head():
    q = np.ones((1, 4, 2), np.float32)
    k = np.zeros((1, 2, 2), np.float32)
    v = np.array([[[10.0], [20.0]]], np.float32)  # one key: the answer is the value
    out = attend(q, k, v, np.array([0]), scale=1.0)
    assert out[0, :, 0].tolist() == [10, 10, 20, 20]


def test_an_overwhelming_sink_takes_all_the_weight():
    q, k, v = np.ones((1, 1, 2), np.float32), np.ones((3, 1, 2), np.float32), np.ones((3, 1, 1))
    sinks = np.array([60.0], np.float32)
    out = attend(q, k, v.astype(np.float32), np.array([2]), scale=1.0, sinks=sinks)
    assert 0 < out[0, 0, 0] < 1e-20
