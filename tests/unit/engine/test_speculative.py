"""Speculation by example: proposers, lengths, and drafts that meet the scheduler."""

import json
import math
import re
from collections import Counter
from dataclasses import replace
from random import Random

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from refimpl.backend import ReferenceBackend
from refimpl.engine.batch import build_plan
from refimpl.engine.core import Engine
from refimpl.engine.faults import BackendError, BadLogitsError
from refimpl.engine.limits import Limits
from refimpl.engine.request import Finish, Request, Status
from refimpl.engine.scheduler import Scheduler
from refimpl.engine.speculative.draft_model import DraftModel
from refimpl.engine.speculative.engine import SpeculativeEngine
from refimpl.engine.speculative.length import Adaptive, Fixed, even_costs, expected_tokens
from refimpl.engine.speculative.ngram import NGram, guess
from refimpl.engine.speculative.proposer import Ask, Recital
from refimpl.engine.speculative.small_plan import small_plan
from refimpl.engine.speculative.speculator import Speculator
from refimpl.engine.speculative.suffix import SuffixAutomaton
from refimpl.engine.step import Share, Step
from refimpl.engine.text import TextStream
from refimpl.errors import InputError
from refimpl.grammar.guide import Asked
from refimpl.grammar.masks import Vocabulary
from refimpl.kv.blocks import BlockPool
from refimpl.kv.lease import Memory
from refimpl.oracle.models import random_model
from refimpl.sampling import SamplingParams
from refimpl.sampling.draws import Draw
from refimpl.sampling.verify import Draft

GREEDY = SamplingParams(temperature=0.0, max_tokens=20)
PROMPT = (1, 2, 3)


def engine_of(speculator=None, *, model=None, backend=None, n_blocks=40, **limits):
    scheduler = Scheduler(Memory(BlockPool(n_blocks=n_blocks, block_size=4)), Limits(**limits))
    model, backend = model or random_model("llama", seed=0), backend or ReferenceBackend()
    if speculator is None:
        return Engine(model, backend, scheduler)
    return SpeculativeEngine(model, backend, scheduler, speculator)


def new(id="a", params=GREEDY, prompt=PROMPT, **fields):
    return Request(id=id, prompt=prompt, params=params, **fields)


def serve(engine, *requests):
    for request in requests:
        engine.add(request)
    n = 0
    while not engine.is_idle:
        engine.step()
        engine.scheduler.check()
        n += 1
    assert engine.scheduler.memory.pool.n_free == engine.scheduler.memory.pool.n_blocks
    return n


def plain_text(params=GREEDY, prompt=PROMPT):
    serve(engine_of(), request := new(params=params, prompt=prompt))
    return [*prompt, *request.output]


def running(tokens, params=GREEDY):
    request = new(params=params, prompt=tuple(tokens))
    request.status = Status.RUNNING
    return request


# --- who guesses ---


@given(st.lists(st.integers(0, 2), max_size=40), st.integers(1, 6))
def test_the_suffix_automaton_finds_what_an_unbounded_search_finds(tokens, n):
    automaton = SuffixAutomaton()
    for token in tokens:
        automaton.extend(token)
    length, end = automaton.match()
    found = guess(tokens, n, longest=len(tokens))
    assert (length > 0) == bool(found)
    if found:
        assert tokens[end - length + 1 : end + 1] == tokens[len(tokens) - length :]
        continued = [*tokens]
        for i in range(n):
            continued.append(continued[end + 1 + i])
        assert tuple(continued[len(tokens) :]) == found


def test_the_automaton_has_fewer_than_two_states_a_token():
    rng, automaton, n = Random(0), SuffixAutomaton(), 2000
    for _ in range(n):
        automaton.extend(rng.randrange(3))
    states, todo = {id(automaton.root)}, [automaton.root]
    while todo:
        for state in todo.pop().next.values():
            if id(state) not in states:
                states.add(id(state))
                todo.append(state)
    assert len(states) < 2 * n


def test_the_longest_ngram_wins():
    tokens = [7, 8, 1, 9, 8, 2, 7, 8]  # 7 8 was followed by 1; 8 alone would say so too
    assert guess(tokens, 1, longest=3) == (1,)
    tokens = [8, 2, 7, 8, 1, 7, 8]
    assert guess(tokens, 1, longest=1) == (2,)
    assert guess(tokens, 1, longest=2) == (1,)


def test_a_short_match_is_no_match():
    assert NGram(shortest=2).draft([5, 1, 5], 3) is None
    assert NGram(shortest=1).draft([5, 1, 5], 3).tokens == (1, 5, 1)


