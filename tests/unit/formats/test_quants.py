"""The block formats: structs, bit packing, the `gguf` package as authority, errors, laws."""

import gguf
import numpy as np
import pytest
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from refimpl.errors import FormatError, InputError, UnsupportedError
from refimpl.formats.quants import BLOCK_TYPES, Packed, block_type, grids
from refimpl.formats.quants.bits import (
    pack_in_order,
    pack_striped,
    unpack_in_order,
    unpack_striped,
)
from refimpl.formats.quants.chunks import CHUNK
from refimpl.formats.quants.show import lines

BLOCKS = [t for t in BLOCK_TYPES.values() if t.block_size > 1]
IN_GGUF = [t for t in BLOCKS if t.id in gguf.quants._type_traits]
NAMES = lambda t: t.name


# the registry


def test_every_type_that_the_gguf_package_knows_is_here_with_its_sizes():
    for known in GGMLQuantizationType:
        t = BLOCK_TYPES[int(known)]
        assert (t.name, t.block_size, t.dtype.itemsize) == (known.name, *sizes(known))


def sizes(known: GGMLQuantizationType) -> tuple[int, int]:
    """The package gives Q8_1 the size it had before ggml made its two floats float16."""
    return (32, 36) if known.name == "Q8_1" else GGML_QUANT_SIZES[known]


def test_names_in_any_case_and_ids_find_the_type():
    assert block_type("q4_k") is block_type("Q4_K") is block_type(12)


@pytest.mark.parametrize("unknown", ["Q9_9", 4, -1, "", "2"])
def test_unknown_types_are_named(unknown):
    with pytest.raises(UnsupportedError, match="no ggml block type"):
        block_type(unknown)


@pytest.mark.parametrize("t", BLOCKS, ids=NAMES)
def test_a_row_is_whole_blocks(t):
    assert t.row_bytes(3 * t.block_size) == 3 * t.dtype.itemsize
    with pytest.raises(FormatError, match=f"{t.name} stores blocks of {t.block_size}"):
        t.row_bytes(3 * t.block_size - 1)


# packing


@given(
    packed=arrays(np.uint8, st.tuples(st.integers(0, 3), st.just(64))),
    width=st.sampled_from([1, 2, 4]),
    run=st.sampled_from([1, 4, 8, 16, 32, 64]),
)
def test_packing_undoes_unpacking(packed, width, run):
    np.testing.assert_array_equal(
        pack_striped(unpack_striped(packed, width, run=run), width, run=run), packed
    )
    np.testing.assert_array_equal(pack_in_order(unpack_in_order(packed, width), width), packed)


@given(packed=arrays(np.uint8, (2, 16)), width=st.sampled_from([1, 2, 4]), at=st.integers(0, 4))
def test_in_order_is_striped_over_single_bytes(packed, width, at):
    np.testing.assert_array_equal(
        unpack_in_order(packed, width, at=at), unpack_striped(packed, width, run=1, at=at)
    )


