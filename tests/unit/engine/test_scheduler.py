"""The scheduler by example: shares, chunks, seats, victims, and SGLang's estimate."""

import pytest

from refimpl.engine.admission import NewTokenRatio
from refimpl.engine.limits import Limits, Preemption
from refimpl.engine.request import Request, Status
from refimpl.engine.scheduler import Scheduler
from refimpl.engine.step import Outcome, Step
from refimpl.engine.victims import FewestOutputs, LastAdmitted, LowestPriority
from refimpl.errors import InputError
from refimpl.kv.blocks import BlockPool, Sharing
from refimpl.kv.hashed import HashedMemory
from refimpl.kv.lease import Memory, SwapIn, SwapOut
from refimpl.sampling import Sampled, SamplingParams

TOKEN = Sampled(token=1, logprob=0.0, drawn_logprob=0.0)


def new(id, n_prompt, max_tokens=9, **fields):
    return Request(
        id=id, prompt=(2,) * n_prompt, params=SamplingParams(max_tokens=max_tokens), **fields
    )


def scheduler_of(n_blocks=8, block_size=4, n_host=8, memory=Memory, **options):
    limits = {k: options.pop(k) for k in list(options) if k in Limits.__dataclass_fields__}
    pool = BlockPool(n_blocks=n_blocks, block_size=block_size)
    host = BlockPool(n_blocks=n_host, block_size=block_size)
    return Scheduler(memory(pool, host=host), Limits(**limits), **options)


def step(scheduler):
    made = scheduler.schedule()
    scheduler.commit(made, [Outcome(sampled=[TOKEN] * len(s.draws)) for s in made.shares])
    scheduler.check()
    return made


def shares(made):
    return {share.request.id: share.n for share in made.shares}


def test_a_prompt_is_computed_in_chunks_and_draws_at_its_end():
    scheduler = scheduler_of(max_batched_tokens=3)
    scheduler.add(new("a", 7))
    made = [step(scheduler) for _ in range(4)]
    assert [shares(m)["a"] for m in made] == [3, 3, 1, 1]
    assert [len(m.draws) for m in made] == [0, 0, 1, 1]


def test_running_requests_come_before_waiting_ones():
    scheduler = scheduler_of(max_batched_tokens=4)
    scheduler.add(new("a", 4))
    step(scheduler)
    scheduler.add(new("b", 9))
    assert shares(step(scheduler)) == {"a": 1, "b": 3}


def test_no_more_run_than_there_are_seats():
    scheduler = scheduler_of(max_seqs=2)
    for id in "abc":
        scheduler.add(new(id, 2))
    assert shares(step(scheduler)) == {"a": 2, "b": 2}


def test_the_first_that_does_not_fit_stops_the_pass():
    scheduler = scheduler_of(n_blocks=4, block_size=1)
    for id, n in (("a", 3), ("b", 2), ("c", 1)):
        scheduler.add(new(id, n))
    assert shares(step(scheduler)) == {"a": 3}


@pytest.mark.parametrize("how", Preemption)
def test_a_victim_waits_first_in_the_queue_and_comes_back(how):
    scheduler = scheduler_of(n_blocks=4, block_size=2, preemption=how)
    a, b, c = new("a", 3, 4), new("b", 3, 4), new("c", 2, 1)
    for request in (a, b, c):
        scheduler.add(request)
    assert shares(step(scheduler)) == {"a": 3, "b": 3}  # both have two blocks, and one slot left
    step(scheduler)
    made = step(scheduler)  # both need a third block: the last one admitted gives way
    assert made.preempted == [b] and shares(made) == {"a": 1}
    assert list(scheduler.waiting) == ["b", "c"]
    assert b.status is (Status.SWAPPED if how is Preemption.SWAP else Status.WAITING)
    moves = [type(move) for _, move in made.moves]
    assert moves == ([SwapOut, SwapOut] if how is Preemption.SWAP else [])
    while b.status is not Status.RUNNING:
        made = step(scheduler)
    if how is Preemption.SWAP:
        assert shares(made)["b"] == 1 and [type(m) for _, m in made.moves] == [SwapIn, SwapIn]
    else:
        assert shares(made)["b"] == 5
    while not scheduler.is_idle:
        step(scheduler)


def test_a_full_host_means_recomputation():
    scheduler = scheduler_of(n_blocks=4, block_size=2, n_host=1, preemption=Preemption.SWAP)
    a, b = new("a", 3, 4), new("b", 3, 4)
    scheduler.add(a), scheduler.add(b)
    for _ in range(3):
        step(scheduler)
    assert b.status is Status.WAITING and b.n_computed == 0


@pytest.mark.parametrize("how", Preemption)
def test_a_victim_that_had_its_share_gives_it_back(how):
    scheduler = scheduler_of(
        n_blocks=4, block_size=2, victims=LowestPriority(), max_batched_tokens=8, preemption=how
    )
    low, high = new("low", 2, priority=1), new("high", 3, priority=0)
    scheduler.add(low), scheduler.add(high)
    step(scheduler), step(scheduler)
    made = step(scheduler)
    assert made.preempted == [low] and shares(made) == {"high": 1} and made.budget == 7
    assert low.n_computed == (3 if how is Preemption.SWAP else 0) and low.n_pending == 0


def test_victims():
    old, young, long_ = new("old", 3, priority=1), new("young", 3), new("long", 5)
    old.arrival, young.arrival, long_.arrival = 1, 2, 3
    old.tokens += [1]
    running = {r.id: r for r in (old, long_, young)}
    assert LastAdmitted().choose(running) is young
    assert LowestPriority().choose(running) is old
    assert FewestOutputs().choose(running) is long_


