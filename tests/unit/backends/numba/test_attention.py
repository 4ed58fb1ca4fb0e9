"""Attention: within the bound, and the same bits wherever pages lie and however a prompt is cut."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("numba")

from refimpl.backend import ReferenceBackend
from refimpl.ops.reference import Reference
from refimpl.oracle.models import random_model
from tests.unit.backends.numba.specimens import backend, one_sequence

OPTIONS = {
    "plain": {},
    "window": {"window": 5},
    "soft-cap": {"soft_cap": 2.0},
    "window of a page": {"window": 16, "soft_cap": 50.0},
}


def heads(n, q_heads=4, kv_heads=2, head_dim=32, seed=0):
    rng = np.random.default_rng(seed)
    shape = lambda h: rng.standard_normal((n, h, head_dim)).astype(np.float32)
    return shape(q_heads), shape(kv_heads), shape(kv_heads)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("q_heads, kv_heads", [(4, 4), (4, 2), (6, 1)])
def test_attend_lies_within_the_bound(options, q_heads, kv_heads):
    q, k, v = heads(37, q_heads, kv_heads, head_dim=24)
    numba, positions = backend(), np.arange(37)
    args = (q, k, v, positions)
    ours = numba.ops.attend(*args, scale=0.2, **options)
    exact = numba.reference.attend(*args, scale=0.2, **options)
    bound = numba.bound("attend", *args, scale=0.2, **options)
    assert (np.abs(ours.astype(np.float64) - exact) <= bound).all()


def test_sinks_take_weight():
    q, k, v = heads(20)
    sinks = np.float32([0.5, -1, 3, 0])
    numba, args = backend(), (q, k, v, np.arange(20))
    ours = numba.ops.attend(*args, scale=0.2, sinks=sinks)
    exact = Reference().attend(*args, scale=0.2, sinks=sinks)
    bound = numba.bound("attend", *args, scale=0.2, sinks=sinks)
    assert (np.abs(ours.astype(np.float64) - exact) <= bound).all()
    assert (np.abs(exact - Reference().attend(*args, scale=0.2)) > bound).any()  # they matter


def test_long_contexts_go_through_several_stretches():
    q, k, v = heads(1100, 2, 1, 16)
    some = np.array([0, 511, 512, 1023, 1024, 1099])
    ours = backend().ops.attend(q[some], k, v, some, scale=0.2)
    exact = Reference().attend(q[some], k, v, some, scale=0.2)
    bound = backend().bound("attend", q[some], k, v, some, scale=0.2)
    assert (np.abs(ours.astype(np.float64) - exact) <= bound).all()


def one_layer(window=None, soft_cap=None):
    """A configuration of which only attention is used."""
    return replace(
        random_model("llama", 0).config,
        n_layers=1,
        n_heads=4,
        n_kv_heads=2,
        head_dim=32,
        attn_scale=0.2,
        windows=(window,),
        attn_soft_cap=soft_cap,
    )


def in_pieces(kind, sizes, block_size, blocks, **options):
    """Attention of 40 tokens that come in pieces of these sizes."""
    numba, config = backend(cache=kind), one_layer(**options)
    cache = numba.new_cache(config, n_blocks=len(blocks), block_size=block_size)
    q, k, v = heads(40)
    out, start = [], 0
    for n in sizes:
        plan = one_sequence([0] * n, start=start, block_size=block_size, blocks=blocks)
        mine = slice(start, start + n)
        out.append(numba.attend(cache, plan, config)(0, q[mine], k[mine], v[mine]))
        start += n
    return np.concatenate(out)


@pytest.mark.parametrize("kind", ["float32", "float16", "bfloat16", "q8_0"])
def test_paged_attention_is_exact_about_what_was_stored(kind):
    q, k, v = heads(40)
    reference = ReferenceBackend(Reference(cache=kind))
    cache = reference.new_cache(one_layer(), n_blocks=3, block_size=16)
    plan = one_sequence([0] * 40)
    exact = reference.attend(cache, plan, one_layer())(0, q, k, v)
    kept = [reference.reference.stored(x) for x in (k, v)]
    bound = backend().bound("attend", q, *kept, np.arange(40), scale=0.2)
    assert (np.abs(in_pieces(kind, [40], 16, range(3)).astype(np.float64) - exact) <= bound).all()


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("kind", ["float32", "q8_0"])
def test_pieces_and_places_change_no_bit(kind, options):
    whole = in_pieces(kind, [40], 16, range(3), **options)
    rng = np.random.default_rng(1)
    for block_size in (1, 8, 16, 32):
        blocks = rng.permutation(-(-40 // block_size) + 2).tolist()
        for sizes in ([1] * 40, [3, 20, 17], [39, 1]):
            assert np.array_equal(in_pieces(kind, sizes, block_size, blocks, **options), whole)


def test_what_lies_behind_a_context_is_not_read():
    """Slots beyond the last position may hold anything, NaN included."""
    numba, config = backend(), one_layer()
    q, k, v = heads(3)
    results = []
    for poison in (0.0, np.nan):
        cache = numba.new_cache(config, n_blocks=1, block_size=16)
        cache.keys.view(np.float32)[:] = poison
        cache.values.view(np.float32)[:] = poison
        results.append(numba.attend(cache, one_sequence([0] * 3), config)(0, q, k, v))
    assert np.array_equal(*results) and np.isfinite(results[0]).all()


def test_blocks_are_copied_whole():
    numba, config = backend(cache="q8_0"), one_layer()
    q, k, v = heads(8)
    cache = numba.new_cache(config, n_blocks=4, block_size=4)
    first = numba.attend(cache, one_sequence([0] * 8, block_size=4), config)(0, q, k, v)
    numba.copy_blocks(cache, [0, 1], [3, 2])
    again = one_sequence([0], start=7, block_size=4, blocks=[3, 2])
    assert np.array_equal(numba.attend(cache, again, config)(0, q[7:], k[7:], v[7:]), first[7:])