@pytest.mark.parametrize("wrong", [{"longest": 1, "shortest": 2}, {"shortest": 0}])
def test_an_ngram_that_cannot_be_looked_up_is_refused(wrong):
    with pytest.raises(InputError):
        NGram(**wrong)


def test_the_target_as_its_own_draft_is_always_right():
    model = random_model("llama", seed=0)
    for params in (GREEDY, SamplingParams(seed=3, max_tokens=20)):
        drafter = DraftModel(model, ReferenceBackend(), n_blocks=20, block_size=4)
        speculator = Speculator(drafter, Fixed(4))
        serve(engine_of(speculator, model=model), new(params=params))
        assert speculator.statistics.n_wrong == 0
        assert speculator.statistics.tokens_per_step == 5.0


def test_a_draft_model_computes_a_token_once():
    """Catching up joins the first guess; what was right is not computed again."""
    drafter = DraftModel(random_model("llama", seed=0), ReferenceBackend(), n_blocks=20)
    seen, forward = [], drafter.runner.backend.forward
    drafter.runner.backend.forward = lambda model, plan, *rest: (
        seen.append(len(plan.tokens)) or forward(model, plan, *rest)
    )
    request = running(PROMPT)
    [draft] = drafter.propose([Ask(request, 3)])
    assert seen == [3, 1, 1]
    request.tokens += [*draft.tokens, 9]  # all right, and a bonus
    drafter.propose([Ask(request, 2)])
    assert seen[3:] == [2, 1]
    request.tokens += [draft.tokens[0]]
    drafter.propose([Ask(request, 1)])


def test_a_draft_model_reads_a_long_prompt_in_chunks():
    model, backend = random_model("llama", seed=0), ReferenceBackend()
    whole, chunked = (
        DraftModel(model, backend, n_blocks=20, max_batched_tokens=most) for most in (99, 7)
    )
    request = running(range(1, 31))
    [a], [b] = (drafter.propose([Ask(request, 3)]) for drafter in (whole, chunked))
    assert a.tokens == b.tokens


def test_a_draft_model_without_room_makes_no_guess():
    drafter = DraftModel(
        random_model("llama", seed=0), ReferenceBackend(), n_blocks=1, block_size=4
    )
    assert drafter.propose([Ask(running(range(1, 9)), 3)]) == [None]
    [draft] = drafter.propose([Ask(running(PROMPT), 5)])
    assert len(draft) == 2  # the guess after the block's last slot needs no slot of its own


def test_two_requests_do_not_share_the_last_free_block():
    drafter = DraftModel(
        random_model("llama", seed=0), ReferenceBackend(), n_blocks=3, block_size=4
    )
    a, b = running(range(1, 5)), running(range(5, 9))
    drafts = drafter.propose([Ask(a, 3), Ask(b, 3)])  # a block each, and one for the first to ask
    assert [len(draft) for draft in drafts] == [3, 1]
    a.status = b.status = Status.WAITING
    drafter.forget_the_gone()
    assert drafter.memory.pool.n_free == 3


def test_siblings_stand_beside_the_chain():
    drafter = DraftModel(random_model("llama", seed=0), ReferenceBackend(), n_blocks=9, siblings=2)
    [draft] = drafter.propose([Ask(running(PROMPT), 3)])
    assert draft.parents == (-1, 0, 1, -1, -1, 0, 0, 1, 1)
    for depth in range(3):
        beside = {draft.tokens[i] for i in draft.children(depth - 1)}
        assert len(beside) == 3


def test_a_failing_draft_model_costs_guesses_and_nothing_else():
    class Broken(ReferenceBackend):
        def forward(self, *args, **options):
            raise RuntimeError("no power")

    drafter = DraftModel(random_model("llama", seed=1), Broken(), n_blocks=9)
    speculator = Speculator(drafter, Fixed(3))
    serve(engine_of(speculator), request := new())
    assert [*PROMPT, *request.output] == plain_text()
    assert speculator.statistics.n_offered == 0


# --- how far ---


def test_expected_tokens_is_the_closed_form():
    for a in (0.0, 0.3, 0.9):
        for k in range(6):
            assert expected_tokens(a, k) == pytest.approx((1 - a ** (k + 1)) / (1 - a), rel=1e-14)


def test_the_adaptive_length_gives_up_and_tries_again():
    length, request = Adaptive(even_costs(4, 0.3), start=0.6), running(PROMPT)
    assert length.of(request) > 0
    for _ in range(5):
        length.learn(request, 4, 0)
    assert length.of(request) == 0
    n = 0
    while not length.of(request):
        length.learn(request, 0, 0)
        n += 1
    assert 0 < n < 50


