"""The GGUF reader against files laid out here byte by byte, good ones and bad ones."""

import struct
import tracemalloc

import ml_dtypes
import numpy as np
import pytest

from refimpl.errors import UnsupportedError
from refimpl.formats.gguf import GGUF, GGUFError, write_gguf
from refimpl.formats.gguf.cursor import Cursor
from refimpl.formats.quants import BLOCK_TYPES, Packed

U8, U32, F32, BOOL, STRING, ARRAY, U64 = 0, 4, 6, 7, 8, 9, 10
F32_TENSOR, Q8_0_TENSOR, BF16_TENSOR = 0, 8, 30


class Layout:
    """The pieces of a file in one byte order, as the specification writes them."""

    def __init__(self, order="<"):
        self.order = order

    def number(self, code, value):
        return struct.pack(self.order + code, value)

    def string(self, text):
        raw = text if isinstance(text, bytes) else text.encode()
        return self.number("Q", len(raw)) + raw

    def key(self, name, kind, payload):
        return self.string(name) + self.number("I", kind) + payload

    def u32_key(self, name, value):
        return self.key(name, U32, self.number("I", value))

    def array(self, kind, count, body):
        return self.number("I", kind) + self.number("Q", count) + body

    def tensor(self, name, dims, kind, offset):
        sizes = b"".join(self.number("Q", d) for d in dims)
        head = self.string(name) + self.number("I", len(dims)) + sizes
        return head + self.number("I", kind) + self.number("Q", offset)

    def file(
        self, keys=(), tensors=(), data=b"", *, version=3, n_keys=None, n_tensors=None, align=32
    ):
        counts = [len(tensors) if n_tensors is None else n_tensors]
        counts += [len(keys) if n_keys is None else n_keys]
        head = b"GGUF" + self.number("I", version) + b"".join(self.number("Q", n) for n in counts)
        head += b"".join(keys) + b"".join(tensors)
        return head + bytes(-len(head) % align) + data


L = Layout()


@pytest.fixture
def opened(tmp_path):
    def open_bytes(raw, name="model.gguf"):
        path = tmp_path / name
        path.write_bytes(raw)
        return GGUF.open(path)

    return open_bytes


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("version", [2, 3])
def test_every_part_of_a_file_is_read(opened, order, version):
    lay = Layout(order)
    weights = np.arange(6, dtype=np.float32).reshape(2, 3)
    file = opened(
        lay.file(
            keys=[
                lay.key("name", STRING, lay.string("tiny ✓")),
                lay.u32_key("size", 7),
                lay.key("rate", F32, lay.number("f", 0.5)),
                lay.key("yes", BOOL, b"\1"),
                lay.key("words", ARRAY, lay.array(STRING, 2, lay.string("a") + lay.string(""))),
                lay.key("ids", ARRAY, lay.array(U64, 1, lay.number("Q", 2**63))),
            ],
            tensors=[lay.tensor("w", [3, 2], F32_TENSOR, 32), lay.tensor("b", [], F32_TENSOR, 0)],
            data=lay.number("f", 9.0) + bytes(28) + weights.astype(order + "f4").tobytes(),
            version=version,
        )
    )
    assert (file.version, file.alignment) == (version, 32)
    assert file.byte_order == {"<": "little", ">": "big"}[order]
    metadata = dict(file.metadata)
    assert metadata.pop("ids").tolist() == [2**63]
    assert metadata == {"name": "tiny ✓", "size": 7, "rate": 0.5, "yes": True, "words": ["a", ""]}
    assert type(file.metadata["yes"]) is bool
    assert list(file.tensors) == ["w", "b"]
    assert file.tensors["w"].shape == (2, 3)
    assert np.array_equal(file.tensor("w"), weights)
    assert file.tensor("b").shape == () and file.tensor("b") == 9.0


def test_metadata_keeps_types_and_describes_without_reading(opened):
    raw = L.file([L.key("n", U8, b"\7"), L.key("t", ARRAY, L.array(STRING, 1, L.string(b"\xff")))])
    metadata = opened(raw).metadata
    assert metadata.exact("n") == np.uint8(7) and metadata.exact("n").dtype == np.uint8
    assert metadata.describe("t") == "STRING[1]"  # its only string cannot be decoded
    with pytest.raises(GGUFError, match="not UTF-8"):
        metadata["t"]


def test_arrays_nest(opened):
    inner = L.array(U8, 2, b"\1\2")
    words = L.array(ARRAY, 2, inner + L.array(STRING, 1, L.string("x")))
    value = opened(L.file([L.key("k", ARRAY, words)])).metadata["k"]
    assert value[0].tolist() == [1, 2] and value[1] == ["x"]