def test_what_a_victim_computed_is_found_again_in_the_cache():
    scheduler = scheduler_of(n_blocks=8, block_size=2, memory=HashedMemory)
    a = new("a", 5)
    scheduler.add(a)
    step(scheduler)
    scheduler.preempt(a, scheduler.schedule())
    assert shares(step(scheduler)) == {"a": 2}  # of 6 tokens, 4 were cached
    assert a.n_cached == 0  # when it first came


def test_samples_are_born_when_the_prompt_is_done_and_share_its_blocks():
    scheduler = scheduler_of(n_blocks=9, block_size=4)
    parent = new("p", 7)
    parent.unborn = [new("p1", 7, is_unborn=True), new("p2", 7, is_unborn=True)]
    scheduler.add(parent)
    made = step(scheduler)
    assert len(made.draws) == 3 and list(scheduler.running) == ["p", "p1", "p2"]
    assert scheduler.memory.pool.n_free == 7
    made = step(scheduler)
    assert len(made.moves) == 2 and scheduler.memory.pool.n_free == 5  # law 22: n - 1 copies


def test_append_only_samples_share_full_blocks_and_compute_the_rest():
    scheduler = scheduler_of(n_blocks=9, block_size=4, sharing=Sharing.APPEND_ONLY)
    parent = new("p", 7)
    parent.unborn = [new("p1", 7, is_unborn=True)]
    scheduler.add(parent)
    assert len(step(scheduler).draws) == 1
    made = step(scheduler)
    assert shares(made) == {"p": 1, "p1": 3} and not made.moves


def test_seats_are_kept_for_the_unborn():
    scheduler = scheduler_of(max_seqs=3, max_batched_tokens=4)
    parent = new("p", 7)
    parent.unborn = [new("p1", 7, is_unborn=True)]
    scheduler.add(parent), scheduler.add(new("a", 2)), scheduler.add(new("b", 2))
    step(scheduler), step(scheduler)
    assert list(scheduler.running) == ["p", "a", "p1"]


def test_an_unborn_sample_can_be_cancelled_and_an_orphan_takes_over():
    scheduler = scheduler_of()
    parent, one, two = new("p", 7), new("p1", 7, is_unborn=True), new("p2", 7, is_unborn=True)
    parent.unborn = [one, two]
    scheduler.add(parent)
    scheduler.abort("p1")
    scheduler.abort("p")
    scheduler.check()
    assert list(scheduler.waiting) == ["p2"] and not two.is_unborn


def test_a_token_that_comes_twice_is_taken_once():
    """An orphan was drawn for with its parent, and then began anew, all before the first commit."""
    scheduler = scheduler_of()
    parent, child = new("p", 3), new("c", 3, is_unborn=True)
    parent.unborn = [child]
    scheduler.add(parent)

    def results(made, token):
        sampled = Sampled(token=token, logprob=0.0, drawn_logprob=0.0)
        return [Outcome([sampled] * len(share.draws)) for share in made.shares]

    first = scheduler.schedule()
    scheduler.abort("p")
    second = scheduler.schedule()
    assert shares(second) == {"c": 3}  # the whole prompt again, for the child alone
    scheduler.commit(first, results(first, 7))
    third = scheduler.schedule()  # its second token
    scheduler.commit(second, results(second, 8))
    scheduler.commit(third, results(third, 9))
    assert child.output == [7, 9]
    scheduler.check()


def test_samples_whose_parent_gives_way_before_they_are_born_draw_later():
    scheduler = scheduler_of()
    parent, child = new("p", 3, 4), new("c", 3, 4, is_unborn=True)
    parent.unborn = [child]
    scheduler.add(parent)
    first = scheduler.schedule()  # both would draw from it
    scheduler.preempt(parent, Step(budget=0))
    scheduler.commit(first, [Outcome([TOKEN, TOKEN])])
    assert parent.n_output == 1 and not child.output
    assert [shares(step(scheduler)) for _ in range(2)] == [{"p": 4}, {"p": 1, "c": 3}]
    while not scheduler.is_idle:
        step(scheduler)
    assert parent.n_output == child.n_output == 4


def test_new_token_ratio_admits_by_estimate():
    scheduler = scheduler_of(n_blocks=100, block_size=1, admission=NewTokenRatio())
    scheduler.add(new("a", 10, max_tokens=50))  # alone, anybody may try
    scheduler.add(new("b", 10, max_tokens=50))  # 10 + 50 against 90 - 50
    assert shares(step(scheduler)) == {"a": 10}
    # later a is charged 0.7 of what it may still generate: 60 < 90 - 0.7 * 49 fails, just
    assert shares(step(scheduler)) == {"a": 1}
    scheduler.abort("b")
    scheduler.add(new("c", 10, max_tokens=40))
    assert shares(step(scheduler)) == {"a": 1, "c": 10}


def test_new_token_ratio_is_set_anew_by_a_retraction():
    ratio = NewTokenRatio()
    a, b = new("a", 3, max_tokens=40), new("b", 3, max_tokens=60)
    a.tokens += [1] * 10
    ratio.retracted([a, b])
    assert ratio.ratio == (10 + 20 * 2) / 100


def test_new_token_ratio_stops_at_its_floor():
    ratio = NewTokenRatio()
    for _ in range(1000):
        ratio.stepped()
    assert ratio.ratio == pytest.approx(0.7 * 0.14)


@pytest.mark.parametrize("bad", [{"max_batched_tokens": 0}, {"max_seqs": 0}])
def test_limits_that_allow_nothing_are_refused(bad):
    with pytest.raises(InputError):
        Limits(**bad)


def test_a_transition_that_is_not_in_the_picture_is_refused():
    request = new("a", 3)
    with pytest.raises(AssertionError, match="WAITING -> SWAPPED"):
        request.become(Status.SWAPPED)
