"""Harmed files: a good read of everything or a named error, never a hang or a large allocation.

Each case takes a good file, harms its bytes one to three times (cut, flipped bits, a piece copied
elsewhere, a number set to what an attacker would choose), and reads every key and every tensor.
"""

import json
import re
import signal
import struct
import tracemalloc
from contextlib import contextmanager

import ml_dtypes
import numpy as np
import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from refimpl.errors import RefimplError
from refimpl.formats.gguf import GGUF, write_gguf
from refimpl.formats.gguf.cursor import Cursor
from refimpl.formats.quants import Packed, block_type
from refimpl.formats.safetensors import SafetensorsDir, write_safetensors

HOSTILE = [0, 1, 2, 7, 255, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**61, 2**62]
HOSTILE += [2**63 - 1, 2**63, 2**64 - 32, 2**64 - 8, 2**64 - 1]
SECONDS = 30


def read_gguf(path):
    file = GGUF.open(path)
    readers = [lambda key=key: file.metadata[key] for key in file.metadata]
    readers += [lambda key=key: file.metadata.describe(key) for key in file.metadata]
    readers += [lambda name=name: file.tensor(name)[...] for name in file.tensors]
    return [message for reader in readers if (message := complaint(reader))]


def read_safetensors(path):
    model = SafetensorsDir.open(path)
    readers = [
        lambda name=name: (model.info(name), model.tensor(name).tobytes()) for name in model.names
    ]
    return [message for reader in readers if (message := complaint(reader))]


def complaint(task, *args):
    """The message of the error this project meant to raise; any other error is a finding."""
    try:
        task(*args)
    except RefimplError as error:
        return str(error)


@contextmanager
def no_hang():
    def expire(*_):
        raise TimeoutError(f"still reading after {SECONDS} s")

    before = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def no_large_allocation(n_bytes):
    """64 times the file allows 1.5-bit blocks to become float32 by way of float64."""
    limit = 2**23 + 64 * n_bytes
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < limit, f"{peak} bytes to read a file of {n_bytes}"


def check(read, path, raw):
    path.write_bytes(raw)
    with no_hang(), no_large_allocation(len(raw)):
        refused = complaint(read, path)
    if refused:
        assert str(path.parent) in refused  # it names the file
    return "refused" if refused else "read"


@st.composite
def harmed(draw, raw, fields, byte_order):
    """`raw` with one to three injuries; `fields` are (start, size) of the numbers in it."""
    for _ in range(draw(st.integers(1, 3))):
        injury = draw(st.sampled_from([set_number, set_number, set_number, flip, splice, cut]))
        raw = injury(draw, raw, fields, byte_order)
    return raw


def place(draw, raw):
    return draw(st.integers(0, max(len(raw) - 1, 0)))


def set_number(draw, raw, fields, byte_order):
    start, size = draw(st.sampled_from(fields))
    value = draw(st.sampled_from([*HOSTILE, len(raw)]) | st.integers(0, 64))
    return raw[:start] + (value % 256**size).to_bytes(size, byte_order) + raw[start + size :]


def flip(draw, raw, *_):
    at = place(draw, raw)
    return (
        raw[:at] + bytes(b ^ 1 << draw(st.integers(0, 7)) for b in raw[at : at + 1]) + raw[at + 1 :]
    )


def splice(draw, raw, *_):
    source, target, length = place(draw, raw), place(draw, raw), draw(st.integers(1, 64))
    kept = target + draw(st.sampled_from([0, length]))  # inserted, or written over
    return raw[:target] + raw[source : source + length] + raw[kept:]


def cut(draw, raw, *_):
    return raw[: place(draw, raw)]


def fields_of(path):
    """Where the reader reads a number, found by watching it."""
    fields = []
    take, skip_strings = Cursor.take, Cursor.skip_strings

    def noted_take(self, n_bytes):
        if n_bytes in (1, 2, 4, 8):
            fields.append((self.pos, n_bytes))
        return take(self, n_bytes)

    def noted_skip(self, n):
        fields.append((self.pos, 8))  # the length of the first string
        skip_strings(self, n)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Cursor, "take", noted_take)
        patch.setattr(Cursor, "skip_strings", noted_skip)
        assert not read_gguf(path)
    return sorted(set(fields))


METADATA = {
    "general.architecture": "llama",
    "general.alignment": 32,
    "scale": 0.5,
    "yes": True,
    "byte": np.uint8(3),
    "wide": np.int64(-5),
    "tokens": ["a", "bc", "", "ü"],
    "types": np.array([1, -1, 3], np.int32),
    "flags": np.array([True, False]),
    "nested": [["x"], np.array([1.5])],
}


def tensors():
    rng = np.random.default_rng(0)
    packed = {}
    for name in ("Q8_0", "Q4_0", "Q4_K"):
        kind = block_type(name)
        blocks = np.zeros((2, 1), kind.dtype)
        packed[name] = Packed(type=kind, blocks=blocks)
    plain = rng.standard_normal((4, 3))
    types = (np.float32, np.float16, ml_dtypes.bfloat16, np.int32)
    return packed | {np.dtype(t).name: plain.astype(t) for t in types}