def test_the_adaptive_length_grows_where_guesses_are_right():
    length, request = Adaptive(even_costs(8, 0.2), start=0.5), running(PROMPT)
    before = length.of(request)
    for _ in range(9):
        length.learn(request, 4, 4)
    assert length.of(request) == 8 > before


def test_the_adaptive_length_knows_which_guesses_are_nearly_free():
    in_tiles = [1.0, 1.1, 1.6, 1.6, 2.8, 2.8, 2.8, 2.8, 4.6]
    lengths = [Adaptive(in_tiles).best(a) for a in (0.05, 0.3, 0.6, 0.8, 0.95)]
    assert lengths == [0, 1, 1, 3, 7]


@pytest.mark.parametrize(
    "wrong",
    [
        {"costs": [1.0]},
        {"costs": [1.0, -1.0]},
        {"costs": [1.0, math.nan]},
        {"start": 1.0},
        {"fading": 2.0},
    ],
)
def test_lengths_that_make_no_sense_are_refused(wrong):
    with pytest.raises(InputError):
        Adaptive(**{"costs": [1.0, 1.2]} | wrong)


# --- in the engine ---


class ChainsOnly(ReferenceBackend):
    """A backend of which nobody knows whether it attends to trees."""

    def forward(self, model, plan, *args, **options):
        assert plan.tree_parents is None
        return super().forward(model, plan, *args, **options)


def test_a_tree_is_cut_to_its_trunk_where_only_chains_are_attended_to():
    text = plain_text()
    tree = Guess(text[3], text[4], 9, parents=(-1, 0, -1))
    speculator = Speculator(tree, Fixed(4))
    serve(engine_of(speculator, backend=ChainsOnly()), request := new())
    assert request.tokens == text and 2 in speculator.statistics.accepted


class Guess:
    """Always the same tokens."""

    def __init__(self, *tokens, parents=None):
        self.draft = Draft(tokens=tokens, parents=parents)

    def propose(self, asks):
        return [self.draft.first(n) for _, n in asks]

    def forget_the_gone(self):
        pass


def test_a_right_guess_saves_a_step():
    text = plain_text()
    speculator = Speculator(Recital({"a": text}), Fixed(3))
    n = serve(engine_of(speculator), request := new())
    assert request.tokens == text and n == 5
    assert speculator.statistics.accepted == Counter({3: 5})


def test_a_stop_string_in_the_middle_of_right_guesses_ends_the_text_there():
    class Letters:
        def push(self, token):
            return chr(ord("a") + token)

        def flush(self):
            return ""

    text = plain_text()
    stop = "".join(chr(ord("a") + token) for token in text[6:8])
    results = []
    for speculator in (None, Speculator(Recital({"a": text}), Fixed(6))):
        stream = TextStream(Letters(), stops=(stop,))
        serve(engine_of(speculator), request := new(text=stream))
        results.append((request.output, request.finish))
    assert results[0] == results[1] and results[0][1] is Finish.STOP


def test_an_end_token_in_the_middle_of_right_guesses_ends_the_request():
    text = plain_text()
    end = frozenset({text[8]})
    n = text[3:].index(text[8]) + 1
    speculator = Speculator(Recital({"a": text}), Fixed(9))
    serve(engine_of(speculator), request := new(eog_tokens=end))
    assert request.output == text[3 : 3 + n] and request.finish is Finish.STOP


def test_drafts_take_what_is_left_of_the_budget():
    """Two requests decode, a prompt takes the rest: nothing is guessed beside it."""
    texts = {id: plain_text() for id in "ab"}
    speculator = Speculator(Recital(texts), Fixed(5))
    engine = engine_of(speculator, max_batched_tokens=6)
    engine.add(new("a")), engine.add(new("b"))
    engine.step()
    engine.add(new("book", prompt=tuple(range(1, 13))))
    engine.step()
    assert speculator.statistics.n_offered == 0
    assert engine.scheduler.running["book"].n_computed == 4


def test_a_draft_is_cut_to_the_slots_that_are_free():
    """A pool of 6 slots, 4 of them taken by the text: two guesses of five are computed."""
    scheduler = Scheduler(Memory(BlockPool(n_blocks=6, block_size=1)))
    speculator = Speculator(Recital({"a": plain_text()}), Fixed(5))
    engine = SpeculativeEngine(
        random_model("llama", seed=0), ReferenceBackend(), scheduler, speculator
    )
    engine.add(new(params=SamplingParams(temperature=0.0, max_tokens=9)))
    engine.step()
    assert speculator.statistics.accepted == Counter({3: 1})
    assert scheduler.running["a"].n_computed == 6