def test_opening_decodes_no_string_and_allocates_next_to_nothing(tmp_path, monkeypatch):
    path = tmp_path / "vocabulary.gguf"
    write_gguf(path, {"tokens": [f"token {i}" for i in range(50_000)]}, {})
    monkeypatch.setattr(Cursor, "strings", names_only(Cursor.strings))
    tracemalloc.start()
    file = GGUF.open(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert file.metadata.describe("tokens") == "STRING[50000]"
    assert peak < 200_000, f"{peak} bytes to open a file of {path.stat().st_size}"


def names_only(strings):
    def read(self, n):
        assert n == 1, "an array of strings was decoded while opening"
        return strings(self, n)

    return read


def test_a_plain_tensor_is_a_view_of_the_file(opened):
    values = np.array([1.5, -2.0, 3e38], ml_dtypes.bfloat16)
    tensor = opened(
        L.file(tensors=[L.tensor("w", [3], BF16_TENSOR, 0)], data=values.tobytes())
    ).tensor("w")
    assert tensor.dtype == ml_dtypes.bfloat16 and np.array_equal(tensor, values)
    assert not tensor.flags.owndata and not tensor.flags.writeable


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_block_tensor_stays_packed(opened, order):
    def block(scale, first):  # Q8_0: a float16 scale and 32 int8
        return struct.pack(order + "e32b", scale, *range(first, first + 32))

    lay = Layout(order)
    data = block(0.5, 0) + block(2.0, -32)
    tensor = opened(lay.file(tensors=[lay.tensor("w", [32, 2], Q8_0_TENSOR, 0)], data=data)).tensor(
        "w"
    )
    assert isinstance(tensor, Packed) and tensor.shape == (2, 32)
    assert tensor[1].tolist() == [2.0 * i for i in range(-32, 0)]
    assert tensor[0].tolist() == [0.5 * i for i in range(32)]


def test_a_packed_tensor_is_a_view_of_the_file(opened):
    raw = L.file(tensors=[L.tensor("w", [32], Q8_0_TENSOR, 0)], data=bytes(34))
    assert not opened(raw).tensor("w").blocks.flags.owndata


def test_an_unknown_type_is_an_error_only_when_that_tensor_is_used(opened):
    tensors = [L.tensor("new", [4], 999, 0), L.tensor("w", [1], F32_TENSOR, 32)]
    file = opened(L.file(tensors=tensors, data=bytes(36)))
    assert list(file.tensors) == ["new", "w"] and file.tensor("w") == 0
    for use in (lambda: file.tensors["new"].type, lambda: file.tensor("new")):
        with pytest.raises(UnsupportedError, match=r"'new' has ggml type 999"):
            use()


def test_the_alignment_key_moves_the_data(opened):
    keys = [L.u32_key("general.alignment", 128)]
    tensors = [L.tensor("a", [1], F32_TENSOR, 0), L.tensor("b", [1], F32_TENSOR, 128)]
    data = struct.pack("<f124xf", 1.0, 2.0)
    file = opened(L.file(keys, tensors, data, align=128))
    assert file.alignment == 128 and file.tensor("b").tolist() == [2.0]


def a_file(**changes):
    """A small good file, or what `changes` make of it."""
    parts = {
        "keys": [L.u32_key("size", 7)],
        "tensors": [L.tensor("a", [8], F32_TENSOR, 0), L.tensor("b", [32], Q8_0_TENSOR, 32)],
        "data": bytes(66),
    }
    return L.file(**(parts | changes))


def with_tensor(name="a", dims=(8,), kind=F32_TENSOR, offset=0):
    return a_file(tensors=[L.tensor(name, dims, kind, offset)])


def with_key(kind, payload, name="k"):
    return a_file(keys=[L.key(name, kind, payload)])


def nested(depth):
    if not depth:
        return L.array(U8, 0, b"")
    return L.array(ARRAY, 1, nested(depth - 1))


HUGE = 2**63
BAD_FILES = {
    "empty": (b"", "the file is empty"),
    "another format": (b"PK\3\4" + bytes(60), "not a GGUF file"),
    "version 1": (a_file(version=1), "GGUF version 1; 2 and 3 are read"),
    "version 4": (a_file(version=4), "GGUF version 4"),
    "only the magic": (b"GGUF", "GGUF version 0"),
    "no counts": (b"GGUF\3\0\0\0", "at byte 8: needs 8 bytes, but 0 are left"),
    "too many tensors": (a_file(n_tensors=2**40), r"\d+ tensors cannot fit in the \d+ bytes"),
    "2**63 tensors": (a_file(n_tensors=HUGE), "9223372036854775808 tensors cannot fit"),
    "2**64 - 1 keys": (a_file(n_keys=2**64 - 1), "18446744073709551615 keys cannot fit"),
    "one key too many": (a_file(tensors=[], n_keys=3, data=bytes(80)), "the key .. appears twice"),
    "key twice": (a_file(keys=[L.u32_key("k", 1), L.u32_key("k", 1)]), "the key 'k' appears twice"),
    "key longer than the file": (a_file(keys=[L.number("Q", 60_000)]), "past the end of the file"),
    "key longer than allowed": (a_file(keys=[L.number("Q", 70_000)]), "a name of 70000 bytes"),
    "key not UTF-8": (a_file(keys=[L.u32_key(b"\xff", 1)]), "not UTF-8"),
    "value type 13": (with_key(13, bytes(8)), "value type 13"),
    "string of 2**63": (with_key(STRING, L.number("Q", HUGE)), "past the end of the file"),
    "string of 2**64 - 8": (with_key(STRING, L.number("Q", 2**64 - 8)), "past the end of the file"),
    "array of an unknown type": (with_key(ARRAY, L.array(99, 1, b"")), "value type 99"),
    "array of 2**61": (
        with_key(ARRAY, L.array(U8, 2**61, b"")),
        "elements of type UINT8 cannot fit",
    ),
    "array of 2**63 strings": (with_key(ARRAY, L.array(STRING, HUGE, b"")), "STRING cannot fit"),
    "array of long strings": (
        with_key(ARRAY, L.array(STRING, 2, L.string("a") + L.number("Q", HUGE - 9))),
        r"2 string\(s\) from here on run past the end",
    ),
    "arrays too deep": (with_key(ARRAY, nested(4)), "nested more than 4 deep"),
    "alignment 0": (a_file(keys=[L.u32_key("general.alignment", 0)]), "not a UINT32 power of two"),
    "alignment 48": (
        a_file(keys=[L.u32_key("general.alignment", 48)]),
        "not a UINT32 power of two",
    ),
    "alignment a string": (
        with_key(STRING, L.string("32"), "general.alignment"),
        "general.alignment is '32'",
    ),
    "alignment past the end": (a_file(keys=[L.u32_key("general.alignment", 2**31)]), "no multiple"),
    "tensor twice": (a_file(tensors=[L.tensor("a", [8], 0, 0)] * 2), "tensor 'a' appears twice"),
    "five dimensions": (with_tensor(dims=[1] * 5), "has 5 dimensions"),
    "2**32 - 1 dimensions": (
        a_file(tensors=[L.string("a") + L.number("I", 2**32 - 1) + bytes(24)], data=b""),
        "has 4294967295 dimensions",
    ),
    "a dimension of 0": (with_tensor(dims=[8, 0]), "has no elements"),
    "a dimension of 2**63": (with_tensor(dims=[HUGE]), "after the file"),
    "dimensions that overflow to 0": (with_tensor(dims=[2**32, 2**32]), "after the file"),
    "dimensions that overflow to 8": (with_tensor(dims=[8, 2**61 + 1]), "after the file"),
    "half a block": (with_tensor(kind=Q8_0_TENSOR, dims=[48]), "not a whole number"),
    "a number in blocks": (with_tensor(kind=Q8_0_TENSOR, dims=[]), "not a whole number"),
    "offset past the end": (with_tensor(offset=2**20), "after the file"),
    "offset of 2**63": (with_tensor(offset=HUGE), "after the file"),
    "offset of an unknown type past the end": (
        with_tensor(kind=999, offset=HUGE),
        "after the file",
    ),
    "an unknown type at the very end": (
        a_file(tensors=[L.tensor("a", [8], 999, 64)], data=bytes(64)),
        "after the file",
    ),
    "offset not aligned": (with_tensor(offset=4), "begins at 4, no multiple of 32"),
    "overlap": (
        a_file(tensors=[L.tensor("a", [9], 0, 0), L.tensor("b", [1], 0, 32)]),
        "'b' begins where another tensor still is",
    ),
    "same place": (
        a_file(tensors=[L.tensor("a", [1], 0, 0), L.tensor("b", [1], 0, 0)]),
        "begins where another tensor still is",
    ),
    "tensor name not UTF-8": (with_tensor(name=b"\xc3"), "not UTF-8"),
}


@pytest.mark.parametrize("raw, message", BAD_FILES.values(), ids=BAD_FILES.keys())
def test_a_bad_file_is_refused_by_name(opened, raw, message):
    with pytest.raises(GGUFError, match=message) as caught:
        opened(raw, "broken.gguf")
    assert "broken.gguf" in str(caught.value)


def test_the_file_that_the_bad_ones_are_made_from_is_good(opened):
    assert opened(a_file()).tensor("b").shape == (32,)


def test_nesting_up_to_the_limit_is_read(opened):
    assert opened(with_key(ARRAY, nested(3))).metadata.describe("k") == "ARRAY[1]"


def test_a_file_cut_anywhere_is_refused(tmp_path):
    path, raw = tmp_path / "cut.gguf", a_file()
    for length in range(len(raw)):
        path.write_bytes(raw[:length])
        with pytest.raises(GGUFError, match=r"cut\.gguf"):
            GGUF.open(path)


@pytest.mark.parametrize("payload", [b"\2", L.array(BOOL, 3, b"\0\1\xff")], ids=["scalar", "array"])
def test_a_bool_is_0_or_1(opened, payload):
    metadata = opened(with_key(BOOL if len(payload) == 1 else ARRAY, payload)).metadata
    with pytest.raises(GGUFError, match="neither 0 nor 1"):
        metadata["k"]


def test_what_is_no_file_is_refused(tmp_path):
    for path in (tmp_path, tmp_path / "missing.gguf", tmp_path / ("long" * 100), "nul\0.gguf"):
        with pytest.raises(GGUFError):
            GGUF.open(path)
    with pytest.raises(GGUFError, match="not a regular file"):
        GGUF.open("/dev/zero")


def test_a_tensor_that_is_not_there(opened):
    with pytest.raises(GGUFError, match="no tensor 'c'"):
        opened(a_file()).tensor("c")


def write_part(folder, no, count, *, names=("w",), announced=2, says=None, total=2):
    """Part `no` of `count`, as its file name has them; what it says of itself may differ."""
    says = no - 1 if says is None else says
    keys = {"split.no": np.uint16(says), "split.count": np.uint16(announced)}
    if no == 1:
        keys |= {"general.name": "whole", "split.tensors.count": np.int32(total)}
    path = folder / f"m-{no:05}-of-{count:05}.gguf"
    write_gguf(path, keys, {name: np.full(4, no, np.float32) for name in names})
    return path


def test_a_split_model_opens_as_one_from_any_part(tmp_path):
    paths = [write_part(tmp_path, 1, 2, names=("a",)), write_part(tmp_path, 2, 2, names=("b",))]
    for path in paths:
        file = GGUF.open(path)
        assert file.metadata["general.name"] == "whole" and file.path == paths[0]
        assert [file.tensor(n)[0] for n in ("a", "b")] == [1.0, 2.0]
        assert file.tensors["b"].path == paths[1]


def test_a_merged_split_is_one_file(tmp_path):
    """llama.cpp's gguf-split leaves a count of 0 behind when it merges."""
    write_gguf(tmp_path / "m.gguf", {"split.count": np.uint16(0)}, {})
    assert GGUF.open(tmp_path / "m.gguf").metadata["split.count"] == 0


@pytest.mark.parametrize(
    "second, message",
    [
        (None, "m-00002-of-00002.gguf: no such file"),
        ({"names": ("a",)}, "an earlier part has the tensor 'a' too"),
        ({"says": 0}, "does not say it is part 2 of 2"),
        ({"announced": 3}, "does not say it is part 2 of 2"),
        ({"names": ("b", "c")}, "the split has 3 tensors, not 2"),
    ],
)
def test_a_split_that_does_not_fit_together_is_refused(tmp_path, second, message):
    first = write_part(tmp_path, 1, 2, names=("a",))
    if second is not None:
        write_part(tmp_path, 2, 2, **({"names": ("b",)} | second))
    with pytest.raises(GGUFError, match=message):
        GGUF.open(first)


def test_a_part_by_another_name_is_refused(tmp_path):
    path = write_part(tmp_path, 1, 2)
    for name in ("renamed.gguf", "m-00001-of-00003.gguf"):
        path = path.rename(tmp_path / name)
        with pytest.raises(GGUFError, match="give the parts their names back"):
            GGUF.open(path)


def test_a_split_count_that_is_no_integer_is_refused(tmp_path):
    write_gguf(tmp_path / "m.gguf", {"split.count": "two"}, {})
    with pytest.raises(GGUFError, match=r"split\.count is STRING, not an integer"):
        GGUF.open(tmp_path / "m.gguf")


def test_every_block_type_has_whole_bytes_in_the_file():
    """`nbytes // itemsize` blocks, as the reader counts them, needs a row's bytes to be blocks."""
    for kind in BLOCK_TYPES.values():
        assert kind.row_bytes(kind.block_size) == kind.dtype.itemsize
