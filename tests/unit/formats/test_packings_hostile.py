"""What is wrong with a quantised checkpoint is said by a named error, before anything is allocated.

The golden cases are right; each test here spoils one.
"""

import json
import tracemalloc
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refimpl.errors import RefimplError, UnsupportedError
from refimpl.formats.packings import PackingError, unpacked
from refimpl.formats.safetensors import SafetensorsDir, write_safetensors

FOLDER = Path(__file__).resolve().parents[3] / "golden" / "packings"
M = "model.layers.0.mlp.up_proj"
EXPERTS = "model.layers.0.mlp.experts.gate_up_proj"


def golden(scheme, name):
    """(config, stored tensors) of a case, both to be spoiled."""
    document = json.loads((FOLDER / f"{scheme}.json").read_text())
    case = next(c for c in document["cases"] if c["name"] == name)
    files = SafetensorsDir.open(FOLDER / f"{scheme}.safetensors")
    stored = {key: files.tensor(where["tensor"]) for key, where in case["stored"].items()}
    return case["quantization_config"], stored


CASES = [
    (path.stem, case["name"])
    for path in sorted(FOLDER.glob("*.json"))
    for case in json.loads(path.read_text())["cases"]
]


def view(folder, config, stored):
    path = folder / "model.safetensors"
    write_safetensors(path, stored)
    return unpacked(SafetensorsDir.open(path), config)


def read_all(folder, config, stored):
    shown = view(folder, config, stored)
    return {name: (shown.info(name), shown.tensor(name)) for name in shown.names}


@pytest.mark.parametrize("scheme, name", CASES)
def test_a_case_that_is_not_spoiled_is_read(tmp_path, scheme, name):
    assert read_all(tmp_path, *golden(scheme, name))


@pytest.mark.parametrize("scheme, name", CASES)
def test_any_part_may_be_missing(tmp_path, scheme, name):
    """A name is left out: an error, unless nothing needs it (what is not about weights)."""
    config, stored = golden(scheme, name)
    for key in stored:
        rest = {k: v for k, v in stored.items() if k != key}
        if key.endswith((".input_scale_ub", ".weight_format")):
            read_all(tmp_path, config, rest)
        elif rest:
            with pytest.raises(PackingError):
                view(tmp_path, config, rest)


CONFIGS = [  # scheme, case, what the config says instead, the error, a word of its message
    ("gptq", "4 bits", {"bits": 5}, UnsupportedError, "2, 3, 4, 8"),
    ("gptq", "4 bits", {"bits": 64}, PackingError, "from 1 to 32"),
    ("gptq", "4 bits", {"bits": "four"}, PackingError, "four"),
    ("gptq", "4 bits", {"bits": True}, PackingError, "True"),
    ("gptq", "4 bits", {"bits": 8}, PackingError, "scales"),
    ("gptq", "4 bits", {"bits": 3}, PackingError, "3-bit"),
    ("gptq", "4 bits", {"group_size": 0}, PackingError, "whole row"),
    ("gptq", "4 bits", {"group_size": 12}, PackingError, "12 does not divide"),
    ("gptq", "4 bits", {"group_size": 8}, PackingError, "scales"),
    ("gptq", "4 bits", {"group_size": 10**30}, PackingError, "group_size"),
    ("gptq", "4 bits", {"checkpoint_format": "marlin"}, UnsupportedError, "gptq_v2"),
    ("gptq", "4 bits", {"is_marlin_format": True}, UnsupportedError, "marlin"),
    ("gptq", "4 bits", {"dynamic": {"-:lm_head": {}}}, UnsupportedError, "dynamic"),
    ("gptq", "4 bits", {"pack_dtype": "int16"}, UnsupportedError, "int32"),
    ("gptq", "4 bits", {"quant_method": "hqq"}, UnsupportedError, "awq"),
    ("gptq", "4 bits", {"quant_method": ["gptq"]}, UnsupportedError, "awq"),
    ("gptq", "4 bits", {"quant_method": "fp8"}, PackingError, "nothing is stored so"),
    ("awq", "groups", {"bits": 3}, UnsupportedError, "supported: 4"),
    ("awq", "groups", {"version": "gemv_fast"}, UnsupportedError, "gemv_fast"),
    ("awq", "groups", {"backend": "llm-awq"}, UnsupportedError, "llm-awq"),
    ("awq", "groups", {"zero_point": False}, UnsupportedError, "zero_point"),
    ("awq", "groups", {"group_size": 7}, PackingError, "does not divide"),
    ("awq", "groups", {"group_size": 8}, PackingError, "scales"),
    ("fp8", "E4M3, blocks", {"weight_block_size": [128]}, PackingError, "two sizes"),
    ("fp8", "E4M3, blocks", {"weight_block_size": [0, 4]}, PackingError, "two sizes"),
    ("fp8", "E4M3, blocks", {"weight_block_size": None}, PackingError, "weight_scale_inv"),
    ("fp8", "E4M3, rows", {"weight_block_size": [4, 4]}, PackingError, "weight_scale_inv"),
    ("compressed_tensors", "int4, groups", {"format": "marlin-24"}, UnsupportedError, "pack-"),
    ("compressed_tensors", "int4, groups", {"format": "int-quantized"}, PackingError, "'.weight'"),
    ("compressed_tensors", "int4, groups", {"ignore": ["re:.*mlp"]}, PackingError, "ignore"),
    (
        "compressed_tensors",
        "int4, groups",
        {"ignore": ["re:(("]},
        PackingError,
        "not a usable pattern",
    ),
    ("compressed_tensors", "int4, groups", {"ignore": [1]}, PackingError, "list of names"),
    ("compressed_tensors", "int4, groups", {"config_groups": {}}, PackingError, "config_groups"),
    ("compressed_tensors", "int4, groups", {"config_groups": [1]}, PackingError, "not an object"),
    (
        "compressed_tensors",
        "int4, groups",
        {"sparsity_config": {"format": "sparse-24-bitmask"}},
        UnsupportedError,
        "dense",
    ),
    (
        "compressed_tensors",
        "int4, groups",
        {"transform_config": {"config_groups": {}}},
        UnsupportedError,
        "rotat",
    ),
]