@pytest.mark.parametrize("book", ["IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "IQ1"])
def test_codebooks_are_those_of_the_gguf_package(book):
    theirs = getattr(gguf.quants, {"IQ1": "IQ1_S"}.get(book, book))
    theirs.init_grid()
    np.testing.assert_array_equal(grids.grid(getattr(grids, book)), theirs.grid[0, 0])


# dequantising


@pytest.mark.parametrize("t", IN_GGUF, ids=NAMES)
@given(seed=st.integers(0, 2**32 - 1), extreme=st.booleans())
def test_dequantised_weights_are_the_gguf_packages_in_every_bit(t, seed, extreme):
    raw = np.random.default_rng(seed).integers(0, 256, (16, t.dtype.itemsize), dtype=np.uint8)
    if extreme:  # runs of zeros and ones: subnormal, infinite and NaN scales
        raw[raw < 80], raw[raw > 176] = 0, 255
    with np.errstate(all="ignore"):
        theirs = gguf.quants.dequantize(raw, GGMLQuantizationType(t.id))
    assert_same_bits(t.dequantize(raw.view(t.dtype)[:, 0]), theirs)


def assert_same_bits(a: np.ndarray, b: np.ndarray) -> None:
    """Equal in every bit, but a NaN equals any NaN."""
    nan = np.isnan(b)
    np.testing.assert_array_equal(np.isnan(a), nan)
    np.testing.assert_array_equal(a[~nan].view(np.uint32), b[~nan].view(np.uint32))


def test_f16_and_bf16_dequantise_every_bit_pattern():
    bits = np.arange(1 << 16, dtype=np.uint16)
    assert_same_bits(block_type("F16").dequantize(bits.view(np.float16))[:, 0], widened_f16(bits))
    bf16 = block_type("BF16")
    exact = (bits.astype(np.uint32) << 16).view(np.float32)
    assert_same_bits(bf16.dequantize(bits.view(bf16.dtype))[:, 0], exact)


def widened_f16(bits: np.ndarray) -> np.ndarray:
    """From the definition (IEEE 754-2019, 3.4), in exact float64 arithmetic."""
    sign = np.where(bits >> 15, -1.0, 1.0)
    exponent, fraction = (bits >> 10 & 31).astype(int), (bits & 1023) / 1024
    value = np.where(exponent == 0, np.ldexp(fraction, -14), np.ldexp(1 + fraction, exponent - 15))
    special = np.where(bits & 1023, np.nan, np.inf)
    return (sign * np.where(exponent == 31, special, value)).astype(np.float32)


@pytest.mark.parametrize("t", BLOCKS, ids=NAMES)
@given(shape=array_shapes(min_dims=0, max_dims=3, max_side=3))
def test_blocks_of_any_shape_dequantise_alike(t, shape):
    raw = np.random.default_rng(1).integers(0, 256, (*shape, t.dtype.itemsize), dtype=np.uint8)
    blocks = raw.view(t.dtype)[..., 0]
    weights = t.dequantize(blocks)
    assert weights.shape == (*shape, t.block_size)
    assert weights.dtype == np.float32
    assert_same_bits(weights.reshape(-1, t.block_size), t.dequantize(blocks.reshape(-1)))


@pytest.mark.parametrize("t", BLOCKS, ids=NAMES)
def test_a_decoder_in_pieces_equals_the_decoder_at_once(t):
    n = 2 * CHUNK // t.block_size + 3  # more than two pieces
    raw = np.random.default_rng(t.id).integers(0, 256, (n, t.dtype.itemsize), dtype=np.uint8)
    blocks = raw.view(t.dtype)[:, 0]
    each = [t.dequantize(blocks[i : i + 1]) for i in (0, n // 2, n - 1)]
    assert_same_bits(t.dequantize(blocks)[[0, n // 2, n - 1]], np.concatenate(each))


def test_packed_rows_are_the_dequantised_blocks():
    t = block_type("Q4_0")
    blocks = np.random.default_rng(0).integers(0, 256, (5, 36), dtype=np.uint8).view(t.dtype)
    packed = Packed(type=t, blocks=blocks)
    assert packed.shape == (5, 64)
    everything = t.dequantize(blocks).reshape(5, 64)
    assert_same_bits(packed[3], everything[3])
    assert_same_bits(packed[[4, 0]], everything[[4, 0]])
    assert_same_bits(packed[1:3], everything[1:3])


# quantising

finite = st.floats(-1000, 1000, width=32)


@pytest.mark.parametrize("t", [t for t in BLOCKS if t.quantize], ids=NAMES)
def test_weights_that_are_not_finite_are_refused(t):
    for bad in (np.nan, np.inf):
        x = np.ones((1, t.block_size), np.float32)
        x[0, 3] = bad
        with pytest.raises(InputError, match="NaN or infinite"):
            t.quantize(x, np.ones_like(x))


@pytest.mark.parametrize("name", ["IQ2_XXS", "IQ2_XS", "IQ1_S"])
def test_formats_that_need_an_importance_say_so(name):
    t = block_type(name)
    assert t.needs_importance
    with pytest.raises(InputError, match="importance"):
        t.quantize(np.zeros((1, 256), np.float32))


def test_weights_and_importances_of_the_wrong_shape_are_refused():
    t = block_type("Q4_K")
    x, good = np.zeros((3, 2, 256), np.float32), np.ones((2, 256), np.float32)
    with pytest.raises(InputError, match="blocks of 128 weights where the format has 256"):
        t.quantize(x[..., :128])
    for bad in (np.ones((3, 256)), np.ones((1, 255)), np.ones((1, 1, 1, 256))):
        with pytest.raises(InputError, match="does not fit"):
            t.quantize(x, bad.astype(np.float32))
    for number in (-1, np.nan, np.inf):
        bad = good.copy()
        bad[1, 7] = number
        with pytest.raises(InputError, match="finite and not negative"):
            t.quantize(x, bad)
    assert t.quantize(x[:0], good).shape == (0, 2)


@pytest.mark.parametrize("name", ["IQ1_M", "IQ2_S", "IQ3_S", "IQ3_XXS"])
def test_weights_near_the_largest_float_are_refused_where_ggml_would_abort(name):
    x = np.linspace(-3e38, 3e38, 256, dtype=np.float32)[None]
    with pytest.raises(InputError, match="too large for this format"):
        block_type(name).quantize(x)


STEPS = {"Q4_0": 1, "Q5_0": 1, "Q8_0": 0.5, "Q8_1": 0.5, "Q8_K": 0.5, "Q4_1": 0.5, "Q5_1": 0.5}
"""How far, in steps, a weight can be from the nearest value: one step at the positive end of the
formats whose largest weight is made -8 or -16, half a step elsewhere."""


@pytest.mark.parametrize("name", STEPS)
@given(data=st.data())
def test_a_weight_comes_back_within_the_formats_step(name, data):
    t = block_type(name)
    x = data.draw(arrays(np.float32, (1, t.block_size), elements=finite))
    blocks = t.quantize(x)
    q_max = {"Q4": 15, "Q5": 31, "Q8": 127}[name[:2]]
    d = np.abs(np.float64(blocks["d"]))
    # float16 rounds d (and m) to 11 bits, subnormally to 2**-25; float32 rounding is far below.
    # Q8_K keeps d in float32, and computes it by way of 127 / max: infinite where max is tiny.
    lost = q_max / float(np.finfo(np.float32).max) if name == "Q8_K" else q_max * 2.0**-25
    slack = d * q_max * 2.0**-11 + lost
    slack += np.abs(x).max() * 2.0**-11 + 1e-5 * d
    assert (np.abs(t.dequantize(blocks) - x) <= STEPS[name] * d * (1 + 2.0**-10) + slack).all()


@pytest.mark.parametrize("name", ["Q8_0", "Q4_0", "Q5_0", "TQ1_0", "TQ2_0"])
@given(seed=st.integers(0, 2**32 - 1))
def test_quantising_twice_changes_nothing(name, seed):
    t = block_type(name)
    x = np.random.default_rng(seed).standard_normal((4, t.block_size)).astype(np.float32)
    once = t.quantize(x)
    np.testing.assert_array_equal(t.quantize(t.dequantize(once)), once)


@pytest.mark.parametrize("t", [t for t in BLOCKS if t.quantize], ids=NAMES)
def test_a_block_is_quantised_alike_alone_and_among_others(t):
    rng = np.random.default_rng(t.id)
    x = rng.standard_normal((7, 1, t.block_size)).astype(np.float32)
    importance = rng.random((1, t.block_size)).astype(np.float32)
    together = t.quantize(x, importance)
    alone = np.stack([t.quantize(row, importance) for row in x])
    np.testing.assert_array_equal(together, alone)


@pytest.mark.parametrize("name", ["Q4_0", "Q4_K", "Q6_K", "IQ3_S"])
def test_a_lower_error_is_found_where_the_importance_lies(name):
    t = block_type(name)
    rng = np.random.default_rng(3)
    x = rng.standard_normal((64, 1, t.block_size)).astype(np.float32)
    importance = np.where(np.arange(t.block_size) % 8 == 0, 100, 0.01).astype(np.float32)[None]

    def weighted_error(blocks):
        return (importance * (t.dequantize(blocks) - x) ** 2).sum()

    assert weighted_error(t.quantize(x, importance)) < 0.8 * weighted_error(t.quantize(x))


# what is odd in ggml, and reproduced


def test_iq3_s_reads_back_wrong_after_thirty_two_zeros():
    """ggml's quantiser leaves out the bytes of a sub-block of zeros (`encode_iq3_s`)."""
    t = block_type("IQ3_S")
    x = np.random.default_rng(0).standard_normal((1, 256)).astype(np.float32)
    assert np.abs(t.dequantize(t.quantize(x)) - x).max() < 1.5
    x[0, :32] = 0
    assert np.abs(t.dequantize(t.quantize(x)) - x).max() > 2


def test_nvfp4_has_no_scales_between_240_and_448():
    t = block_type("NVFP4")
    largest = np.linspace(1, 3000, 5000, dtype=np.float32)
    x = np.zeros((len(largest), 64), np.float32)
    x[:, 0] = largest
    scales = {int(code) for code in t.quantize(x)["d"][:, 0]}
    assert max(scales - {0x7E}) == 0x77 and 0x7E in scales


# one block, printed


@pytest.mark.parametrize("t", BLOCKS, ids=NAMES)
def test_a_block_is_shown_with_all_its_fields_and_weights(t):
    blocks = np.random.default_rng(0).integers(0, 128, t.dtype.itemsize, dtype=np.uint8)
    block = blocks.view(t.dtype)[0]
    shown = lines(t, block)
    assert [line.split()[0] for line in shown[1 : 1 + len(t.dtype.names)]] == list(t.dtype.names)
    weights = " ".join(line[10:] for line in shown if line.startswith("   w "))
    np.testing.assert_allclose(
        np.array(weights.split(), float), t.dequantize(np.array([block]))[0], rtol=1e-5
    )


def test_plain_numbers_have_no_block_to_show():
    with pytest.raises(UnsupportedError, match="F16 has no blocks"):
        lines(block_type("F16"), np.zeros(1, np.float16)[0])
