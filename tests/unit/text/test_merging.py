"""The algorithm, against its definition and against the examples in the literature."""

from hypothesis import given
from hypothesis import strategies as st

from refimpl.text.merging import merge, merge_plain

LETTERS = st.text("abc", max_size=40)


@st.composite
def costs(draw):
    """A cost for some pairs of short pieces, with many ties."""
    pieces = st.text("abc", min_size=1, max_size=3)
    return draw(st.dictionaries(st.tuples(pieces, pieces), st.integers(0, 3), max_size=30))


@given(LETTERS, costs())
def test_merge_equals_merge_plain_for_ranks(word, ranks):
    def cost(left, right):
        return ranks.get((left, right))

    assert merge(word, cost) == merge_plain(word, cost)


@given(LETTERS, st.dictionaries(st.text("abc", min_size=2, max_size=5), st.integers(-3, 3)))
def test_merge_equals_merge_plain_for_scores(word, scores):
    def cost(left, right):
        return scores.get(left + right)

    pieces = merge(word, cost)
    assert pieces == merge_plain(word, cost)
    assert "".join(pieces) == word
    assert all(len(piece) == 1 or piece in scores for piece in pieces)


def test_the_example_of_sennrich_et_al():
    """Figure 1 of arXiv:1508.07909, with its end-of-word mark; "lower" was not in the training
    data."""
    learnt = [("r", "·"), ("l", "o"), ("lo", "w"), ("e", "r·")]
    ranks = {pair: rank for rank, pair in enumerate(learnt)}
    assert merge("lower·", lambda left, right: ranks.get((left, right))) == ["low", "er·"]


def test_equal_costs_merge_from_the_left():
    assert merge("aaaaa", lambda left, right: 0 if len(left + right) == 2 else None) == [
        "aa",
        "aa",
        "a",
    ]


def test_long_words_are_not_quadratic():
    calls = 0

    def cost(left, right):
        nonlocal calls
        calls += 1
        return len(left + right) if len(left + right) <= 64 else None

    n = 20_000
    assert len(merge("a" * n, cost)) == -(-n // 64)
    assert calls < 4 * n