@pytest.mark.parametrize("scheme, name, changes, error, words", CONFIGS)
def test_a_config_that_does_not_fit_is_refused(tmp_path, scheme, name, changes, error, words):
    config, stored = golden(scheme, name)
    with pytest.raises(error, match=words):
        view(tmp_path, {**config, **changes}, stored)


GROUPS = [
    ({"num_bits": 3}, UnsupportedError, "2, 4, 8"),
    ({"num_bits": 99}, PackingError, "num_bits"),
    ({"type": "float"}, UnsupportedError, "'float' is not supported"),
    ({"group_size": 5}, PackingError, "5 does not divide"),
    ({"group_size": 24}, PackingError, "weight_scale"),
    ({"symmetric": False}, PackingError, "zero_point"),
    ({"symmetric": "yes"}, UnsupportedError, "symmetric"),
    ({"strategy": "tensor_group"}, UnsupportedError, "tensor_group"),
    ({"strategy": "block"}, PackingError, "block_structure"),
    ({"strategy": "block", "block_structure": "8x8"}, PackingError, "two sizes"),
    ({"dynamic": True}, PackingError, "dynamically"),
]


@pytest.mark.parametrize("changes, error, words", GROUPS)
def test_a_group_that_does_not_fit_is_refused(tmp_path, changes, error, words):
    config, stored = golden("compressed_tensors", "int4, groups")
    config["config_groups"]["group_0"]["weights"].update(changes)
    with pytest.raises(error, match=words):
        view(tmp_path, config, stored)


@pytest.mark.parametrize(
    "targets, error, words",
    [
        (["Embedding"], UnsupportedError, "is a class"),
        (["re:.*attn"], PackingError, "as a target"),
        ("Linear", PackingError, "list of names"),
    ],
)
def test_targets_that_do_not_fit_are_refused(tmp_path, targets, error, words):
    config, stored = golden("compressed_tensors", "int4, groups")
    config["config_groups"]["group_0"]["targets"] = targets
    with pytest.raises(error, match=words):
        view(tmp_path, config, stored)


def test_a_pattern_that_would_take_for_ever_is_refused(tmp_path):
    config, stored = golden("compressed_tensors", "int4, groups")
    module = "x" * 40
    stored = {key.replace(M, module): tensor for key, tensor in stored.items()}
    config["config_groups"]["group_0"]["targets"] = [r"re:((x|.)+)+\d"]
    with pytest.raises(PackingError, match="timed out"):
        view(tmp_path, config, stored)


def state(**changes):
    facts = {"quant_type": "nf4", "blocksize": 64, "dtype": "bfloat16", "shape": [16, 64]}
    return np.frombuffer(json.dumps({**facts, **changes}).encode(), np.uint8)


