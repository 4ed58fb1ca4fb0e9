"""The suite on models that are divided between two backends."""

import pytest
from jaxtyping import config as jaxtyping_config

pytest.importorskip("numba")

from refimpl.backend import ReferenceBackend
from refimpl.offload import Offload
from refimpl.oracle import conform
from tests.conformance import halves, plain32

WHOLE = ("L0/*", "any_plan", "draft_trees", "scheduler", "paged_*", "choose", "L3/*", "L4/*")


@pytest.fixture(autouse=True)
def shapes_unchecked():
    jaxtyping_config.update("jaxtyping_disable", True)
    yield
    jaxtyping_config.update("jaxtyping_disable", False)


@pytest.mark.parametrize("name", ["numba_first", "numba_last", "numba_output", "numba_all"])
def test_the_reference_and_numba_share_a_model(name):
    report = conform(getattr(halves, name)(), examples=3, ops=WHOLE)
    assert report.ok, report.table()


def test_a_bound_is_the_larger_of_both():
    """Of a half that computes exactly and one that does not, the second's."""
    plain, exact = plain32.make_backend(), ReferenceBackend()
    for both in (Offload(plain, exact, 2), Offload(exact, plain, 2)):
        report = conform(both, examples=3, ops=("rms_norm", "add", "L3/*", "L4/*"))
        assert report.ok, report.table()
        assert max(row.worst for row in report.rows if row.level == "L3") > 0
