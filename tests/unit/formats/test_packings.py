"""Quantised checkpoints: packed by the definition, they come back as the weights they stand for.

Packing here is the plainest one: every value becomes a row of bits, and the bits become words.
"""

import json
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refimpl.formats.packings import PackingError, unpacked
from refimpl.formats.packings.affine import CHUNK, dequantize
from refimpl.formats.packings.bitsandbytes import ONE_127TH
from refimpl.formats.packings.fields import unpack_eights, unpack_words
from refimpl.formats.packings.mxfp4 import E2M1
from refimpl.formats.quants.bits import unpack_in_order
from refimpl.formats.safetensors import SafetensorsDir, write_safetensors

SEEDS = st.integers(0, 2**32 - 1).map(np.random.default_rng)


def pack(values, bits):
    """[rows, n] -> int32 [rows, words], the last word filled up with zeros."""
    string = (values[:, :, None] >> np.arange(bits) & 1).reshape(len(values), -1)
    string = np.pad(string, ((0, 0), (0, -string.shape[1] % 32)))
    return np.packbits(string.astype(np.uint8), axis=1, bitorder="little").view("<i4")


def scales(rng, *shape):
    return (rng.random(shape) / 8 + 1e-3).astype(np.float16)


def times(q, scale):
    return (q.astype(np.float64) * scale.astype(np.float64)).astype(np.float32)


# One writer a scheme: (stored parts by suffix, weights [out, in]); `n` says how large.


def gptq(rng, n, bits, less=1, act_order=False):
    n_out, n_in, groups = 32 * n, 64, 2
    q = rng.integers(0, 1 << bits, (n_in, n_out))
    zero = rng.integers(0, 1 << bits, (groups, n_out))
    scale = scales(rng, groups, n_out)
    g_idx = np.arange(n_in) * groups // n_in
    if act_order:
        g_idx = rng.permutation(g_idx)
    stored = {
        ".qweight": pack(q.T, bits).T,
        ".qzeros": pack((zero - less) % (1 << bits), bits),
        ".scales": scale,
        ".g_idx": g_idx.astype(np.int32),
    }
    return stored, times(q - zero[g_idx], scale[g_idx]).T


def awq(rng, n):
    n_out, n_in = 8 * n, 64
    q, zero = rng.integers(0, 16, (n_in, n_out)), rng.integers(0, 16, (2, n_out))
    scale = scales(rng, 2, n_out)
    group = np.arange(n_in) // 32
    stored = {".qweight": pack_gemm(q), ".qzeros": pack_gemm(zero), ".scales": scale}
    return stored, times(q - zero[group], scale[group]).T


def pack_gemm(values):
    order = np.array([0, 2, 4, 6, 1, 3, 5, 7])
    return pack(values.reshape(len(values), -1, 8)[:, :, order].reshape(values.shape), 4)


def fp8(rng, n, dtype):
    weight = rng.standard_normal((8 * n + 3, 64)).astype(dtype)
    scale = scales(rng, n + 1, 4).astype(np.float32)
    rows, columns = np.arange(8 * n + 3) // 8, np.arange(64) // 16
    return {".weight": weight, ".weight_scale_inv": scale}, times(weight, scale[rows][:, columns])


def fp8_ue8m0(rng, n):
    stored, _ = fp8(rng, n, ml_dtypes.float8_e4m3fn)
    power = np.exp2(rng.integers(-20, 3, (n + 1, 4)))
    rows, columns = np.arange(8 * n + 3) // 8, np.arange(64) // 16
    stored[".weight_scale_inv"] = power.astype(ml_dtypes.float8_e8m0fnu)
    return stored, times(stored[".weight"], power[rows][:, columns])


def fbgemm(rng, n):
    weight = rng.standard_normal((8 * n, 64)).astype(ml_dtypes.float8_e4m3fn)
    scale = scales(rng, 8 * n, 1).astype(np.float32)
    return {".weight": weight, ".weight_scale": scale}, times(weight, scale)