Q = f"{M}.weight"
STATE = f"{Q}.quant_state.bitsandbytes__nf4"
TENSORS = [  # scheme, case, tensors instead, a word of the message
    ("gptq", "4 bits", {f"{M}.scales": np.ones((2, 8), np.float16)}, "scales"),
    ("gptq", "4 bits", {f"{M}.scales": np.ones((2, 32), np.float64)}, "float64"),
    ("gptq", "4 bits", {f"{M}.qweight": np.ones((4, 32), np.int64)}, "int64"),
    ("gptq", "4 bits", {f"{M}.qweight": np.ones(128, np.int32)}, "2 dimensions"),
    ("gptq", "4 bits", {f"{M}.qweight": np.ones((0, 10**15), np.int32)}, "2 dimensions"),
    ("gptq", "4 bits", {f"{M}.qzeros": np.ones((2, 3), np.int32)}, "qzeros"),
    ("gptq", "act-order", {f"{M}.g_idx": np.zeros(31, np.int32)}, "g_idx"),
    ("gptq", "4 bits", {f"{M}.weight": np.zeros((32, 32), np.float16)}, "both packed and plain"),
    ("gptq", "4 bits", {"lm_head.scales": np.zeros((32, 32), np.float16)}, "part of no weight"),
    ("gptq", "4 bits", {"lm_head.weight": np.zeros((32, 32), np.int8)}, "int8"),
    ("awq", "groups", {f"{M}.qzeros": np.ones((3, 1), np.int32)}, "qzeros"),
    ("fp8", "E4M3, rows", {f"{M}.weight": np.ones((16, 16), np.int8)}, "float8"),
    ("fp8", "E4M3, rows", {f"{M}.weight_scale": np.ones((16, 1), np.float32)}, "two weights"),
    (
        "fp8",
        "E4M3, rows",
        {"a.gate_up_proj": np.ones((2, 4, 4), ml_dtypes.float8_e4m3fn)},
        "no scales beside",
    ),
    ("compressed_tensors", "int4, groups", {f"{M}.weight_shape": np.array([24, 2**62])}, "packed"),
    ("compressed_tensors", "int4, groups", {f"{M}.weight_shape": np.array([0, -5])}, "0, -5"),
    (
        "compressed_tensors",
        "int4, act-order",
        {f"{M}.weight_g_idx": np.zeros(3, np.int32)},
        "g_idx",
    ),
    ("mxfp4", "experts", {f"{EXPERTS}_blocks": np.ones((2, 16, 8, 8), np.uint8)}, "8 bytes"),
    ("mxfp4", "experts", {f"{EXPERTS}_scales": np.ones((2, 16, 7), np.uint8)}, "scales"),
    ("mxfp4", "experts", {f"{EXPERTS}_blocks": np.ones((16, 8, 16), np.uint8)}, "4 dimensions"),
    ("bitsandbytes", "nf4", {STATE: state(shape=[2**40, 2**40])}, "shape"),
    ("bitsandbytes", "nf4", {STATE: state(shape=[-16, -64])}, "sizes"),
    ("bitsandbytes", "nf4", {STATE: state(shape="16x64")}, "sizes"),
    ("bitsandbytes", "nf4", {STATE: state(blocksize=0)}, "blocksize"),
    ("bitsandbytes", "nf4", {STATE: state(blocksize=16)}, "absmax"),
    ("bitsandbytes", "nf4", {STATE: state(nested_blocksize=256)}, "absmax"),
    ("bitsandbytes", "nf4", {STATE: state(nested_offset=float("nan"))}, "finite"),
    ("bitsandbytes", "nf4", {STATE: np.frombuffer(b"[" * 50_000, np.uint8)}, "cannot be used"),
    ("bitsandbytes", "nf4", {STATE: np.frombuffer(b"[1]", np.uint8)}, "not an object"),
    ("bitsandbytes", "nf4", {STATE: np.full(200_000, 32, np.uint8)}, "too many"),
    ("bitsandbytes", "nf4", {STATE.replace("nf4", "fp4"): state()}, "two weights"),
    ("bitsandbytes", "nf4", {f"{Q}.quant_map": np.ones(256, np.float32)}, "quant_map"),
    ("bitsandbytes", "int8", {f"{M}.SCB": np.ones(15, np.float32)}, "SCB"),
    ("bitsandbytes", "int8", {f"{M}.weight_format": np.array(2, np.uint8)}, "row by row"),
]


@pytest.mark.parametrize("scheme, name, changes, words", TENSORS)
def test_tensors_that_do_not_fit_are_refused(tmp_path, scheme, name, changes, words):
    config, stored = golden(scheme, name)
    with pytest.raises(PackingError, match=words):
        view(tmp_path, config, {**stored, **changes})


