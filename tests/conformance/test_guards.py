"""Every way of cheating that the guards are there for is caught, and named."""

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided

from refimpl.backend import Composed
from refimpl.ops.reference import Reference
from refimpl.oracle import conform
from refimpl.oracle.comparison import ContractError
from refimpl.oracle.guards import Given, twice

X = np.arange(1, 9, dtype=np.float32)
BACKEND = Composed(Reference())


def call(function, x=X):
    return twice(function, [Given(x, BACKEND.put)], BACKEND)


def test_an_honest_call_passes_and_is_returned():
    assert call(lambda x: 2 * x).tolist() == (2 * X).tolist()


def test_a_changed_input():
    def scribble(x):
        x *= 2
        return x.copy()

    with pytest.raises(ContractError, match="changed one of its inputs"):
        call(scribble, X.copy())


def test_a_read_too_far():
    with pytest.raises(ContractError, match="poisoned memory"):
        call(lambda x: as_strided(x, (9,), x.strides).sum(keepdims=True) * 0)


def test_a_write_beside_an_input():
    def scribble(x):
        y = x.copy()
        if x.base is not None:
            as_strided(x, (9,), x.strides)[8] = 0
        return y

    with pytest.raises(ContractError, match="wrote beside one of its inputs"):
        call(scribble)


def test_a_write_past_its_own_result():
    def scribble(x):
        y = np.empty(8, np.float32)
        y[:] = x
        if y.base is not None:
            as_strided(y, (9,), y.strides)[8] = 0
        return y

    with pytest.raises(ContractError, match="outside of an array it had allocated"):
        call(scribble)


def test_a_write_just_past_a_result_of_odd_size():
    def scribble(x):
        y = np.empty(5, np.float32)
        y[:] = x[:5]
        if y.base is not None:
            as_strided(y, (6,), y.strides)[5] = 0
        return y

    with pytest.raises(ContractError, match="outside of an array it had allocated"):
        call(scribble)


def test_a_result_left_unwritten_in_part():
    def forgetful(x):
        y = np.empty(8, np.float32)
        y[:7] = x[:7]
        return y

    with pytest.raises(ContractError, match="unwritten"):
        call(forgetful)


def test_a_result_that_the_next_call_overwrites():
    shared = np.zeros(8, np.float32)

    def reuse(x):
        shared[:] = x + shared[0]
        return shared

    with pytest.raises(ContractError, match="they share memory"):
        call(reuse)


class SharesItsMind(Reference):
    """Adds the batch's mean: rows depend on their neighbours."""

    def add(self, a, b):
        return (a + b + 0 * a.mean() + (np.float32(1e-20) if len(a) > 1 else 0)).astype(np.float32)


def test_a_row_that_depends_on_its_neighbours_is_named():
    report = conform(Composed(SharesItsMind()), ops=("L1/add",), examples=30)
    assert "has other bits when it is alone" in report.rows[0].failure
