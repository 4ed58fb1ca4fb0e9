"""The CUDA backend on a GPU; without one, skipped.  `bench/gpu.py` runs far more of the suite."""

import numpy as np
import pytest

from backends.cupy import make_backend
from refimpl.errors import UnsupportedError
from refimpl.oracle import conform

MODES = [("none", "float32"), ("q8", "float16"), ("half", "bfloat16"), ("none", "q8_0")]


def backend_or_skip(**modes):
    try:
        return make_backend(**modes)
    except UnsupportedError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize(("act", "cache"), MODES)
def test_conformance(act, cache):
    report = conform(backend_or_skip(act=act, cache=cache), examples=4)
    assert report.ok, report.table()


@pytest.mark.parametrize("tokens", [1, 8, 9, 33, 64, 65, 200])
def test_a_row_has_the_same_bits_in_kernels_for_few_and_for_many_tokens(tokens):
    backend = backend_or_skip(act="half")
    rng = np.random.default_rng(0)
    w = backend.weight(rng.standard_normal((200, 768)).astype(np.float16))
    x = rng.standard_normal((200, 768)).astype(np.float32)
    alone = backend.host(backend.ops.linear(x[:1], w))
    assert np.array_equal(backend.host(backend.ops.linear(x[:tokens], w))[:1], alone)