def test_no_guess_goes_beyond_what_may_be_said():
    params = SamplingParams(temperature=0.0, max_tokens=2)
    speculator = Speculator(Guess(5, 6, 7, 8), Fixed(4))
    serve(engine_of(speculator), new(params=params))
    assert speculator.statistics.n_offered == 1


def test_mirostat_is_not_guessed_for():
    speculator = Speculator(Guess(5), Fixed(4))
    serve(engine_of(speculator), new(params=SamplingParams(mirostat=2, max_tokens=5)))
    assert speculator.statistics.n_offered == 0


def test_a_prompt_that_is_scored_keeps_its_scores():
    """Its last step is not guessed for; the next one is."""
    scores = []
    for speculator in (None, Speculator(Recital({"a": plain_text()}), Fixed(3))):
        serve(engine_of(speculator), request := new(prompt_logprobs=1))
        scores.append(request.prompt_scores)
    assert scores[0] == scores[1] and len(scores[0]) == 2
    assert speculator.statistics.n_right > 0


def test_samples_of_one_prompt_are_guessed_for_once_they_are_born():
    texts = []
    for speculator in (None, Speculator(NGram(shortest=1), Fixed(3))):
        first = new("a", SamplingParams(seed=1, max_tokens=9))
        second = new("b", SamplingParams(seed=1, max_tokens=9), sample=1, is_unborn=True)
        first.unborn = [second]
        serve(engine_of(speculator), first)
        texts.append([first.output, second.output])
    assert texts[0] == texts[1] and speculator.statistics.n_offered > 0


@pytest.mark.parametrize("params", [GREEDY, SamplingParams(seed=4, max_tokens=20)])
def test_a_constraint_holds_after_every_guess(params):
    """Right guesses, wrong ones and forbidden ones: the text of the plain loop, and allowed."""
    letters = [b"</s>", *(bytes([97 + i % 26]) for i in range(39))]
    asked = Asked(Vocabulary.of(letters, [0]))
    params = replace(params, regex="[a-f]{3}(xyz|zyx)*q")
    results = []
    for speculator in (
        None,
        Speculator(Guess(1, 2, 24, 25, 26, 24), Fixed(5)),
        Speculator(Guess(1, 30, 24, 2, parents=(-1, -1, 0, 0)), Fixed(4)),
    ):
        request = new(params=params, guide=asked.guide(params), eog_tokens=frozenset({0}))
        serve(engine_of(speculator), request)
        results.append(request.sampled)
    assert results[0] == results[1] == results[2]
    text = b"".join(letters[one.token] for one in results[0])
    assert re.match(rb"[a-f]{3}(xyz|zyx)*", text)


def test_an_honest_guess_that_is_forbidden_is_refused():
    letters = [b"</s>", *(bytes([97 + i % 26]) for i in range(39))]
    asked, params = Asked(Vocabulary.of(letters, [0])), SamplingParams(seed=4, regex="(ab|ba)*")
    drafter = DraftModel(
        random_model("llama", seed=1), ReferenceBackend(), n_blocks=20, honest=True
    )
    speculator = Speculator(drafter, Fixed(3))
    request = new(params=params, guide=asked.guide(params), eog_tokens=frozenset({0}))
    serve(engine_of(speculator), request)
    text = b"".join(letters[token] for token in request.output).removesuffix(b"</s>")
    assert re.fullmatch(rb"(ab|ba)*[ab]?", text) and speculator.statistics.n_wrong > 0


def test_an_aborted_request_leaves_nothing():
    speculator = Speculator(Recital({"a": plain_text()}), Fixed(3))
    engine = engine_of(speculator)
    engine.add(new())
    engine.step()
    engine.abort("a")
    assert engine.is_idle and engine.scheduler.memory.pool.n_free == 40


def test_a_backend_that_fails_beside_others_is_asked_for_each_draft_alone():
    class Choosy(ReferenceBackend):
        attends_trees = True

        def forward(self, model, plan, *args, **options):
            if len(plan.context_lens) > 1:
                raise RuntimeError("one at a time")
            plan.check()
            return super().forward(model, plan, *args, **options)

    text = plain_text()
    tree = Guess(text[3], 9, text[4], parents=(-1, -1, 0))
    a, b = new("a"), new("b", params=SamplingParams(seed=1, max_tokens=20))
    serve(engine_of(Speculator(tree, Fixed(4)), backend=Choosy()), a, b)
    assert a.tokens == text
    assert b.tokens == plain_text(b.params)


