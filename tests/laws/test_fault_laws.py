"""Faults: each is a named error of one request; the others get what they would have got; law 19."""

from dataclasses import replace

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
)

from refimpl.backend import ReferenceBackend
from refimpl.engine.faults import (
    BackendError,
    BadLogitsError,
    ContextOverflowError,
    DuplicateIdError,
    EmptyPromptError,
    TooLargeError,
    UnknownIdError,
)
from refimpl.engine.limits import Limits
from refimpl.engine.request import Finish
from refimpl.errors import InputError, RefimplError
from refimpl.sampling import SamplingParams
from tests.laws.engines import (
    ASKS,
    CONTEXT,
    Ask,
    Schedule,
    assert_drained,
    model_of,
    naive,
    schedules,
    serve,
    shapes_unchecked,
)

GREEDY = SamplingParams(max_tokens=9, temperature=0.0)
CURSED = 11  # a token on which the backend below fails
INNOCENT = ASKS.filter(lambda ask: CURSED not in ask.prompt)


@pytest.fixture(autouse=True, scope="module")
def fast():
    with shapes_unchecked():
        yield


class Cursed(ReferenceBackend):
    """Fails on a token: it raises in the middle of a step, or answers NaN."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    def forward(self, model, plan, cache, *args):
        hit = plan.tokens == CURSED
        if self.how == "raise" and hit.any():
            # What is done before the failure stays done, as on a real device.
            cache.keys[0][plan.slots] = np.nan
            raise MemoryError("out of device memory")
        logits = super().forward(model, plan, cache, *args)
        if self.how == "nan":
            logits = logits.copy()
            logits[hit[plan.rows]] = np.nan
        return logits


@given(
    st.lists(INNOCENT, min_size=1, max_size=3),
    st.lists(st.integers(0, 10), max_size=6),
    st.integers(0, 4),
    st.integers(0, 6),
    schedules(),
    st.sampled_from(["raise", "nan"]),
)
def test_a_backend_that_fails_for_one_request_fails_for_no_other(
    innocent, prefix, place, arrives, schedule, how
):
    model = model_of("llama", 0)
    engine = schedule.engine(model)
    engine.runner.backend = Cursed(how)
    # No other request may draw the cursed token by itself.
    ban = {CURSED: float("-inf")}
    asks = [replace(a, params=replace(a.params, logit_bias=ban)) for a in innocent]
    cursed = Ask((*prefix, CURSED), SamplingParams(max_tokens=3), arrives=arrives)
    place = min(place, len(asks))
    requests = serve(engine, [*asks[:place], cursed, *asks[place:]])
    failed = requests.pop(place)
    assert failed.finish is Finish.ERROR and not failed.output
    assert isinstance(failed.error, BackendError if how == "raise" else BadLogitsError)
    for ask, request in zip(asks, requests, strict=True):
        assert request.sampled == naive("llama", 0, ask)


class Flaky(ReferenceBackend):
    """Fails when moving a block."""

    def copy_blocks(self, cache, src, dst):
        raise OSError("copy engine is down")

    read_blocks = write_blocks = copy_blocks


@given(st.lists(ASKS, min_size=1, max_size=3), schedules(), st.integers(2, 3))
def test_a_failed_move_costs_the_request_it_was_for(asks, schedule, n):
    schedule = replace(schedule, limits=replace(schedule.limits, max_seqs=6))
    engine = schedule.engine(model_of("llama", 0))
    engine.runner.backend = Flaky()
    parent = Ask((1, 2, 3), SamplingParams(max_tokens=4), eog=frozenset()).request("p")
    parent.unborn = [
        Ask((1, 2, 3), parent.params, frozenset(), i).request(f"p{i}") for i in range(1, n)
    ]
    for child in parent.unborn:
        child.is_unborn = True
    family = [parent, *parent.unborn]
    engine.add(parent)
    mine = [Ask(r.prompt, r.params, eog=frozenset(), sample=r.sample) for r in family]
    for ask, request in zip([*asks, *mine], [*serve(engine, asks), *family], strict=True):
        if request.finish is Finish.ERROR:
            assert isinstance(request.error, BackendError)
        else:
            assert request.sampled == naive("llama", 0, ask)


def test_a_copy_that_fails_costs_the_writer_and_nobody_else():
    """Of two samples with a partial block between them, the first to write needs the copy."""
    engine = Schedule(memory="none").engine(model_of("llama", 0))
    engine.runner.backend = Flaky()
    asks = [Ask((1, 2, 3), GREEDY, frozenset(), i) for i in range(2)]
    first, second = (ask.request(str(i)) for i, ask in enumerate(asks))
    first.unborn, second.is_unborn = [second], True
    engine.add(first)
    engine.run()
    assert isinstance(first.error, BackendError) and "could not be moved" in str(first.error)
    assert second.sampled == naive("llama", 0, asks[1])
    assert_drained(engine)


def small_engine(n_blocks=4, **limits):
    return Schedule(n_blocks=n_blocks, block_size=4, limits=Limits(**limits)).engine(
        model_of("llama", 0)
    )


@pytest.mark.parametrize(
    ("ask", "error", "says"),
    [
        (Ask((), GREEDY), EmptyPromptError, "nothing to continue"),
        (Ask((1, -1), GREEDY), InputError, "no token ids"),
        (Ask((1,) * CONTEXT, GREEDY), ContextOverflowError, "shorten it"),
        (Ask((1,) * 17, GREEDY), TooLargeError, "the whole pool only 16 slots"),
    ],
)
def test_what_can_never_be_served_is_refused_by_name_and_leaves_nothing(ask, error, says):
    engine = small_engine()
    with pytest.raises(error, match=says):
        engine.add(ask.request("a"))
    assert_drained(engine)
    assert engine.is_idle and not engine.scheduler.ids


def test_a_second_request_with_an_id_is_refused_until_the_first_has_ended():
    engine = small_engine()
    first, second = Ask((1,), GREEDY).request("a"), Ask((2,), GREEDY).request("a")
    engine.add(first)
    with pytest.raises(DuplicateIdError):
        engine.add(second)
    engine.abort("a")
    engine.add(second)
    engine.run()
    assert first.finish is Finish.ABORT and second.sampled == naive("llama", 0, Ask((2,), GREEDY))


def test_aborting_what_is_not_served_says_so():
    engine = small_engine()
    with pytest.raises(UnknownIdError):
        engine.abort("a")


def test_a_request_that_outgrows_the_pool_ends_with_an_error_and_what_it_had():
    ask = Ask((1,) * 14, GREEDY, eog=frozenset())
    alone = small_engine()
    (request,) = serve(alone, [ask])
    assert isinstance(request.error, TooLargeError) and "enlarge it" in str(request.error)
    assert request.sampled == naive("llama", 0, ask)[: len(request.sampled)]
    assert len(request.sampled) == 3  # 16 slots: 14 of the prompt, and two outputs computed


def test_a_pool_too_small_for_two_serves_both_one_after_the_other():
    asks = [Ask((token,) * 8, GREEDY, eog=frozenset()) for token in (1, 2)]
    engine = small_engine(n_blocks=5)
    requests = serve(engine, asks)
    assert sum(r.n_preempted for r in requests) > 0
    assert [r.sampled for r in requests] == [naive("llama", 0, ask) for ask in asks]


def test_more_samples_than_seats_are_refused():
    engine = small_engine(max_seqs=2)
    parent = Ask((1,), GREEDY).request("a")
    parent.unborn = [Ask((1,), GREEDY, sample=i).request(f"a{i}") for i in (1, 2)]
    with pytest.raises(TooLargeError, match="ask for fewer"):
        engine.add(parent)


def test_no_tokens_asked_for_is_no_work():
    engine = small_engine()
    (request,) = serve(engine, [Ask((1, 2), SamplingParams(max_tokens=0))])
    assert request.finish is Finish.LENGTH and not request.output


def test_a_bias_on_a_token_that_does_not_exist_is_that_requests_error():
    engine = small_engine()
    bad = Ask((1, 2), SamplingParams(max_tokens=2, logit_bias={10**6: 1.0}))
    good = Ask((1, 2), GREEDY)
    requests = serve(engine, [bad, good])
    assert isinstance(requests[0].error, RefimplError)
    assert requests[1].sampled == naive("llama", 0, good)


class EngineUnderFire(RuleBasedStateMachine):
    """Requests come, fork, are cancelled and fail while the engine runs; nothing may leak."""

    ids = Bundle("ids")

    @initialize(schedule=schedules(), how=st.sampled_from(["raise", "nan"]))
    def start(self, schedule: Schedule, how: str) -> None:
        limits = replace(schedule.limits, max_seqs=schedule.limits.max_seqs + 1)
        self.engine = replace(schedule, limits=limits).engine(model_of("llama", 1))
        self.engine.runner.backend = Cursed(how)
        self.served = []

    @rule(target=ids, ask=ASKS, n=st.integers(1, 2))
    def add(self, ask: Ask, n: int):
        id = str(len(self.served))
        family = [replace(ask, sample=i) for i in range(n)]
        first, *rest = [one.request(f"{id}.{i}") for i, one in enumerate(family)]
        for child in rest:
            child.is_unborn = True
        first.unborn = list(rest)
        self.engine.add(first)
        self.served += zip(family, [first, *rest], strict=True)
        return multiple(*(f"{id}.{i}" for i in range(n)))

    @rule(id=ids)
    def abort(self, id: str) -> None:
        if id in self.engine.scheduler.ids:
            self.engine.abort(id)

    @rule(n=st.integers(1, 4))
    def step(self, n: int) -> None:
        for _ in range(n):
            self.engine.step()

    @invariant()
    def law_19_nothing_leaks(self) -> None:
        if hasattr(self, "engine"):
            self.engine.scheduler.check()

    def teardown(self) -> None:
        if not hasattr(self, "engine"):
            return
        self.engine.run()
        assert_drained(self.engine)
        for ask, request in self.served:
            expected = naive("llama", 1, ask)
            assert request.sampled == expected[: len(request.sampled)]
            if request.finish in (Finish.STOP, Finish.LENGTH):
                assert len(request.sampled) == len(expected)
            if request.finish is Finish.ERROR:
                assert CURSED in request.tokens


class TestEngineUnderFire(EngineUnderFire.TestCase):
    settings = settings(stateful_step_count=12)

    def runTest(self):
        with shapes_unchecked():
            super().runTest()
