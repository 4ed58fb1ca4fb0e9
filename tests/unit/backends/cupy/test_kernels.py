"""What can be known of the CUDA backend without a GPU: that it compiles, packs, and says no."""

import re

import numpy as np
import pytest

from backends.cupy import make_backend
from backends.cupy.compile import FOLDER, architecture, flags, names, source
from backends.cupy.nvrtc import compile_cubin, library
from backends.cupy.record import DEVICES, records, unrecorded
from backends.cupy.tiles import FORMATS, PACKERS, Tiles, pack
from backends.cupy.variants import HOPPER, variants
from refimpl.errors import UnsupportedError
from refimpl.formats.quants import BLOCK_TYPES, block_type
from refimpl.formats.quants.block import Packed

VARIANTS = list(variants())


@pytest.fixture(scope="module")
def nvrtc():
    try:
        library()
    except UnsupportedError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("arch", [architecture(80), architecture(90)])
@pytest.mark.parametrize("name", names())
def test_every_variant_of_a_kernel_compiles(nvrtc, name, arch):
    if name in HOPPER and arch == architecture(80):
        return
    mine = [defines for kernel, defines in VARIANTS if kernel == name]
    assert mine, f"nothing asks for {name}"
    for defines in mine:
        assert compile_cubin(source(name), name, flags(defines), arch)


def test_a_kernel_that_does_not_compile_is_an_error(nvrtc):
    broken = source("embed") + "__device__ int f() { return nowhere; }"
    with pytest.raises(UnsupportedError, match='"nowhere" is undefined'):
        compile_cubin(broken, "embed", flags({"FORMAT": 1}), "sm_80")


def test_every_kernel_opens_with_what_it_computes_and_moves():
    for name in names():
        head = source(name).split("\n\n")[0]
        assert head.startswith("//") and "ust move" in head, name


CONSTANT = {"bias", "weight", "w", "tables", "slots", "context_lens", "first_token", "sinks"}


@pytest.mark.parametrize("name", names())
def test_a_kernel_that_may_begin_early_takes_no_result_for_a_constant(name):
    """What the kernel before it writes is neither declared __restrict__ nor read by __ldg."""
    text = (FOLDER / f"{name}.cu").read_text()
    if "wait_for_previous();" not in text:
        return
    restricted = set(re.findall(r"__restrict__ (\w+)", text))
    assert restricted <= CONSTANT
    read = set(re.findall(r"__ldg\(([\w.]*)", text))
    assert read <= CONSTANT | {"kv.table"}


def test_every_kernel_has_run_on_a_device():
    assert records(DEVICES), "no device has been recorded: run `python -m bench.gpu --record ...`"
    assert unrecorded() == [], (
        "kernels changed since: run `python -m bench.gpu --record ...` on a GPU"
    )


def test_a_changed_kernel_is_noticed(monkeypatch):
    monkeypatch.setattr("backends.cupy.record.source", lambda name: source(name) + "// changed")
    assert unrecorded() == names()


def test_recorded_conformance_is_green():
    for record in records(DEVICES):
        assert all(mode["ok"] for mode in record["conformance"])
        assert all(case["same"] for case in record["cases"])


def quantised(name, rows=24, columns=512):
    kind = block_type(name)
    weights = np.random.default_rng(0).standard_normal(
        (rows, columns // kind.block_size, kind.block_size)
    )
    return Packed(
        type=kind,
        blocks=kind.quantize(weights.astype(np.float32), np.ones(weights.shape[1:], np.float32)),
    )


def integers(tiles: Tiles, row: int, column: int) -> int:
    """The stored integer of a weight, read as a lane would."""
    tile = row // 16 * tiles.blocks + column // 32
    g, h, half, place = row % 8, row % 16 // 8, column % 32 // 16, column % 16
    lane, piece = 4 * g + place // 4, 2 * half + h
    low = tiles.planes.low
    if tiles.format in ("Q8_0", "PARTS", "PARTS_MIN"):
        return int(low.view(np.int8)[tile * 512 + lane * 16 + 4 * piece + place % 4])
    byte = int(low[tile * 256 + lane * 8 + 4 * h + place % 4])
    q = byte >> 4 if half else byte & 15
    if tiles.format in ("Q5_0", "Q5_K"):
        bits = int(tiles.planes.high.view("<u2")[tile * 32 + lane])
        q |= (bits >> (4 * piece + place % 4) & 1) << 4
    if tiles.format == "Q6_K":
        q |= (int(tiles.planes.high[tile * 128 + lane * 4 + place % 4]) >> 2 * piece & 3) << 4
    return q


@pytest.mark.parametrize("name", [t.name for t in BLOCK_TYPES.values() if t.split and t.quantize])
def test_a_tile_holds_every_integer_of_the_file(name):
    packed = quantised(name)
    tiles = pack(packed)
    assert tiles.format in FORMATS and (tiles.format == name or name not in PACKERS)
    q = packed.type.split(packed.blocks.reshape(-1)).q.reshape(24, 512)
    bits = {"Q4_0": 15, "Q5_0": 31, "Q6_K": 63}.get(name)
    if name in ("IQ4_NL", "MXFP4"):
        return  # indices: the tables are the kernels', and the device's conformance covers them
    rng = np.random.default_rng(1)
    for row, column in zip(rng.integers(0, 24, 200), rng.integers(0, 512, 200), strict=True):
        expected = int(q[row, column])
        assert integers(tiles, row, column) == (expected & bits if bits else expected)


def test_without_a_gpu_there_is_one_line():
    try:
        import cupy

        if cupy.cuda.runtime.getDeviceCount():
            pytest.skip("there is a GPU here")
    except Exception:
        pass
    with pytest.raises(UnsupportedError, match=r"^the cupy backend (needs|finds no)[^\n]*$"):
        make_backend()
