"""What weights take in memory, and what loading them says on the way."""

import numpy as np
import pytest

pytest.importorskip("numba")

from backends.numba.layout import interleave, source
from backends.numba.memory import huge
from refimpl.formats.files import forget
from refimpl.formats.quants import Packed, block_type
from tests.unit.backends.numba.specimens import matrix


@pytest.mark.parametrize(
    "name, more",
    [("Q8_0", 0), ("Q4_0", 0), ("Q5_0", 0), ("Q5_1", 0), ("MXFP4", 0), ("Q6_K", 0), ("Q2_K", 0),
     ("F16", 0), ("Q4_K", 0.03), ("Q5_K", 0.03), ("Q3_K", 0.04)],
)  # fmt: skip
def test_interleaved_weights_are_as_large_as_the_files(name, more):
    weights = matrix(block_type(name), rows=64)
    size = weights.nbytes
    assert size <= source(weights).size <= (1 + more) * size


@pytest.mark.parametrize("name", ["Q4_K", "Q5_K", "Q6_K"])
def test_bits_that_are_moved_are_all_there(name):
    """Every weight of a block: the layouts whose bytes are not GGUF's."""
    weights = matrix(block_type(name), rows=16)
    [made] = interleave([source(weights)], 1)
    for row in range(16):
        assert np.array_equal(made.row(row), np.asarray(weights[row], np.float32))


def test_progress_counts_every_byte():
    seen = []
    sources = [source(matrix(block_type(name), rows=64)) for name in ("Q8_0", "Q4_K", "IQ4_XS")]
    interleave(sources, 2, lambda done, total: seen.append((done, total)))
    dones, totals = zip(*seen)
    assert list(dones) == sorted(dones) and set(totals) == {sum(s.size for s in sources)}


def test_rows_on_the_way_may_be_a_view():
    """A stack of experts, or a fused matrix, is cut without being copied."""
    whole = matrix(block_type("Q8_0"), rows=64)
    part = Packed(type=whole.type, blocks=whole.blocks[16:48])
    [made] = interleave([source(part)], 1)
    assert np.array_equal(made.row(3), whole[19])


def test_forgotten_pages_come_back(tmp_path):
    path = tmp_path / "numbers"
    np.arange(1 << 16, dtype=np.int32).tofile(path)
    mapped = np.memmap(path, np.int32, mode="r")
    assert mapped[40000] == 40000
    forget(mapped)
    assert mapped[40000] == 40000


def test_our_own_memory_is_not_forgotten():
    kept = huge(1 << 16)
    kept[:] = 7
    forget(kept)
    assert (kept == 7).all()
