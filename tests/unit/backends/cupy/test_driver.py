"""What CUDA's driver is told, without a driver."""

import ctypes
from types import SimpleNamespace

import numpy as np
import pytest

from backends.cupy import driver, tile_map
from refimpl.errors import UnsupportedError


def test_a_large_argument_is_passed_from_where_it_lies(monkeypatch):
    seen = []

    class Driver:
        def cuLaunchKernelEx(self, config, function, places, extra):
            sizes = 4, 16, 8
            seen.extend(ctypes.string_at(at, n) for at, n in zip(places, sizes, strict=True))

    monkeypatch.setattr(driver, "driver", Driver)
    large = driver.Large.of_words(2)
    ctypes.memmove(large.address, bytes(range(16)), 16)
    small = np.int32(7), np.uintp(9)
    driver.launch_early(0, (1,), 32, 0, 0, [small[0], large, small[1]])
    assert seen == [small[0].tobytes(), bytes(range(16)), small[1].tobytes()]


def test_a_tile_is_sixteen_rows_in_two_halves(monkeypatch):
    seen = []

    class Driver:
        def cuTensorMapEncodeTiled(self, to, kind, n, data, sizes, strides, box, *_):
            seen.extend((data.value, tuple(sizes), tuple(strides), tuple(box)))

    monkeypatch.setattr(tile_map, "driver", Driver)
    values = np.arange(3 * 16 * 128, dtype=np.uint16)
    fake = SimpleNamespace(data=SimpleNamespace(ptr=4096), nbytes=values.nbytes)
    assert tile_map.tile_map(fake).address % 64 == 0
    data, sizes, strides, box = seen
    whole = np.lib.stride_tricks.as_strided(values, sizes[::-1], (*strides[::-1], 2))
    tile = whole[: box[2], 16 : 16 + box[1], : box[0]]
    rows = values.reshape(-1, 128)[16:32]
    assert data == 4096 and np.array_equal(tile, [rows[:, :64], rows[:, 64:]])


def test_a_map_that_is_refused_is_an_error(monkeypatch):
    refusing = SimpleNamespace(cuTensorMapEncodeTiled=lambda *_: 1)
    monkeypatch.setattr(tile_map, "driver", lambda: refusing)
    fake = SimpleNamespace(data=SimpleNamespace(ptr=8), nbytes=4096)
    with pytest.raises(UnsupportedError, match="refused"):
        tile_map.tile_map(fake)
