"""The three ways to choose, on the figures of SGLang's own test.

Source of the figures: sgl-project/sglang, test/lang/test_choices.py (Apache-2.0).  There the mean
of the third option is stated as -0.05; its tokens' mean would be -0.1.
"""

import pytest

from refimpl.errors import InputError
from refimpl.lang.choices import OptionScore, decide

LAST = (-0.25, -0.1, -0.01, -0.01, -0.01, -0.01, -0.01)
ORGAN = OptionScore(logprobs=(-0.1,), mean=-0.1, unconditional=(None,))
ORGANISM = OptionScore(logprobs=(-0.1, -0.3), mean=-0.2, unconditional=(None, -1.4))
LONG = OptionScore(logprobs=(-0.4, *LAST), mean=-0.05, unconditional=(None, *LAST))
OPTIONS = ["organ", "organism", "antidisestablishmentarianism"]
SCORES = [ORGAN, ORGANISM, LONG]


@pytest.mark.parametrize(
    ("method", "chosen"),
    [
        ("token_length", "antidisestablishmentarianism"),
        ("greedy", "organ"),
        ("unconditional", "organism"),
    ],
)
def test_sglangs_published_decisions(method, chosen):
    assert OPTIONS[decide(method, SCORES).index] == chosen


def test_sglangs_published_matrix():
    published = [[-0.1] * 8, [-0.1, -0.3] + [-0.2] * 6, [-0.4, *LAST]]
    for row, expected in zip(decide("greedy", SCORES).rows, published):
        assert row == pytest.approx(expected, abs=1e-15)


def test_sglangs_published_gains():
    assert decide("unconditional", SCORES).scores == pytest.approx((-0.1, 0.5, -0.05), abs=1e-15)


def test_ties_go_to_the_first():
    same = OptionScore.of([-1.0], unconditional=[None])
    for method in ("token_length", "greedy", "unconditional"):
        assert decide(method, [same, same]).index == 0


def test_what_cannot_be_decided_says_so():
    with pytest.raises(InputError, match="use one of token_length, greedy, unconditional"):
        decide("best", SCORES)
    with pytest.raises(InputError, match="by itself"):
        decide("unconditional", [OptionScore.of([-1.0])])
