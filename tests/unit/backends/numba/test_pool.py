"""Workers do every job once, whether they are awake or asleep."""

import os
from threading import Thread
from time import sleep

import numpy as np
import pytest

pytest.importorskip("numba")

from backends.numba.pool import Pool, current_core, step_aside
from tests.unit.backends.numba.specimens import TYPES, backend, matrix


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_jobs_are_done_after_any_pause(threads):
    """A worker sleeps after some milliseconds without a job, and must be woken for the next."""
    numba, weights = backend(threads=threads), matrix(TYPES[0])
    x = np.random.default_rng(0).standard_normal((3, weights.shape[1])).astype(np.float32)
    prepared = numba.weight(weights)
    first = numba.ops.linear(x, prepared)
    for pause in (0, 0, 0.2, 0.001, 0.3):
        sleep(pause)
        assert np.array_equal(numba.ops.linear(x, prepared), first)


def test_several_callers_take_turns():
    numba, weights = backend(), matrix(TYPES[0])
    prepared, results = numba.weight(weights), {}
    inputs = [np.full((2, weights.shape[1]), i, np.float32) for i in range(4)]

    def call(i):
        for _ in range(20):
            results[i] = numba.ops.linear(inputs[i], prepared)

    callers = [Thread(target=call, args=(i,)) for i in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    for i, x in enumerate(inputs):
        assert np.array_equal(results[i], numba.ops.linear(x, prepared))


def test_a_pool_has_as_many_threads_as_cores_it_may_use():
    from backends.numba.pool import available

    assert Pool().threads == available() >= 1


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs cores with numbers")
def test_who_steps_aside_leaves_a_core_and_may_come_back():
    mine = os.sched_getaffinity(0)
    step_aside(current_core())
    assert os.sched_getaffinity(0) == mine
    if len(mine) > 1:  # the system may move a thread at any time, but not every time
        moved = []
        for _ in range(50):
            before = current_core()
            step_aside(before)
            moved.append(current_core() != before)
        assert any(moved)
