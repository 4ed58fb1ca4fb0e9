"""Philox against the known answers of its authors, and what `uniform` promises."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refimpl.errors import InputError
from refimpl.sampling.philox import philox_4x32_10, uniform, uniforms

KNOWN_ANSWERS = """
00000000 00000000 00000000 00000000  00000000 00000000  6627e8d5 e169c58d bc57ac4c 9b00dbd8
ffffffff ffffffff ffffffff ffffffff  ffffffff ffffffff  408f276d 41c83b0e a20bc7c6 6d5451fd
243f6a88 85a308d3 13198a2e 03707344  a4093822 299f31d0  d16cfe09 94fdcceb 5001e420 24126ea1
"""
"""Random123's kat_vectors, "philox4x32 10": counter, key, result."""


@pytest.mark.parametrize("line", KNOWN_ANSWERS.strip().splitlines())
def test_known_answers_of_random123(line):
    words = [int(word, 16) for word in line.split()]
    assert philox_4x32_10(tuple(words[:4]), tuple(words[4:6])) == tuple(words[6:])


def philox_4x64_10(counter, key):
    """The same cipher on words twice as wide: rounds written with our round's structure."""
    word, (k0, k1) = 2**64 - 1, key
    for _ in range(10):
        left, right = 0xD2E7470EE14C6C93 * counter[0], 0xCA5A826395121157 * counter[2]
        counter = (
            (right >> 64) ^ counter[1] ^ k0,
            right & word,
            (left >> 64) ^ counter[3] ^ k1,
            left & word,
        )
        k0, k1 = (k0 + 0x9E3779B97F4A7C15) & word, (k1 + 0xBB67AE8584CAA73B) & word
    return counter


def test_the_structure_of_a_round_is_that_of_numpys_wider_philox():
    theirs = np.random.Philox(counter=[4, 5, 6, 7], key=[8, 9]).random_raw(4).tolist()
    assert philox_4x64_10((5, 5, 6, 7), (8, 9)) == tuple(theirs)  # numpy counts before it draws


words32, words64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)


@given(words64, words64, words32, words32)
def test_a_uniform_is_a_multiple_of_2_to_the_minus_53_below_1(seed, request, position, stream):
    u = uniform(seed, request, position, stream)
    assert 0 <= u < 1
    assert (u * 2**53).is_integer()


@given(st.lists(st.tuples(words64, words64, words32), max_size=40))
def test_many_uniforms_are_those_of_each(triples):
    columns = zip(*triples, strict=True) if triples else ([], [], [])
    assert uniforms(*columns).tolist() == [uniform(*triple) for triple in triples]


@pytest.mark.parametrize("triple", [(2**64, 0, 0), (0, -1, 0), (0, 0, 2**32)])
def test_many_uniforms_refuse_what_one_refuses(triple):
    columns = zip(triple, (1, 1, 1), strict=True)
    with pytest.raises(InputError, match="must lie between 0 and"):
        uniforms(*columns)


def test_the_extremes_of_the_words_give_the_extremes_of_the_range(monkeypatch):
    scrambled = (0, 0, 0, 0)
    monkeypatch.setattr("refimpl.sampling.philox.philox_4x32_10", lambda c, k: scrambled)
    assert uniform(0, 0, 0) == 0.0
    scrambled = (2**32 - 1,) * 4
    assert uniform(0, 0, 0) == 1 - 2.0**-53


def test_every_argument_matters_up_to_its_highest_bit():
    arguments = [(0, 0, 0, 0)]
    for place, bits in ((0, 64), (1, 64), (2, 32), (3, 32)):
        for bit in range(bits):
            one = [0, 0, 0, 0]
            one[place] = 1 << bit
            arguments.append(tuple(one))
    assert len({uniform(*a) for a in arguments}) == len(arguments) == 193


def test_uniforms_look_uniform_over_positions_requests_and_streams():
    n, cells = 1600, 16
    for draw in (
        lambda i: uniform(1, 0, i),
        lambda i: uniform(1, i, 0),
        lambda i: uniform(i, 0, 0),
        lambda i: uniform(1, 0, 5, i),
    ):
        counts = np.bincount([int(draw(i) * cells) for i in range(n)], minlength=cells)
        statistic = ((counts - n / cells) ** 2 / (n / cells)).sum()
        assert statistic < 44.3  # chi-square, 15 degrees of freedom: p = 1e-4


@pytest.mark.parametrize(
    "arguments", [(-1, 0, 0), (2**64, 0, 0), (0, 2**64, 0), (0, 0, 2**32), (0, 0, 0, -1)]
)
def test_numbers_that_do_not_fit_are_refused(arguments):
    with pytest.raises(InputError, match="must lie between 0 and 2"):
        uniform(*arguments)
