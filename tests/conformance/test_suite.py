"""The suite on engines that are right: the reference in every mode, plain float32, Numba."""

import json

import pytest
from jaxtyping import config as jaxtyping_config

from refimpl.backend import ReferenceBackend
from refimpl.errors import InputError
from refimpl.formats.quants import BLOCK_TYPES
from refimpl.ops.reference import Reference
from refimpl.oracle import checks, conform, strategies
from tests.conformance.plain32 import make_backend

WHOLE = (
    "L0/*",
    "any_plan",
    "scheduler",
    "decode_greedily",
    "paged_attention",
    "choose",
    "L3/*",
    "L4/*",
)
DRAFTS = ("draft_trees", "paged_drafts")
ONE_OF_EACH = ("linear[Q4_K]", "linear[float32]", "embed[Q8_0]", *strategies.OPERATIONS)


@pytest.fixture(autouse=True)
def shapes_unchecked():
    """tests/unit checks shapes; here they would take nine tenths of the time."""
    jaxtyping_config.update("jaxtyping_disable", True)
    yield
    jaxtyping_config.update("jaxtyping_disable", False)


def test_the_reference_conforms_to_itself_and_uses_nothing_of_any_bound():
    report = conform(ReferenceBackend(), examples=3)
    assert report.ok, report.table()
    assert all(row.cases for row in report.rows)
    assert max(row.worst for row in report.rows) == 0.0


def test_an_honest_float32_engine_conforms_and_uses_some_of_every_bound():
    report = conform(make_backend(), examples=4, ops=(*WHOLE, *DRAFTS, *ONE_OF_EACH))
    assert report.ok, report.table()
    used = {row.check: row.worst for row in report.rows if row.level == "L2"}
    assert all(0 < used[name] < 1 for name in ("linear[Q4_K]", "rms_norm", "rope", "attend", "moe"))


@pytest.mark.parametrize("cache", ["float16", "bfloat16", "q8_0"])
def test_the_reference_conforms_in_its_named_modes(cache):
    backend = ReferenceBackend(Reference(act="q8", cache=cache))
    report = conform(backend, examples=2, ops=(*WHOLE, *DRAFTS, "linear[Q4_K]", "linear[Q5_1]"))
    assert report.ok, report.table()


def test_the_numba_backend_conforms():
    numba = pytest.importorskip("backends.numba")
    if not hasattr(numba, "make_backend"):
        pytest.skip("the Numba backend is not in this tree yet")
    report = conform(numba.make_backend(), examples=2, ops=(*WHOLE, *DRAFTS, *ONE_OF_EACH))
    assert report.ok, report.table()


@pytest.mark.external
def test_the_strangers_backend_in_examples_conforms():
    pytest.importorskip("torch")
    from examples.torch_backend import make_backend

    report = conform(make_backend(), examples=3, ops=(*WHOLE, *ONE_OF_EACH))
    assert report.ok, report.table()
    assert 0 < max(row.worst for row in report.rows if row.check.startswith("linear")) < 1


def test_the_same_seed_gives_the_same_report_and_another_seed_others():
    run = lambda seed: json.dumps(
        conform(make_backend(), examples=6, seed=seed, ops=("rope", "any_plan")).as_json()
    )
    assert run(5) == run(5) != run(6)


def test_every_block_format_has_its_row():
    names = {check.name for check in checks.checks()}
    for t in BLOCK_TYPES.values():
        if t.quantize and t.name not in ("F32", "F64"):
            assert f"linear[{t.name}]" in names
            assert f"embed[{t.name}]" in names


def test_checks_are_chosen_by_name_level_and_form():
    assert [c.id for c in checks.select(["linear[Q4_0]"])] == ["L1/linear[Q4_0]", "L2/linear[Q4_0]"]
    assert {c.level for c in checks.select(["L0/*"])} == {"L0"}
    assert len(checks.select(["linear"])) == 2 * len(strategies.WEIGHTS)
    assert len(checks.select(["L2/linear"])) == len(strategies.WEIGHTS)
    with pytest.raises(InputError, match="no check is called matmul; there are: "):
        checks.select(["matmul"])
