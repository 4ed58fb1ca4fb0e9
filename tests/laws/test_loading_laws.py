"""Law 10: where the weights lie, mapped in the file or read into memory, changes no bit."""

from dataclasses import replace
from functools import cache

import hypothesis.strategies as st
import numpy as np
from hypothesis import given, settings

from refimpl.model.find import find_model
from refimpl.model.forward import Model
from refimpl.model.generate import recompute
from refimpl.model.load import load
from tests.laws.engines import shapes_unchecked


@cache
def tiny(packed: bool) -> Model:
    """Packed: blocks in the mapped file, unpacked as they are needed.  Else: read and widened."""
    return load(find_model("tiny-draft"), packed=packed).model


@given(
    in_memory=st.lists(st.booleans(), min_size=3, max_size=3),
    top=st.booleans(),
    tokens=st.lists(st.integers(0, 2047), min_size=1, max_size=6),
)
@settings(max_examples=20)
def test_law_10_mapped_or_read_any_number_of_layers_gives_the_same_bits(in_memory, top, tokens):
    mapped, read = tiny(True), tiny(False)
    layers = tuple((read if here else mapped).layers[i] for i, here in enumerate(in_memory))
    mixed = replace(mapped, top=(read if top else mapped).top, layers=layers)
    with shapes_unchecked():
        found, expected = recompute(mixed)(tuple(tokens)), recompute(read)(tuple(tokens))
    np.testing.assert_array_equal(found, expected)


def test_the_two_really_lie_in_different_places():
    name = "ffn_up.weight"
    assert isinstance(tiny(False).layers[0][name], np.ndarray)
    assert not isinstance(tiny(True).layers[0][name], np.ndarray)
