"""The golden vectors of quantised safetensors, read with the standard library and NumPy.

Each case is copied, byte by byte, into a folder as a checkpoint would have it, and then viewed.
"""

import json
import struct
from pathlib import Path

import numpy as np
import pytest

from refimpl.formats.packings import unpacked
from refimpl.formats.packings.view import SCHEMES
from refimpl.formats.safetensors import SafetensorsDir

FOLDER = Path(__file__).resolve().parents[3] / "golden" / "packings"
DOCUMENTS = {p.stem: json.loads(p.read_text()) for p in sorted(FOLDER.glob("*.json"))}
CASES = [
    pytest.param(name, case, id=f"{name}: {case['name']}")
    for name, document in DOCUMENTS.items()
    for case in document["cases"]
]


def read(name):
    """Key -> (dtype's name, shape, bytes)."""
    data = (FOLDER / f"{name}.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    body = data[8 + length :]
    return {k: (e["dtype"], e["shape"], body[slice(*e["data_offsets"])]) for k, e in header.items()}


def write(path, tensors):
    """A safetensors file of such tensors."""
    header, body = {}, b""
    for name, (dtype, shape, data) in tensors.items():
        offsets = [len(body), len(body) + len(data)]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": offsets}
        body += data
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


def same_bits(a, b):
    """Equal in every bit, but a NaN equals any NaN."""
    nan = np.isnan(b)
    np.testing.assert_array_equal(np.isnan(a), nan)
    np.testing.assert_array_equal(a[~nan].view(np.uint32), b[~nan].view(np.uint32))


@pytest.mark.parametrize("name, case", CASES)
def test_the_view_shows_the_authoritys_weights(tmp_path, name, case):
    golden = read(name)
    stored = {key: golden[where["tensor"]] for key, where in case["stored"].items()}
    write(tmp_path / "model.safetensors", stored)
    view = unpacked(SafetensorsDir.open(tmp_path), case["quantization_config"])
    assert set(view.names) == set(case["weights"])
    for key, where in case["weights"].items():
        dtype, shape, data = golden[where["tensor"]]
        assert dtype == "F32"
        expected = np.frombuffer(data, "<f4").reshape(shape)
        assert view.info(key) == (np.dtype(np.float32), tuple(shape))
        same_bits(view.tensor(key), expected)


def test_every_scheme_has_golden_vectors():
    methods = {case["quantization_config"]["quant_method"] for _, case in map(values, CASES)}
    assert methods == set(SCHEMES)


def values(parameter):
    return parameter.values


def test_the_folder_stays_small():
    assert sum(p.stat().st_size for p in FOLDER.iterdir()) < 300_000
