"""Random tiny configurations of every family, for transformers."""

from collections.abc import Callable
from typing import Any

import transformers as tf

COMMON = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 97,
    "max_position_embeddings": 64,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}


def rope(kind: str, **parameters: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 10000.0, **parameters}}


LLAMA3 = rope(
    "llama3",
    factor=8.0,
    low_freq_factor=1.0,
    high_freq_factor=4.0,
    original_max_position_embeddings=32,
)
YARN = rope("yarn", factor=4.0, original_max_position_embeddings=16)
LONG = rope(
    "longrope",
    short_factor=[1.0, 1.5, 2.0, 3.0],
    long_factor=[2.0, 3.0, 4.0, 8.0],
    original_max_position_embeddings=16,
)

FAMILIES: dict[str, Callable[[], Any]] = {
    "llama1": lambda: tf.LlamaConfig(**{**COMMON, "num_key_value_heads": 4}),
    "llama2-gqa": lambda: tf.LlamaConfig(**COMMON),
    "llama3-scaled": lambda: tf.LlamaConfig(**COMMON, **LLAMA3, tie_word_embeddings=True),
    "llama-biases": lambda: tf.LlamaConfig(**COMMON, attention_bias=True, mlp_bias=True),
    "llama-wide-heads": lambda: tf.LlamaConfig(**COMMON, head_dim=12),
    "llama-linear": lambda: tf.LlamaConfig(**COMMON, **rope("linear", factor=4.0)),
    "mistral-window": lambda: tf.MistralConfig(**COMMON, sliding_window=5),
    "mistral": lambda: tf.MistralConfig(**COMMON, sliding_window=None),
    "qwen2": lambda: tf.Qwen2Config(**COMMON),
    "qwen2-yarn": lambda: tf.Qwen2Config(**COMMON, **YARN),
    "qwen2-window": lambda: tf.Qwen2Config(
        **COMMON, use_sliding_window=True, sliding_window=5, max_window_layers=1
    ),
    "qwen3": lambda: tf.Qwen3Config(**COMMON, head_dim=16),
    "gemma2": lambda: tf.Gemma2Config(
        **COMMON, head_dim=16, sliding_window=5, query_pre_attn_scalar=24
    ),
    "gemma3": lambda: tf.Gemma3TextConfig(
        **{**COMMON, "num_hidden_layers": 7},
        head_dim=16,
        sliding_window=5,
        query_pre_attn_scalar=16,
        rope_parameters={
            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
        },
    ),
    "phi3": lambda: tf.Phi3Config(**COMMON, sliding_window=5),
    "phi3-longrope": lambda: tf.Phi3Config(
        **COMMON, **LONG, original_max_position_embeddings=16, sliding_window=None
    ),
    "gpt2": lambda: tf.GPT2Config(
        n_embd=32,
        n_layer=2,
        n_head=4,
        vocab_size=97,
        n_positions=64,
        bos_token_id=1,
        eos_token_id=2,
    ),
    "gpt-neox": lambda: tf.GPTNeoXConfig(
        **{k: v for k, v in COMMON.items() if k != "num_key_value_heads"}
    ),
    "gpt-neox-sequential": lambda: tf.GPTNeoXConfig(
        **{k: v for k, v in COMMON.items() if k != "num_key_value_heads"},
        use_parallel_residual=False,
        rope_parameters={"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5},
    ),
    "mixtral": lambda: tf.MixtralConfig(**COMMON, num_local_experts=4, num_experts_per_tok=2),
    "qwen3-moe": lambda: tf.Qwen3MoeConfig(
        **COMMON,
        head_dim=16,
        num_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=24,
        norm_topk_prob=True,
    ),
    "qwen3-moe-mixed": lambda: tf.Qwen3MoeConfig(
        **COMMON,
        head_dim=16,
        num_experts=4,
        num_experts_per_tok=3,
        moe_intermediate_size=24,
        norm_topk_prob=False,
        mlp_only_layers=[0],
    ),
}
