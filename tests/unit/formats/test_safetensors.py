"""Safetensors: single files, shards under an index, every dtype, and files that must be refused."""

import json
import os
import struct
import tracemalloc

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes

from refimpl.errors import InputError, UnsupportedError
from refimpl.formats.safetensors import (
    DTYPES,
    SafetensorsDir,
    SafetensorsError,
    write_safetensors,
)

ONES = np.ones((2, 3), np.float32)


def raw_file(header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(shape, begin, end, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


@pytest.fixture
def opened(tmp_path):
    def open_bytes(raw):
        path = tmp_path / "broken.safetensors"
        path.write_bytes(raw)
        return SafetensorsDir.open(path)

    return open_bytes


def write_shards(folder, shards, weight_map=None):
    for file, tensors in shards.items():
        write_safetensors(folder / file, tensors)
    if weight_map is None:
        weight_map = {name: file for file, tensors in shards.items() for name in tensors}
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}))
    return index


@given(
    kinds=st.dictionaries(st.text(max_size=8), st.sampled_from(list(DTYPES.values())), max_size=5),
    shape=array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=3),
    seed=st.integers(0, 2**32),
)
def test_what_is_written_is_read_back_in_every_bit(tmp_path_factory, kinds, shape, seed):
    kinds.pop("__metadata__", None)
    rng = np.random.default_rng(seed)
    size = int(np.prod(shape, dtype=int))
    tensors = {}
    for name, dtype in kinds.items():
        raw = (
            rng.bytes(size * dtype.itemsize)
            if dtype != np.bool_
            else bytes(i % 2 for i in range(size))
        )
        tensors[name] = np.frombuffer(raw, dtype, size).reshape(shape)
    path = tmp_path_factory.getbasetemp() / "round-trip.safetensors"
    write_safetensors(path, tensors, {"format": "np"})
    model = SafetensorsDir.open(path)
    assert sorted(model.names) == sorted(tensors)
    for name, tensor in tensors.items():
        assert model.info(name) == (tensor.dtype, tensor.shape)
        assert model.tensor(name).dtype == tensor.dtype and model.tensor(name).shape == tensor.shape
        assert model.tensor(name).tobytes() == tensor.tobytes()


def test_the_library_reads_what_we_write_and_the_reverse(tmp_path):
    tensors = {"w": ONES, "b": np.arange(3, dtype=ml_dtypes.bfloat16)}
    write_safetensors(tmp_path / "ours.safetensors", tensors)
    theirs = safetensors.numpy.load_file(tmp_path / "ours.safetensors")
    safetensors.numpy.save_file(tensors, tmp_path / "theirs.safetensors")
    ours = SafetensorsDir.open(tmp_path / "theirs.safetensors")
    for name, tensor in tensors.items():
        assert np.array_equal(theirs[name], tensor) and np.array_equal(ours.tensor(name), tensor)
        assert theirs[name].dtype == ours.tensor(name).dtype == tensor.dtype


def test_an_array_in_any_memory_layout_is_written_by_value(tmp_path):
    matrix = np.arange(6, dtype=np.float32).reshape(2, 3)
    tensors = {"t": matrix.T, "s": matrix[:, ::2], "big-endian": matrix.astype(">f4")}
    write_safetensors(tmp_path / "m.safetensors", tensors)
    model = SafetensorsDir.open(tmp_path / "m.safetensors")
    for name, tensor in tensors.items():
        assert np.array_equal(model.tensor(name), tensor), name


def test_a_written_file_has_the_usual_permissions(tmp_path):
    (tmp_path / "usual").touch()
    write_safetensors(tmp_path / "m.safetensors", {"w": ONES})
    modes = {path.stat().st_mode for path in tmp_path.iterdir()}
    assert len(modes) == 1


def test_a_folder_a_file_and_an_index_open_alike(tmp_path):
    single, sharded = tmp_path / "single", tmp_path / "sharded"
    single.mkdir()
    sharded.mkdir()
    write_safetensors(single / "model.safetensors", {"a": ONES, "b": ONES * 2})
    index = write_shards(sharded, {"x.safetensors": {"a": ONES}, "y.safetensors": {"b": ONES * 2}})
    for path in (single, single / "model.safetensors", sharded, index, str(index)):
        model = SafetensorsDir.open(path)
        assert sorted(model.names) == ["a", "b"]
        assert model.info("b") == (np.float32, (2, 3)) and np.array_equal(
            model.tensor("b"), ONES * 2
        )


