"""The places where loaders go wrong, each pinned by a test."""

from pathlib import Path

import numpy as np
import pytest

from refimpl.formats.gguf import GGUF
from refimpl.formats.safetensors import SafetensorsDir
from refimpl.model.cache import attend_to_itself
from refimpl.model.convert import convert
from refimpl.model.forward import forward
from refimpl.model.huggingface_tensors import gguf_name, interleave_rotary
from refimpl.model.load import build_model, load, open_checkpoint
from refimpl.ops.numerics import F64
from refimpl.ops.reference import Reference
from refimpl.oracle.models import random_checkpoint

FAMILIES = Path(__file__).parents[3] / "golden" / "families"
TOKENS = np.arange(3, 15)


def logits(model):
    ops = Reference(to=F64)
    positions = np.arange(len(TOKENS))
    return forward(
        model, TOKENS, positions, attend_to_itself(model.config, positions, ops), ops=ops
    )


def converted(name, folder, type_name=None):
    checkpoint = open_checkpoint(FAMILIES / name)
    convert(checkpoint, {}, folder / "model.gguf", type_name)
    return folder / "model.gguf"


@pytest.mark.parametrize("name", sorted(p.name for p in FAMILIES.iterdir() if p.is_dir()))
def test_a_converted_checkpoint_computes_the_same(name, tmp_path):
    folder = logits(load(FAMILIES / name, context_length=16).model)
    file = logits(load(converted(name, tmp_path, "F32"), context_length=16).model)
    # what the file rounds to float32: epsilons and tables, never a float16 weight
    assert np.abs(folder - file).max() <= 2e-6 * np.abs(folder).max()


@pytest.mark.parametrize("name", ["llama2-gqa", "mistral", "mixtral", "llama-biases"])
def test_llama_ggufs_carry_permuted_queries_and_keys(name, tmp_path):
    path = converted(name, tmp_path, "F32")
    q = GGUF.open(path).tensor("blk.0.attn_q.weight")
    original = SafetensorsDir.open(FAMILIES / name).tensor("model.layers.0.self_attn.q_proj.weight")
    assert not np.array_equal(q, original)
    assert np.array_equal(q, interleave_rotary(original, n_heads=4))
    # read without the permutation, the model is another one
    right = load(path).model
    wrong = build_model(open_checkpoint(FAMILIES / name))
    layer = {**wrong.layers[0], "attn_q.weight": original.astype(np.float64)}
    wrong = type(wrong)(config=wrong.config, top=wrong.top, layers=(layer, wrong.layers[1]))
    assert np.abs(logits(wrong) - logits(right)).max() > 1e-3


@pytest.mark.parametrize("name", ["gemma2", "gemma3"])
def test_gemma_ggufs_carry_the_norms_plus_one(name, tmp_path):
    weights = SafetensorsDir.open(FAMILIES / name)
    file = GGUF.open(converted(name, tmp_path, "F32"))
    for i in range(2):
        stored = weights.tensor(f"model.layers.{i}.post_attention_layernorm.weight")
        assert np.array_equal(
            file.tensor(f"blk.{i}.post_attention_norm.weight"), stored.astype(np.float32) + 1
        )
        assert f"blk.{i}.ffn_norm.weight" in file.tensors  # from pre_feedforward_layernorm
    assert gguf_name("model.layers.0.post_attention_layernorm.weight", "llama")[0].endswith(
        "ffn_norm.weight"
    )


def test_tied_models_have_no_output_and_use_their_embedding():
    tied = build_model(random_checkpoint("qwen3", 0))
    assert "output.weight" not in tied.top
    untied = {**tied.top, "output.weight": tied.top["token_embd.weight"]}
    same = type(tied)(config=tied.config, top=untied, layers=tied.layers)
    assert np.array_equal(logits(tied), logits(same))


def test_llama_3_frequencies_arrive_as_a_table(tmp_path):
    file = GGUF.open(converted("llama3-scaled", tmp_path, "F32"))
    table = file.tensor("rope_freqs.weight")
    assert table[0] == 1.0  # the fastest pair is untouched
    assert table[-1] == pytest.approx(8.0)  # the slowest is eight times slower
    assert "llama.rope.scaling.type" not in file.metadata


@pytest.mark.parametrize("name", ["llama-wide-heads", "qwen3", "gemma2"])
def test_head_dim_is_not_dim_over_heads(name, tmp_path):
    config = load(FAMILIES / name).config
    assert config.head_dim != config.dim // config.n_heads
    assert load(converted(name, tmp_path, "F32")).config.head_dim == config.head_dim


def test_the_conversion_keeps_every_bit_of_float16_weights(tmp_path):
    """Law 30: safetensors -> GGUF, and back through the inverse of each rearrangement."""
    file = GGUF.open(converted("llama2-gqa", tmp_path))
    source = SafetensorsDir.open(FAMILIES / "llama2-gqa")
    for name in source.names:
        target, _ = gguf_name(name, "llama")
        stored, original = file.tensor(target), source.tensor(name)
        if ".attn_q." in target or ".attn_k." in target:
            heads = 4 if ".attn_q." in target else 2
            d = stored.shape[0] // heads
            pairs = stored.reshape(heads, d // 2, 2, -1)
            stored = pairs.swapaxes(1, 2).reshape(stored.shape)
        assert np.array_equal(stored.astype(np.float32), original.astype(np.float32))
        assert stored.ndim == 1 or stored.dtype == np.float16


@pytest.mark.parametrize("type_name, worst", [("F16", 0.0), ("BF16", 2**-8), ("Q8_0", 2**-7)])
def test_other_types_stay_within_their_step(type_name, worst, tmp_path):
    path = converted("llama2-gqa", tmp_path, type_name)
    exact = open_checkpoint(FAMILIES / "llama2-gqa").tensors["blk.0.ffn_up.weight"].load()
    stored = np.asarray(GGUF.open(path).tensor("blk.0.ffn_up.weight")[...], dtype=np.float64)
    gap = np.abs(stored - exact.astype(np.float64)).max()
    assert gap <= worst * np.abs(exact).max()