@pytest.mark.parametrize("wrong", [4, -1, 2**31 - 1, -(2**31)])
@pytest.mark.parametrize(
    "scheme, name, part",
    [("gptq", "act-order", "g_idx"), ("compressed_tensors", "int4, act-order", "weight_g_idx")],
)
def test_a_group_that_does_not_exist_is_refused(tmp_path, scheme, name, part, wrong):
    config, stored = golden(scheme, name)
    g_idx = stored[f"{M}.{part}"].copy()
    g_idx[3] = wrong
    shown = view(tmp_path, config, {**stored, f"{M}.{part}": g_idx})
    with pytest.raises(PackingError, match=rf"{part}.*groups are 0\.\.3"):
        shown.tensor(f"{M}.weight")


def test_a_column_index_of_minus_ones_says_nothing(tmp_path):
    config, stored = golden("compressed_tensors", "int4, act-order")
    del config["config_groups"]["group_0"]["weights"]["actorder"]
    plain = {k: v for k, v in stored.items() if not k.endswith("g_idx")}
    ones = {**stored, f"{M}.weight_g_idx": np.full(32, -1, np.int32)}
    expected = view(tmp_path, config, plain).tensor(f"{M}.weight")
    np.testing.assert_array_equal(view(tmp_path, config, ones).tensor(f"{M}.weight"), expected)


def test_opening_a_view_allocates_nothing_of_the_size_of_a_weight(tmp_path):
    config, _ = golden("gptq", "4 bits")
    n = 1024
    stored = {
        "m.qweight": np.zeros((n // 8, n), np.int32),
        "m.qzeros": np.zeros((n // 16, n // 8), np.int32),
        "m.scales": np.ones((n // 16, n), np.float16),
    }
    write_safetensors(tmp_path / "model.safetensors", stored)
    files = SafetensorsDir.open(tmp_path)
    tracemalloc.start()
    shown = unpacked(files, config)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100_000
    assert shown.tensor("m.weight").nbytes == 4 * n * n


JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.integers(-2, 40),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(
        ["gptq", "gptq_v2", "pack-quantized", "block", "re:.*", "re:(", "int", "float"]
    ),
    st.lists(st.integers(-1, 9) | st.text(max_size=3), max_size=3),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)
DTYPES = [*map(np.dtype, ("i1", "u1", "<i4", "<i8", "<f2", "<f4", "?")), *(
    np.dtype(t) for t in (ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e8m0fnu)
)]  # fmt: skip
SHAPES = st.lists(st.integers(0, 70), max_size=4).filter(lambda s: np.prod(s) < 100_000)


def spoil_config(data, config):
    """One value, at any depth, replaced."""
    key = data.draw(st.sampled_from(sorted(config)))
    inner = config[key]
    if isinstance(inner, dict) and inner and data.draw(st.booleans()):
        return {**config, key: spoil_config(data, inner)}
    return {**config, key: data.draw(JUNK)}


def spoil_stored(data, stored):
    """One tensor gone, renamed, or with other bytes, shape and dtype."""
    key = data.draw(st.sampled_from(sorted(stored)))
    rest = {k: v for k, v in stored.items() if k != key}
    change = data.draw(st.sampled_from(["gone", "renamed", "random", "other"]))
    if change == "gone":
        return rest or stored
    if change == "renamed":
        return {**rest, data.draw(st.sampled_from(sorted(stored))) + "x": stored[key]}
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    shape, dtype = stored[key].shape, stored[key].dtype
    if change == "other":
        shape, dtype = data.draw(SHAPES), data.draw(st.sampled_from(DTYPES))
    top = 2 if dtype == np.bool_ else 256
    raw = rng.integers(0, top, int(np.prod(shape)) * dtype.itemsize, dtype=np.uint8)
    return {**rest, key: raw.view(dtype).reshape(shape)}


@given(data=st.data())
def test_a_spoiled_checkpoint_is_read_or_refused_by_name(tmp_path_factory, data):
    config, stored = golden(*data.draw(st.sampled_from(CASES)))
    if data.draw(st.booleans()):
        config = spoil_config(data, config)
    else:
        stored = spoil_stored(data, stored)
    try:
        shown = read_all(tmp_path_factory.mktemp("spoiled"), config, stored)
    except RefimplError:
        return
    for (dtype, shape), tensor in shown.values():
        assert (tensor.dtype, tensor.shape) == (dtype, shape)