def test_a_folder_whose_files_are_links_opens(tmp_path):
    """The Hugging Face cache keeps a snapshot as links to blobs elsewhere."""
    (tmp_path / "snapshot").mkdir()
    write_safetensors(tmp_path / "blob", {"a": ONES})
    (tmp_path / "snapshot" / "model.safetensors").symlink_to(tmp_path / "blob")
    assert SafetensorsDir.open(tmp_path / "snapshot").names == ("a",)


def test_a_slice_reads_no_more_than_itself(tmp_path):
    big = np.arange(2**20, dtype=np.float32).reshape(1024, 1024)
    write_safetensors(tmp_path / "m.safetensors", {"w": big})
    tracemalloc.start()
    rows = SafetensorsDir.open(tmp_path / "m.safetensors").tensor("w")[5:7].copy()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.array_equal(rows, big[5:7]) and peak < 200_000


def test_a_tensor_is_a_read_only_view(tmp_path):
    write_safetensors(tmp_path / "m.safetensors", {"w": ONES})
    tensor = SafetensorsDir.open(tmp_path / "m.safetensors").tensor("w")
    assert not tensor.flags.owndata and not tensor.flags.writeable


BAD_FILES = {
    "empty": (b"", "the file is empty"),
    "only a length": (struct.pack("<Q", 8), "invalid header length"),
    "length of 2**63": (raw_file({}, length=2**63), "header too large"),
    "length past the end": (raw_file({}, length=1000), "invalid header length"),
    "not JSON": (raw_file(b"[1,"), "invalid JSON"),
    "JSON too deep": (raw_file(b'{"a":' * 10_000), "recursion limit"),
    "a hole": (raw_file({"a": entry([2], 8, 16)}, bytes(16)), "invalid offset"),
    "an overlap": (
        raw_file({"a": entry([2], 0, 8), "b": entry([2], 4, 12)}, bytes(12)),
        "invalid offset",
    ),
    "data cut short": (raw_file({"a": entry([2], 0, 8)}, bytes(7)), "incomplete metadata"),
    "data left over": (raw_file({"a": entry([2], 0, 8)}, bytes(9)), "incomplete metadata"),
    "shape and size differ": (raw_file({"a": entry([3], 0, 8)}, bytes(8)), "a"),
    "product overflows": (raw_file({"a": entry([2**62, 4], 0, 0)}), "overflow"),
    "unknown dtype": (raw_file({"a": entry([2], 0, 8, "Q4")}, bytes(8)), "unknown variant `Q4`"),
    "a name twice": (
        raw_file(b'{"a":%b,"a":%b}' % ((json.dumps(entry([2], 0, 8)).encode(),) * 2), bytes(8)),
        "a key appears twice",
    ),
}


@pytest.mark.parametrize("raw, message", BAD_FILES.values(), ids=BAD_FILES.keys())
def test_a_bad_file_is_refused_by_name(opened, raw, message):
    with pytest.raises(SafetensorsError, match=message) as caught:
        opened(raw)
    assert "broken.safetensors" in str(caught.value)


def test_a_file_cut_anywhere_is_refused(tmp_path):
    path = tmp_path / "cut.safetensors"
    write_safetensors(path, {"a": ONES, "b": ONES})
    raw = path.read_bytes()
    for length in range(len(raw)):
        path.write_bytes(raw[:length])
        with pytest.raises(SafetensorsError, match=r"cut\.safetensors"):
            SafetensorsDir.open(path)


@pytest.mark.parametrize(
    "tensor, data, message",
    [
        (entry([3], 0, 3, "BOOL"), b"\0\1\2", "neither 0 nor 1"),
        (entry([0, 2**62, 2**62], 0, 0), b"", "shape"),
        (entry([1] * 65, 0, 4), bytes(4), "shape"),
    ],
)
def test_a_tensor_that_cannot_be_an_array_is_refused_when_used(opened, tensor, data, message):
    model = opened(raw_file({"a": tensor}, data))
    with pytest.raises(SafetensorsError, match=message):
        model.tensor("a")