def compressed_int8(rng, n):
    q = rng.integers(-128, 128, (8 * n, 64)).astype(np.int8)
    scale = scales(rng, 8 * n, 1).astype(ml_dtypes.bfloat16)
    return {".weight": q, ".weight_scale": scale}, times(q, scale)


def compressed_int4(rng, n):
    n_out, n_in = 5 * n, 64
    q, zero = rng.integers(-8, 8, (n_out, n_in)), rng.integers(-8, 8, (n_out, 4))
    scale = scales(rng, n_out, 4)
    group = np.arange(n_in) // 16
    stored = {
        ".weight_packed": pack(q + 8, 4),
        ".weight_scale": scale,
        ".weight_zero_point": pack((zero + 8).T, 4).T,
        ".weight_shape": np.array([n_out, n_in]),
    }
    return stored, times(q - zero[:, group], scale[:, group])


def int8(rng, n):
    q = rng.integers(-127, 128, (8 * n, 64)).astype(np.int8)
    scb = rng.random(8 * n).astype(np.float32)
    return {".weight": q, ".SCB": scb}, (q.astype(np.float32) * scb[:, None]) * ONE_127TH


def nf4(rng, n):
    table = np.linspace(-1, 1, 16, dtype=np.float32)
    q = rng.integers(0, 16, (4 * n, 64)).astype(np.uint8)
    absmax = rng.random(4 * n * 64 // 32).astype(np.float32)
    state = {"quant_type": "nf4", "blocksize": 32, "dtype": "bfloat16", "shape": q.shape}
    stored = {
        ".weight": (q.reshape(-1, 2)[:, 0] << 4 | q.reshape(-1, 2)[:, 1])[:, None],
        ".weight.absmax": absmax,
        ".weight.quant_map": table,
        ".weight.quant_state.bitsandbytes__nf4": np.frombuffer(
            json.dumps(state).encode(), np.uint8
        ),
    }
    return stored, (table[q].reshape(-1, 32) * absmax[:, None]).reshape(q.shape)


def mxfp4(rng, n):
    q = rng.integers(0, 16, (8 * n, 64)).astype(np.uint8)
    power = rng.integers(120, 130, (8 * n, 2)).astype(np.uint8)
    pairs = q.reshape(1, 8 * n, 2, 16, 2)
    stored = {"_blocks": pairs[..., 0] | pairs[..., 1] << 4, "_scales": power[None]}
    weights = E2M1[q].reshape(-1, 2, 32) * np.exp2(power - 127.0)[:, :, None].astype(np.float32)
    return stored, weights.reshape(q.shape).T[None]  # [expert, in, out]


def group(**weights):
    return {"config_groups": {"g": {"targets": ["Linear"], "weights": weights}}}


INT4 = group(num_bits=4, type="int", strategy="group", group_size=16, symmetric=False)
INT8 = group(num_bits=8, type="int", strategy="channel")
GPTQ = {"quant_method": "gptq", "group_size": 32}
CT = {"quant_method": "compressed-tensors", "ignore": ["lm_head", "re:.*norm"]}
BLOCKS = {"quant_method": "fp8", "weight_block_size": [8, 16]}

SCHEMES = {
    **{f"gptq {b}": ({**GPTQ, "bits": b}, lambda rng, n, b=b: gptq(rng, n, b)) for b in (2, 3, 4)},
    "gptq 8": ({**GPTQ, "bits": 8, "desc_act": True}, lambda r, n: gptq(r, n, 8, act_order=True)),
    "gptq v2": (
        {**GPTQ, "bits": 4, "checkpoint_format": "gptq_v2"},
        lambda rng, n: gptq(rng, n, 4, less=0, act_order=True),
    ),
    "awq": ({"quant_method": "awq", "bits": 4, "group_size": 32, "version": "GEMM"}, awq),
    "E4M3": (BLOCKS, lambda rng, n: fp8(rng, n, ml_dtypes.float8_e4m3fn)),
    "E5M2": (BLOCKS, lambda rng, n: fp8(rng, n, ml_dtypes.float8_e5m2)),
    "UE8M0": (BLOCKS, fp8_ue8m0),
    "fbgemm": ({"quant_method": "fbgemm_fp8"}, fbgemm),
    "int-quantized": ({**CT, "format": "int-quantized", **INT8}, compressed_int8),
    "pack-quantized": ({**CT, "format": "pack-quantized", **INT4}, compressed_int4),
    "bitsandbytes int8": ({"quant_method": "bitsandbytes", "load_in_8bit": True}, int8),
    "bitsandbytes nf4": ({"load_in_4bit": True}, nf4),
    "mxfp4": ({"quant_method": "mxfp4"}, mxfp4),
}
NAMES = ("self_attn.q_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.down_proj")


def same(a, b):
    assert a.dtype == b.dtype
    assert a.shape == b.shape
    assert a.tobytes() == b.tobytes()


@given(SEEDS, st.sampled_from([2, 3, 4, 8]), st.integers(1, 5), st.integers(1, 3))
def test_values_survive_packing_into_words(rng, bits, rows, n):
    values = rng.integers(0, 1 << bits, (rows, 32 * n)).astype(np.uint8)
    same(unpack_words(pack(values, bits), bits), values)


@given(SEEDS, st.sampled_from([1, 2, 4]), st.integers(1, 5))
def test_eights_of_values_equal_the_table_where_both_apply(rng, bits, rows):
    packed = rng.integers(0, 256, (rows, 12)).astype(np.uint8)
    same(unpack_eights(packed, bits), unpack_in_order(packed, bits))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_llama_seen_through_the_view_is_the_dequantised_llama(tmp_path, scheme):
    config, writer = SCHEMES[scheme]
    rng = np.random.default_rng(0)
    plain = {
        "model.embed_tokens.weight": rng.standard_normal((40, 64)).astype(ml_dtypes.bfloat16),
        "model.norm.weight": np.ones(64, np.float32),
        "lm_head.weight": rng.standard_normal((40, 64)).astype(np.float16),
    }
    stored = dict(plain)
    for layer in range(2):
        norm = f"model.layers.{layer}.input_layernorm.weight"
        stored[norm] = plain[norm] = rng.random(64).astype(np.float32)
        for name in NAMES:
            module = f"model.layers.{layer}.{name}"
            parts, weights = writer(rng, 2)
            stored |= {module + suffix: tensor for suffix, tensor in parts.items()}
            plain[module + ("" if scheme == "mxfp4" else ".weight")] = weights
    write_safetensors(tmp_path / "model.safetensors", stored)
    (tmp_path / "config.json").write_text(json.dumps({"quantization_config": config}))
    read = json.loads((tmp_path / "config.json").read_text())
    view = unpacked(SafetensorsDir.open(tmp_path), read["quantization_config"])
    assert sorted(view.names) == sorted(plain)
    for name, tensor in plain.items():
        assert view.info(name) == (tensor.dtype, tensor.shape)
        same(view.tensor(name), np.ascontiguousarray(tensor))
    with pytest.raises(PackingError, match="names"):
        view.tensor("model.layers.9.mlp.up_proj.weight")


@pytest.mark.parametrize("scheme", SCHEMES)
@given(rng=SEEDS, n=st.integers(1, 3))
def test_packed_by_the_definition_and_read_back(tmp_path_factory, scheme, rng, n):
    config, writer = SCHEMES[scheme]
    parts, weights = writer(rng, n)
    path = tmp_path_factory.mktemp("round-trip") / "model.safetensors"
    write_safetensors(path, {f"m{suffix}": tensor for suffix, tensor in parts.items()})
    view = unpacked(SafetensorsDir.open(path), config)
    same(view.tensor(view.names[0]), np.ascontiguousarray(weights))


def test_a_matrix_taken_in_chunks_equals_one_taken_whole():
    rng = np.random.default_rng(1)
    n_out, n_in = 70, CHUNK // 32
    q = rng.integers(-128, 128, (n_out, n_in)).astype(np.int8)
    scale = rng.random((n_out, 1)).astype(np.float32)
    same(dequantize(q, scale, block=(1, n_in)), times(q, scale))


@pytest.mark.parametrize("bits, zero", [(2, 2), (3, 4), (4, 8), (8, 128)])
def test_a_symmetric_gptq_v2_file_under_the_older_name_is_refused(tmp_path, bits, zero):
    stored, _weights = gptq(np.random.default_rng(0), 1, bits)
    stored[".qzeros"] = pack(np.full((2, 32), zero), bits)
    write_safetensors(tmp_path / "model.safetensors", {f"m{k}": v for k, v in stored.items()})
    files = SafetensorsDir.open(tmp_path)
    config = {**GPTQ, "bits": bits, "sym": True}
    with pytest.raises(PackingError, match="gptq_v2"):
        unpacked(files, config).tensor("m.weight")
    unpacked(files, {**config, "checkpoint_format": "gptq_v2"}).tensor("m.weight")
    unpacked(files, {**config, "sym": False}).tensor("m.weight")


def test_nf4s_table_is_qloras():
    """Appendix E of the paper, against the table in a file that bitsandbytes wrote."""

    golden = Path(__file__).resolve().parents[3] / "golden/packings/bitsandbytes.safetensors"
    files = SafetensorsDir.open(golden)
    (name,) = (n for n in files.names if n.startswith("nf4/") and n.endswith(".quant_map"))
    paper = [
        *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453),
        *(-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0),
        *(0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224),
        *(0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
    ]
    np.testing.assert_array_equal(files.tensor(name), np.array(paper, np.float32))


@pytest.mark.parametrize("scheme", ["E4M3", "fbgemm", "int-quantized", "pack-quantized"])
def test_scales_of_activations_and_caches_are_not_shown(tmp_path, scheme):
    config, writer = SCHEMES[scheme]
    parts, _ = writer(np.random.default_rng(0), 1)
    stored = {f"attn.q_proj{suffix}": tensor for suffix, tensor in parts.items()}
    for name in ("attn.q_proj.input_scale", "attn.k_scale", "attn.v_scale"):
        stored[name] = np.ones(1, np.float32)
    write_safetensors(tmp_path / "model.safetensors", {**stored, "bias": np.ones(3, np.float32)})
    assert set(unpacked(SafetensorsDir.open(tmp_path), config).names) == {
        "attn.q_proj.weight",
        "bias",
    }


GROUPS = {
    "config_groups": {
        "all": {"targets": ["Linear"], "weights": {"num_bits": 8, "strategy": "tensor"}},
        "mlp": {"targets": ["re:.*mlp"], "weights": {"num_bits": 8, "strategy": "channel"}},
        "one": {"targets": ["a.mlp.x"], "weights": {"num_bits": 8, "strategy": "block",
                                                    "block_structure": [2, 2]}},
    }
}  # fmt: skip


@pytest.mark.parametrize(
    "module, scale", [("a.attn", (1,)), ("a.mlp.y", (4, 1)), ("a.mlp.x", (2, 2))]
)
def test_a_name_goes_before_a_pattern_and_a_pattern_before_a_class(tmp_path, module, scale):
    stored = {f"{module}.weight": np.ones((4, 4), np.int8)}
    stored[f"{module}.weight_scale"] = np.ones(scale, np.float32)
    write_safetensors(tmp_path / "model.safetensors", stored)
    config = {"quant_method": "compressed-tensors", "format": "int-quantized", **GROUPS}
    view = unpacked(SafetensorsDir.open(tmp_path), config)
    same(view.tensor(f"{module}.weight"), np.ones((4, 4), np.float32))
    wrong = {**GROUPS["config_groups"]}
    wrong = {"config_groups": {"all": wrong["all"], "one": {**wrong["one"], "targets": [module]}}}
    if scale != (2, 2):
        with pytest.raises(PackingError, match="weight_scale"):
            unpacked(SafetensorsDir.open(tmp_path), {**config, **wrong})
