"""The golden vectors of the block formats, read with nothing but the standard library and NumPy."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest

from refimpl.formats.quants import BLOCK_TYPES, block_type

FOLDER = Path(__file__).resolve().parents[2] / "golden" / "quants"
DTYPES = {"U8": np.uint8, "F32": np.float32}
NAMES = sorted(p.stem for p in FOLDER.glob("*.safetensors") if p.stem != "inputs")


def read(name: str) -> dict[str, np.ndarray]:
    data = (FOLDER / f"{name}.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    tensors = {}
    for key, entry in header.items():
        if key != "__metadata__":
            begin, end = (8 + length + offset for offset in entry["data_offsets"])
            flat = np.frombuffer(data[begin:end], dtype=DTYPES[entry["dtype"]])
            tensors[key] = flat.reshape(entry["shape"])
    return tensors


def test_every_block_type_has_golden_vectors():
    assert sorted(t.name for t in BLOCK_TYPES.values() if t.block_size > 1) == sorted(
        set(NAMES) - {"F16", "BF16"}
    )


def test_the_folder_stays_small():
    assert sum(p.stat().st_size for p in FOLDER.iterdir() if p.is_file()) < 1_500_000


@pytest.mark.parametrize("name", [n for n in NAMES if n != "Q8_1"])
def test_dequantised_weights_are_ggmls_in_every_bit(name):
    golden, t = read(name), block_type(name)
    weights = t.dequantize(golden["blocks"].view(t.dtype)[:, 0])
    assert_same_bits(weights, golden["weights"])


def assert_same_bits(a: np.ndarray, b: np.ndarray) -> None:
    """Equal in every bit, but a NaN equals any NaN: C leaves open which one comes out."""
    nan = np.isnan(b)
    np.testing.assert_array_equal(np.isnan(a), nan)
    np.testing.assert_array_equal(a[~nan].view(np.uint32), b[~nan].view(np.uint32))


@pytest.mark.parametrize("key", ["quantized", "quantized_with_importance"])
@pytest.mark.parametrize("name", NAMES)
def test_quantised_bytes_are_ggmls(name, key):
    golden, t = read(name), block_type(name)
    if key not in golden:
        pytest.skip(f"ggml does not make {name} so")
    inputs = read("inputs")
    x = inputs["x"].reshape(len(inputs["x"]), -1, t.block_size)
    importance = inputs["importance"].reshape(x.shape[1:])
    made = t.quantize(x, importance) if key.endswith("importance") else t.quantize(x)
    np.testing.assert_array_equal(made.view(np.uint8).reshape(golden[key].shape), golden[key])