@pytest.mark.parametrize("dtype, n_bytes", [("F4", 4), ("F6_E2M3", 6)])
def test_a_dtype_that_packs_values_is_named(opened, dtype, n_bytes):
    model = opened(raw_file({"a": entry([2, 4], 0, n_bytes, dtype)}, bytes(n_bytes)))
    for use in (model.info, model.tensor):
        with pytest.raises(UnsupportedError, match=f"'a' is stored as {dtype}"):
            use("a")


def test_a_missing_tensor_and_a_missing_file_are_named(tmp_path):
    write_safetensors(tmp_path / "m.safetensors", {"w": ONES})
    model = SafetensorsDir.open(tmp_path / "m.safetensors")
    for use in (model.info, model.tensor):
        with pytest.raises(SafetensorsError, match="no tensor 'x'"):
            use("x")
    for path in (tmp_path / "missing.safetensors", tmp_path / ("long" * 100), "nul\0"):
        with pytest.raises(SafetensorsError):
            SafetensorsDir.open(path)


@pytest.mark.parametrize("suffix", [".bin", ".pt", ".pth", ".ckpt", ".pkl"])
def test_a_pickle_is_refused_by_name_and_never_opened(tmp_path, suffix):
    """`path` does not exist, or holds what would run: either way nobody looks inside."""
    path = tmp_path / f"pytorch_model{suffix}"
    for target in (path, tmp_path):
        if target is tmp_path:
            path.write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
        with pytest.raises(SafetensorsError, match=f"pytorch_model{suffix}: a Python pickle"):
            SafetensorsDir.open(target)


def test_a_folder_without_weights_is_refused(tmp_path):
    with pytest.raises(SafetensorsError, match="has neither model"):
        SafetensorsDir.open(tmp_path)


A, B = {"a": ONES}, {"b": ONES}


@pytest.mark.parametrize(
    "shards, weight_map, message",
    [
        ({"x.safetensors": A}, {"a": "y.safetensors"}, "y.safetensors"),
        ({"x.safetensors": A}, {"b": "x.safetensors"}, "says 'b' is in x.safetensors"),
        (
            {"x.safetensors": A, "y.safetensors": A | B},
            {"a": "x.safetensors", "b": "y.safetensors"},
            "both x.safetensors and y.safetensors hold 'a'",
        ),
        ({}, {"a": "../x.safetensors"}, "not the name of a .safetensors file beside it"),
        ({}, {"a": "/x.safetensors"}, "not the name of a .safetensors file beside it"),
        ({}, {"a": "..\\x.safetensors"}, "not the name of a .safetensors file beside it"),
        ({}, {"a": "x\0.safetensors"}, "not the name of a .safetensors file beside it"),
        ({}, {"a": "x.bin"}, "not the name of a .safetensors file beside it"),
        ({}, {"a": 5}, "not the name of a .safetensors file beside it"),
        ({}, {"a": "x" * 300 + ".safetensors"}, "cannot be read"),
        ({}, ["a"], "has no weight_map"),
    ],
)
def test_an_index_that_does_not_fit_is_refused(tmp_path, shards, weight_map, message):
    write_shards(tmp_path, shards, weight_map)
    with pytest.raises(SafetensorsError, match=message):
        SafetensorsDir.open(tmp_path)


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "the file is empty"),
        ("[1]", "not an object"),
        ("{", "its JSON cannot be used"),
        ("[" * 100_000, "its JSON cannot be used"),
        ('{"weight_map": {"a": "x.safetensors", "a": "y.safetensors"}}', "a key appears twice"),
        ("\xff", "its JSON cannot be used"),
    ],
)
def test_an_index_that_is_no_index_is_refused(tmp_path, text, message):
    path = tmp_path / "model.safetensors.index.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(SafetensorsError, match=message):
        SafetensorsDir.open(tmp_path)


def test_an_index_of_absurd_size_is_refused_unread(tmp_path):
    path = tmp_path / "model.safetensors.index.json"
    path.touch()
    os.truncate(path, 2**40)  # a file with a hole: it takes no space
    with pytest.raises(SafetensorsError, match="is it the right file"):
        SafetensorsDir.open(tmp_path)


def test_a_write_that_fails_leaves_the_folder_as_it_was(tmp_path):
    path = tmp_path / "m.safetensors"
    path.write_bytes(b"what was there")
    with pytest.raises(InputError, match="cannot write"):
        write_safetensors(path, {"w": np.zeros(2, np.complex128)})
    assert list(tmp_path.iterdir()) == [path] and path.read_bytes() == b"what was there"
