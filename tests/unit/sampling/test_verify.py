"""Verification: the law of what comes is the model's, and the path is the model's own."""

from itertools import product

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import assume, given, settings

from refimpl.errors import InputError
from refimpl.sampling.verify import (
    RESIDUAL_STREAM,
    Draft,
    accept_stream,
    draft_stream,
    follow,
    judge,
    pick_from,
    residual,
)

N_GRID = 100
GRID = (np.arange(N_GRID) + 0.5) / N_GRID
LAWS = (
    st.lists(st.integers(0, 6), min_size=3, max_size=3)
    .filter(any)
    .map(lambda weights: np.array(weights) / sum(weights))
)


def accepted_part(p, token, q):
    """How many of the numbers in [0, 1) accept this token, by asking `judge` for each."""
    chances = [judge(p, [(token, q)], [chance], recover=0.5)[0] == 0 for chance in GRID]
    return sum(chances) / N_GRID


def law_of_what_comes(p, laws):
    """By enumeration of what is drawn and of every number that decides."""
    out = np.zeros(len(p))
    for drawn in product(range(len(p)), repeat=len(laws)):
        weight = np.prod([q[token] for token, q in zip(drawn, laws)])
        left = p
        for token, q in zip(drawn, laws):
            if weight == 0:
                break
            part = accepted_part(left, token, q)
            out[token] += weight * part
            weight *= 1 - part
            left = residual(left, q)
        if weight > 0:
            siblings = list(zip(drawn, laws))
            nearly_one = [1 - 1e-12] * len(laws)  # refuses everything that can be refused
            for chance in GRID:
                chosen, token = judge(p, siblings, nearly_one, recover=chance)
                assert chosen is None
                out[token] += weight / N_GRID
    return out


@given(LAWS, LAWS)
def test_one_drawn_token_keeps_the_law(p, q):
    """Each grid is off by a cell at most: one for the acceptance, one for the recovery."""
    assert np.abs(law_of_what_comes(p, [q]) - p).max() <= 2 / N_GRID


@given(LAWS, LAWS, LAWS)
@settings(max_examples=15)
def test_two_drawn_siblings_keep_the_law(p, q, r):
    assert np.abs(law_of_what_comes(p, [q, r]) - p).max() <= 3 / N_GRID


@given(LAWS, LAWS)
def test_as_much_is_accepted_as_the_laws_overlap(p, q):
    """Leviathan et al., theorem 3.5."""
    part = sum(q[token] * accepted_part(p, token, q) for token in range(3))
    assert abs(part - np.minimum(p, q).sum()) <= 1 / N_GRID


@given(LAWS)
def test_a_draft_with_the_models_own_law_is_always_accepted(p):
    for token in np.flatnonzero(p).tolist():
        assert judge(p, [(token, p)], [1 - 2**-53], recover=0.0) == (0, token)


@given(LAWS, LAWS)
def test_the_residual_is_what_min_leaves(p, q):
    """min(p, q) accepted, and the residual for the rest, is p (the proof in one line)."""
    overlap = np.minimum(p, q)
    assert np.abs(overlap + (1 - overlap.sum()) * residual(p, q) - p).max() <= 1e-15


def test_an_impossible_token_is_refused_and_a_certain_one_accepted():
    one, other = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    assert judge(one, [(1, other)], [0.0], recover=0.99) == (None, 0)
    assert judge(one, [(0, one)], [0.99], recover=0.0) == (0, 0)


def test_pick_from_gives_each_token_its_slice_and_an_empty_one_to_none():
    law = np.array([0.0, 0.25, 0.0, 0.75])
    assert [pick_from(law, u) for u in (0.0, 0.24, 0.25, 0.99)] == [1, 1, 3, 3]


@st.composite
def trees(draw):
    n = draw(st.integers(0, 7))
    parents = tuple(draw(st.integers(-1, i - 1)) for i in range(n))
    tokens = tuple(draw(st.integers(0, 2)) for _ in range(n))
    return Draft(tokens=tokens, parents=parents)


@given(trees(), st.data())
def test_the_path_is_the_longest_that_agrees_with_the_models_choices(draft, data):
    siblings = [(draft.parent(i), draft.tokens[i]) for i in range(len(draft))]
    assume(len(set(siblings)) == len(siblings))  # the same guess twice would be one too many
    chosen = [data.draw(st.integers(0, 2)) for _ in range(1 + len(draft))]
    path = follow(draft, chosen)

    def agrees(node):
        return all(chosen[1 + draft.parent(i)] == draft.tokens[i] for i in draft.path(node))

    lengths = [len(draft.path(node)) for node in range(len(draft)) if agrees(node)]
    assert len(path) == max(lengths, default=0)
    assert not path or agrees(path[-1])


@given(trees(), st.integers(0, 7))
def test_the_first_nodes_of_a_tree_are_a_tree(draft, n):
    cut = draft.first(n)
    assert len(cut) == min(n, len(draft))
    assert [cut.path(i) for i in range(len(cut))] == [draft.path(i) for i in range(len(cut))]


def test_a_chain_is_a_tree_whose_parents_go_without_saying():
    chain, tree = Draft(tokens=(5, 6, 7)), Draft(tokens=(5, 6, 7), parents=(-1, 0, 1))
    for one in (chain, tree):
        assert one.path(2) == [0, 1, 2] and one.children(0) == [1]
        assert follow(one, [5, 6, 0, 0]) == [0, 1]
    assert chain.n_in_place([0, 1]) == 2
    assert Draft(tokens=(5, 6, 7), parents=(-1, -1, 1)).n_in_place([1, 2]) == 0


@pytest.mark.parametrize(
    "wrong",
    [{"parents": (0,)}, {"parents": (-2,)}, {"parents": ()}, {"laws": ()}],
)
def test_a_draft_that_is_no_tree_is_refused(wrong):
    with pytest.raises(InputError):
        Draft(tokens=(1,), **wrong)


def test_every_number_has_a_stream_of_its_own():
    streams = [0, 1, RESIDUAL_STREAM]
    streams += [f(c) for c in range(50) for f in (accept_stream, draft_stream)]
    assert len(set(streams)) == len(streams)
