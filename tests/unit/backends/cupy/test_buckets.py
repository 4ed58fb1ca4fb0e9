"""Which steps are replayed as a graph, and with which tables: known without a GPU."""

from random import Random

import numpy as np
import pytest
from hypothesis import given

from backends.cupy import buckets
from refimpl.errors import InputError
from refimpl.oracle.ahead import with_room
from refimpl.oracle.layouts import plan_of
from refimpl.oracle.strategies_plans import scripts


@given(scripts(trees=True))
def test_a_token_of_a_graph_sees_what_it_sees_in_its_plan(script):
    """Slot by slot: its sequence's past, its ancestors, itself; and no more by its position."""
    for step in script["steps"]:
        plan = plan_of(step["plan"], script["block_size"])
        tables, size = buckets.one_each(plan), buckets.table_block(plan)
        for mine, slots in plan.sequences():
            for j in range(mine.start, mine.stop):
                seen = slots[: len(slots) - (mine.stop - 1 - j)]
                places = np.arange(plan.positions[j] + 1)
                assert np.array_equal(tables[j][places // size] * size + places % size, seen)


@pytest.mark.parametrize("n, vocab_size", [(0, 20), (1, 0), (1, 41), (5, 20)])
def test_steps_that_cannot_follow_are_refused(n, vocab_size):
    plan, _ = with_room([[1], [2]], 3, 4, Random(0))  # blocks of 4: room for one token and 3 more
    with pytest.raises(InputError):
        buckets.check_ahead(plan, n, vocab_size, 40)
    buckets.check_ahead(plan, 4, 20, 40)