@pytest.fixture(scope="module", params=["little", "big"])
def small_gguf(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("gguf") / "small.gguf"
    write_gguf(path, METADATA, tensors(), byte_order=request.param)
    return path, path.read_bytes(), fields_of(path), request.param


@given(data=st.data())
def test_a_harmed_gguf_file(small_gguf, data):
    path, raw, fields, byte_order = small_gguf
    event(check(read_gguf, path, data.draw(harmed(raw, fields, byte_order))))


@pytest.mark.parametrize("small_gguf", ["little"], indirect=True)
def test_every_single_number_of_a_gguf_file_set_to_an_extreme(small_gguf):
    path, raw, fields, byte_order = small_gguf
    outcomes = {
        check(read_gguf, path, raw[:start] + value.to_bytes(size, byte_order) + raw[start + size :])
        for start, size in fields
        for value in {value % 256**size for value in (0, 2**31, 2**63, 2**64 - 8)}
    }
    assert outcomes == {"read", "refused"}


@given(data=st.data())
def test_a_harmed_real_vocabulary(shared, tmp_path_factory, data):
    raw, fields = real_vocabulary(shared)
    path = tmp_path_factory.getbasetemp() / "vocabulary.gguf"
    event(check(read_gguf, path, data.draw(harmed(raw, fields, "little"))))


REAL = {}


def real_vocabulary(shared):
    if not REAL:
        path = shared / "tokenizers" / "ggml-vocab" / "ggml-vocab-llama-spm.gguf"
        REAL["it"] = path.read_bytes(), fields_of(path)
    return REAL["it"]


@given(data=st.data())
def test_a_harmed_part_of_a_split(tmp_path_factory, data):
    folder = tmp_path_factory.getbasetemp()
    paths = [folder / f"split-0000{i}-of-00002.gguf" for i in (1, 2)]
    for no, path in enumerate(paths):
        keys = {"split.no": np.uint16(no), "split.count": np.uint16(2)}
        keys |= {"split.tensors.count": np.int32(2)}
        write_gguf(path, keys, {f"w{no}": np.ones(4, np.float32)})
    fields = fields_of(paths[0])
    target = data.draw(st.sampled_from(paths))
    fields = [field for field in fields if sum(field) <= target.stat().st_size]
    event(check(read_gguf, target, data.draw(harmed(target.read_bytes(), fields, "little"))))


def write_model(path):
    values = np.arange(128).reshape(8, 16)
    kinds = (np.float32, ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, np.int64, np.bool_)
    named = {np.dtype(kind).name: values.astype(kind) for kind in kinds}
    write_safetensors(path, named | {"none": np.zeros((0, 4), np.float32)}, {"format": "pt"})


@st.composite
def harmed_safetensors(draw, raw):
    """Injuries to the bytes, or to a number, a word or a character of the JSON header."""
    if draw(st.booleans()):
        return draw(harmed(raw, [(0, 8)], "little"))
    (length,) = struct.unpack_from("<Q", raw)
    header = draw(harmed_json(raw[8 : 8 + length].decode())).encode("utf-8", "surrogatepass")
    length = len(header) if draw(st.booleans()) else length
    return struct.pack("<Q", length) + header + raw[8 + length :]


WORDS = ["F32", "BOOL", "F4", "F6_E2M3", "U8", "", "\\ud800", "\\u0000", "none", "__metadata__"]
SHARDS = [
    "../a.safetensors",
    "/etc/passwd",
    "..",
    "a\\u0000.safetensors",
    "x" * 300 + ".safetensors",
]


@st.composite
def harmed_json(draw, text, words=WORDS):
    for _ in range(draw(st.integers(1, 3))):
        spans = [m.span() for m in re.finditer(r'-?\d+|"[^"]*"|[\[\]{}:,]', text)]
        start, end = draw(st.sampled_from(spans)) if spans else (0, 0)
        new = draw(
            st.sampled_from([str(n) for n in [*HOSTILE, -1, 2**64, 10**400, 0.5, 1e999]])
            | st.sampled_from(words).map('"{}"'.format)
            | st.sampled_from(["", "[", "]", "{}", "[]", "null", "true", "[" * 3000, "1" * 5000])
            | st.just(text[start:end] * 2)
        )
        text = text[:start] + new + text[end:]
    return text


@given(data=st.data())
def test_a_harmed_safetensors_file(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "fuzz.safetensors"
    write_model(path)
    assert not read_safetensors(path)
    event(check(read_safetensors, path, data.draw(harmed_safetensors(path.read_bytes()))))


@given(data=st.data())
def test_a_harmed_safetensors_index(tmp_path_factory, data):
    folder = tmp_path_factory.getbasetemp()
    for i in (1, 2):
        write_safetensors(folder / f"s{i}.safetensors", {f"w{i}": np.ones(3, np.float32)})
    path = folder / "model.safetensors.index.json"
    index = json.dumps(
        {"metadata": {}, "weight_map": {f"w{i}": f"s{i}.safetensors" for i in (1, 2)}}
    )
    path.write_text(index)
    assert not read_safetensors(path)
    raw = data.draw(
        harmed_json(index, [*WORDS, *SHARDS, "s2.safetensors", "w1"]).map(str.encode)
        | harmed(index.encode(), [(0, 8)], "little")
    )
    event(check(read_safetensors, path, raw))
