"""Small random models of every family: specimens for laws, conformance and examples.

A specimen is a checkpoint like any other, metadata and tensors under GGUF names, so it takes the
same path into the engine as a real one.  Weights are float32, and large: logits differ widely.

>>> model = random_model("qwen3", seed=1)
>>> model.config.n_layers, model.layers[0]["attn_q.weight"].shape
(2, (32, 16))
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from refimpl.model.checkpoint import Checkpoint, LazyTensor
from refimpl.model.config import Config
from refimpl.model.forward import Model
from refimpl.model.load import build_model, read_config
from refimpl.model.shapes import required

SIZES: Mapping[str, Any] = {
    "context_length": 64,
    "embedding_length": 16,
    "block_count": 2,
    "feed_forward_length": 24,
    "attention.head_count": 4,
    "attention.head_count_kv": 2,
    "attention.key_length": 8,
    "attention.value_length": 8,
    "attention.layer_norm_rms_epsilon": 1e-5,
    "attention.layer_norm_epsilon": 1e-5,
}

EXTRAS: Mapping[str, Mapping[str, Any]] = {  # what makes a family what it is
    "llama": {},
    "qwen2": {},
    "qwen3": {},
    "qwen3moe": {"expert_count": 4, "expert_used_count": 2, "expert_feed_forward_length": 12},
    "phi3": {"attention.sliding_window": 7},
    "gemma2": {
        "attention.sliding_window": 5,
        "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0,
    },
    "gemma3": {"attention.sliding_window": 5, "block_count": 6},
    "gpt2": {"attention.head_count_kv": 4},
    "gptneox": {"attention.head_count_kv": 4, "rope.dimension_count": 4},
}

OPTIONAL: Mapping[str, tuple[str, ...]] = {  # tensors a family has and `required` only checks
    "qwen2": ("attn_q.bias", "attn_k.bias", "attn_v.bias"),
    "qwen3": ("attn_q_norm.weight", "attn_k_norm.weight"),
    "qwen3moe": ("attn_q_norm.weight", "attn_k_norm.weight", "ffn_gate_inp.weight"),
    "phi3": ("attn_qkv.weight",),
    "gemma2": ("post_attention_norm.weight", "post_ffw_norm.weight"),
    "gemma3": (
        "post_attention_norm.weight",
        "post_ffw_norm.weight",
        "attn_q_norm.weight",
        "attn_k_norm.weight",
    ),
    "gpt2": ("attn_qkv.weight", "attn_qkv.bias", "attn_norm.bias", "ffn_norm.bias", "ffn_up.bias"),
    "gptneox": ("attn_qkv.weight", "attn_qkv.bias", "attn_norm.bias", "ffn_norm.bias"),
}

TIED = ("gemma2", "gemma3", "gpt2", "qwen3")


def random_checkpoint(
    architecture: str, seed: int, vocab_size: int = 40, **sizes: Any
) -> Checkpoint:
    """A checkpoint of the given family; `sizes` override `SIZES` (dots as double underscores)."""
    values = {**SIZES, **EXTRAS[architecture]}
    values |= {key.replace("__", "."): value for key, value in sizes.items()}
    metadata = {f"{architecture}.{key}": value for key, value in values.items()}
    metadata["general.architecture"] = architecture
    placeholder = LazyTensor(shape=(vocab_size, 0), load=lambda: np.empty(0))
    announced = {"token_embd.weight": placeholder}
    config = read_config(Checkpoint(metadata=metadata, tensors=announced))
    for i in range(config.n_layers):
        announced |= {f"blk.{i}.{name}": placeholder for name in OPTIONAL.get(architecture, ())}
    if architecture not in TIED:
        announced["output.weight"] = placeholder
    return Checkpoint(metadata=metadata, tensors=dict(drawn(config, announced, seed)))


def drawn(
    config: Config, announced: Mapping[str, LazyTensor], seed: int
) -> list[tuple[str, LazyTensor]]:
    """Every required tensor, filled at random: norms around 1, matrices that keep the scale."""
    rng = np.random.default_rng(seed)
    out = []
    for name, shape in required(config, announced):
        spread = 0.2 if len(shape) == 1 else 1.5 / shape[-1] ** 0.5
        centre = 1.0 if len(shape) == 1 and name.endswith("weight") else 0.0
        values = (centre + spread * rng.standard_normal(shape)).astype(np.float32)
        out.append((name, held(values)))
    return out


def held(values: Float32[ndarray, "..."]) -> LazyTensor:
    return LazyTensor(shape=values.shape, load=lambda: values)


def random_model(architecture: str, seed: int, vocab_size: int = 40, **sizes: Any) -> Model:
    """The same, loaded."""
    return build_model(random_checkpoint(architecture, seed, vocab_size, **sizes))