def test_logits_that_are_no_law_end_their_request_only():
    class Spoilt(ReferenceBackend):
        def forward(self, model, plan, *args, **options):
            logits = super().forward(model, plan, *args, **options)
            if plan.context_lens[0] > 6 and len(plan.context_lens) == 2:
                logits[1] = np.nan
            return logits

    for params in (GREEDY, SamplingParams(seed=0, max_tokens=20)):
        text = plain_text(params)
        speculator = Speculator(Recital({"a": text}), Fixed(3))
        request, other = new("a", params=params), new("b", params=params)
        engine = engine_of(speculator, backend=Spoilt())
        serve(engine, request, other)
        assert isinstance(request.error, BadLogitsError)
        assert other.tokens == text


def test_a_backend_that_fails_for_a_draft_fails_for_its_request():
    class Broken(ReferenceBackend):
        def forward(self, *args, **options):
            raise RuntimeError("no power")

    serve(engine_of(Speculator(Guess(5), Fixed(1)), backend=Broken()), request := new())
    assert isinstance(request.error, BackendError)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.integers(1, 5), st.data())
def test_small_plan_equals_build_plan(lengths, block_size, data):
    memory = Memory(BlockPool(n_blocks=60, block_size=block_size))
    shares = []
    for i, n_tokens in enumerate(lengths):
        request = new(str(i), prompt=tuple(range(n_tokens)))
        request.lease = memory.lease(request.tokens)
        request.lease.grow(n_tokens)
        start = data.draw(st.integers(0, n_tokens - 1))
        shares.append(Share(request, start, n_tokens - start, (request,)))
    small = small_plan(shares)
    plan = build_plan(Step(budget=0, by_id={share.request.id: share for share in shares}))
    small.check()
    for name, value in vars(plan).items():
        assert np.array_equal(getattr(small, name), value), name


def test_the_draws_of_a_draft_know_its_tokens():
    """A repeated token is penalised after the guess, not before."""
    params = SamplingParams(temperature=0.0, repetition_penalty=4.0, max_tokens=12)
    text = plain_text(params)
    speculator = Speculator(Recital({"a": text}), Fixed(4))
    serve(engine_of(speculator), request := new(params=params))
    assert request.tokens == text and speculator.statistics.n_right > 4
    assert Draw(row=0, params=params).history == ()


def test_the_command_counts_and_compares():
    from click.testing import CliRunner

    from refimpl.commands.bench_speculative import speculative
    from tests.laws.engines import shapes_unchecked

    options = ["--json", "-n", "4", "-k", "2", "--repeats", "1", "--backend", "numpy"]
    with shapes_unchecked():
        told = CliRunner().invoke(speculative, options, catch_exceptions=False)
    rows = {row["way"]: row for row in json.loads(told.stdout)["rows"]}
    assert rows["plain"]["tokens_per_step"] == 1.0 == rows["plain"]["speed_up"]
    assert rows["draft model, 2"]["n_steps"] < rows["plain"]["n_steps"]
    assert all(row["is_same_text"] for row in rows.values())


def test_a_draft_model_that_fails_for_one_request_guesses_for_the_others():
    class Cursed(ReferenceBackend):
        def forward(self, model, plan, *rest, **more):
            if 11 in plan.tokens:
                raise MemoryError("out of device memory")
            return super().forward(model, plan, *rest, **more)

    model = random_model("llama", seed=0)
    alone, both = (DraftModel(model, Cursed(), n_blocks=20) for _ in range(2))
    [wanted] = alone.propose([Ask(running(PROMPT), 3)])
    [failed, fine] = both.propose([Ask(running([11, 3]), 3), Ask(running(PROMPT), 3)])
    assert failed is None and fine.tokens == wanted.tokens and len(fine) == 3


def test_a_small_pool_makes_short_guesses_for_all():
    """As many at once as there is room for, and what is short of blocks is no error."""
    model = random_model("llama", seed=0)
    drafter = DraftModel(model, ReferenceBackend(), n_blocks=4, block_size=2)
    drafts = drafter.propose([Ask(running([1, 2, 3]), 6), Ask(running([4]), 6)])
    plenty = DraftModel(model, ReferenceBackend(), n_blocks=40, block_size=2)
    whole = plenty.propose([Ask(running([1, 2, 3]), 6), Ask(running([4]), 6)])
    assert [len(draft) for draft in whole] == [6, 6]
    for draft, full in zip(drafts, whole, strict=True):
        assert 1 <= len(draft) < 6 and draft.tokens == full.tokens[: len(draft)]
