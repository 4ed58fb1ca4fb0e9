"""Beam search by example: the rules on small tables, errors, and what is left when it fails."""

import numpy as np
import pytest

from refimpl.engine.beam import BeamParams, beam_search, search
from refimpl.engine.beam.scores import Transformers, Vllm, best_of
from refimpl.engine.faults import (
    BackendError,
    ContextOverflowError,
    EmptyPromptError,
    TooLargeError,
)
from refimpl.engine.llm import LLM
from refimpl.errors import InputError
from refimpl.oracle.models import random_model
from refimpl.sampling import SamplingParams


def llm_of(**options):
    options = {"block_size": 4, "n_blocks": 32, **options}
    return LLM(random_model("llama", seed=0), **options)


def rows(*laws):
    with np.errstate(divide="ignore"):
        return np.log(np.array(laws))


def test_ties_go_to_the_first_beam_and_the_lowest_token():
    assert best_of(rows([0.25, 0.5, 0.25], [0.5, 0.25, 0.25]), 4) == [
        (0, 1),
        (1, 0),
        (0, 0),
        (0, 2),
    ]


def test_an_impossible_token_is_no_candidate():
    assert best_of(rows([0.0, 1.0, 0.0]), 3) == [(0, 1)]


def test_transformers_keeps_an_end_only_among_the_first_width():
    """The end is the second best of four candidates: seen, and not kept, at width 1."""
    law = rows([0.5, 0.1, 0.4])
    narrow = Transformers(BeamParams(width=1, max_tokens=9), ends=frozenset({2}), n_prompt=1)
    narrow.advance(law)
    assert not narrow.ended and narrow.live[0].tokens == [0]
    wide = Transformers(BeamParams(width=2, max_tokens=9), ends=frozenset({2}), n_prompt=1)
    wide.advance(law)
    assert [one.tokens for one in wide.ended] == [[2]]


def test_vllm_keeps_every_end_it_sees():
    beams = Vllm(BeamParams(rules="vllm", width=1, max_tokens=9), ends=frozenset({2}), n_prompt=1)
    beams.advance(rows([0.5, 0.1, 0.4]))
    assert [beam.tokens for beam in beams.ended] == [[2]]


def test_early_stopping_differs_in_what_a_live_beam_might_still_become():
    """One beam ended at -2.3 a token; the live one stands at -3.9 for two tokens, -1.97 each."""
    done = {}
    for stopping in (True, False, "never"):
        params = BeamParams(width=1, max_tokens=9, early_stopping=stopping)
        beams = Transformers(params, ends=frozenset({2}), n_prompt=1)
        beams.advance(rows([0.4, 0.0, 0.6]))
        done[stopping] = beams.is_done
    assert done == {True: True, False: True, "never": False}


def test_the_two_divide_by_different_lengths():
    law = rows([0.5, 0.5, 0.0])
    one = Transformers(BeamParams(width=1, max_tokens=1), ends=frozenset(), n_prompt=4)
    two = Vllm(BeamParams(rules="vllm", width=1, max_tokens=1), ends=frozenset(), n_prompt=4)
    one.advance(law), two.advance(law)
    assert one.best()[0].score == np.log(0.5)
    assert two.best()[0].score == np.log(0.5) / 5


def test_the_beams_of_several_prompts_are_those_of_each_alone():
    llm, params = llm_of(n_blocks=64), BeamParams(width=3, max_tokens=6)
    together = beam_search(llm, [[1, 2, 3], [9, 9]], params)
    alone = [beam_search(llm, prompt, params)[0] for prompt in ([1, 2, 3], [9, 9])]
    assert [r.hypotheses for r in together] == [r.hypotheses for r in alone]


def test_n_return_cuts_what_is_returned_and_nothing_else():
    llm = llm_of()
    [all_of], [some] = (
        beam_search(llm, [1, 2], BeamParams(width=4, max_tokens=5, n_return=n)) for n in (None, 2)
    )
    assert some.hypotheses == all_of.hypotheses[:2]


def test_the_context_bounds_the_search():
    llm = llm_of()
    prompt = [1] * 60
    [result] = beam_search(llm, prompt, BeamParams(width=2, max_tokens=99))
    assert [len(one.tokens) for one in result.hypotheses] == [4, 4]


@pytest.mark.parametrize(
    ("prompt", "error"),
    [([], EmptyPromptError), ([99], InputError), ([1] * 64, ContextOverflowError)],
)
def test_an_impossible_prompt_has_a_name(prompt, error):
    with pytest.raises(error):
        search(llm_of().engine, [prompt], BeamParams())


def test_too_many_beams_for_the_pool_leave_nothing_behind():
    llm = llm_of(n_blocks=4, cache="none")
    with pytest.raises(TooLargeError, match="do not fit the pool"):
        beam_search(llm, [1, 2, 3], BeamParams(width=5, max_tokens=9))
    assert llm.engine.scheduler.memory.pool.n_free == 4


def test_a_failing_backend_leaves_nothing_behind():
    llm, calls = llm_of(cache="none"), iter(range(99))
    forward = llm.engine.runner.backend.forward

    def failing(*args, **options):
        if next(calls) > 2:
            raise RuntimeError("out of luck")
        return forward(*args, **options)

    llm.engine.runner.backend.forward = failing
    with pytest.raises(BackendError, match="out of luck"):
        beam_search(llm, [1, 2, 3], BeamParams(width=3, max_tokens=9))
    assert llm.engine.scheduler.memory.pool.n_free == 32


def test_a_busy_engine_is_refused():
    llm = llm_of()
    llm.submit([1, 2], SamplingParams(max_tokens=3))
    with pytest.raises(InputError, match="idle"):
        beam_search(llm, [1, 2, 3], BeamParams())


@pytest.mark.parametrize(
    "wrong",
    [
        {"width": 0},
        {"max_tokens": 0},
        {"length_penalty": float("inf")},
        {"rules": "google"},
        {"early_stopping": "sometimes"},
        {"rules": "vllm", "early_stopping": True},
        {"n_return": 9},
    ],
)
def test_parameters_that_make_no_sense_are_refused(wrong):
    with pytest.raises(InputError):
        BeamParams(**wrong)
