"""Pool and tables by example: the edges that the worked examples do not show."""

import numpy as np
import pytest

from refimpl.errors import InputError
from refimpl.kv.blocks import BlockPool, BlockTable, OutOfBlocksError, Sharing


def table_of(pool: BlockPool, n_tokens: int) -> BlockTable:
    table = BlockTable(pool)
    table.grow(n_tokens)
    return table


@pytest.mark.parametrize(("n_blocks", "block_size"), [(0, 4), (4, 0), (-1, 4)])
def test_a_pool_that_holds_nothing_is_refused(n_blocks, block_size):
    with pytest.raises(InputError):
        BlockPool(n_blocks=n_blocks, block_size=block_size)


def test_slots_follow_the_table():
    pool = BlockPool(n_blocks=8, block_size=4)
    first, second = table_of(pool, 5), table_of(pool, 1)
    first.grow(5)  # blocks 0, 1, then 3: block 2 is the other's
    assert list(first.blocks) == [0, 1, 3] and list(second.blocks) == [2]
    assert first.slots(3, 10).tolist() == [3, 4, 5, 6, 7, 12, 13]
    assert first.slots(3, 3).tolist() == []
    assert first.slots(0, 1).dtype == np.int32


def test_a_refusal_takes_nothing():
    pool = BlockPool(n_blocks=2, block_size=4)
    table = table_of(pool, 4)
    with pytest.raises(OutOfBlocksError):
        table.grow(9)
    assert table.n_tokens == 4 and pool.n_free == 1
    table.grow(4)
    pool.check([table])


def test_freed_blocks_are_reused_oldest_first_and_tails_first():
    pool = BlockPool(n_blocks=4, block_size=1)
    first, second = table_of(pool, 2), table_of(pool, 2)
    second.release()
    first.release()
    assert list(table_of(pool, 4).blocks) == [3, 2, 1, 0]


def test_a_fork_copies_once_even_when_both_blocks_needed_are_new():
    pool = BlockPool(n_blocks=4, block_size=4)
    first = table_of(pool, 3)
    second = first.fork(Sharing.COPY_ON_WRITE, n_tokens=3)
    assert first.blocks_to_grow(2) == 2  # one copy, one more block
    assert len(first.grow(2)) == 1
    assert list(first.blocks) == [1, 2] and list(second.blocks) == [0]


def test_writing_into_a_full_shared_block_after_truncation_copies_it():
    pool = BlockPool(n_blocks=4, block_size=4)
    first = table_of(pool, 4)
    second = first.fork(Sharing.APPEND_ONLY, n_tokens=4)
    assert second.n_tokens == 4
    second.truncate(2)
    assert second.grow(1)[0].src == 0
    assert list(first.blocks) == [0]
    pool.check([first, second])


def test_truncating_to_nothing_is_release():
    pool = BlockPool(n_blocks=4, block_size=4)
    table = table_of(pool, 9)
    table.release()
    table.check()
    assert list(table.blocks) == [] and pool.n_free == 4
