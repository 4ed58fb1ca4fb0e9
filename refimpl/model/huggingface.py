"""A Hugging Face directory (config.json and safetensors), read as the GGUF file it would become.

This file is config.json under GGUF's keys; `huggingface_tensors` does the same for the weights.

Source: llama.cpp's convert_hf_to_gguf.py for the target keys; each model's reference code for the
meaning of its config.
"""

import json
from collections.abc import Mapping
from math import inf, log
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from refimpl.errors import FormatError, UnsupportedError
from refimpl.formats.packings import SafetensorsView, unpacked
from refimpl.formats.safetensors import SafetensorsDir
from refimpl.model.checkpoint import Checkpoint, LazyTensor
from refimpl.model.huggingface_tensors import named_tensors
from refimpl.ops.rope import Llama3, frequencies

ARCHITECTURES = {  # config.json's model_type -> general.architecture
    "llama": "llama",
    "mistral": "llama",
    "mixtral": "llama",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "qwen3_moe": "qwen3moe",
    "phi3": "phi3",
    "gemma2": "gemma2",
    "gemma3_text": "gemma3",
    "gpt2": "gpt2",
    "gpt_neox": "gptneox",
}

KEYS: tuple[tuple[str, tuple[str, ...]], ...] = (  # GGUF key, config.json's names for it
    ("context_length", ("max_position_embeddings", "n_positions")),
    ("embedding_length", ("hidden_size", "n_embd")),
    ("block_count", ("num_hidden_layers", "n_layer")),
    ("attention.head_count", ("num_attention_heads", "n_head")),
    ("attention.head_count_kv", ("num_key_value_heads",)),
    ("attention.key_length", ("head_dim",)),
    ("attention.value_length", ("head_dim",)),
    ("feed_forward_length", ("intermediate_size", "n_inner")),
    ("expert_feed_forward_length", ("moe_intermediate_size",)),
    ("attention.layer_norm_rms_epsilon", ("rms_norm_eps",)),
    ("attention.layer_norm_epsilon", ("layer_norm_epsilon", "layer_norm_eps")),
    ("attn_logit_softcapping", ("attn_logit_softcapping",)),
    ("final_logit_softcapping", ("final_logit_softcapping",)),
    ("expert_count", ("num_local_experts", "num_experts")),
    ("expert_used_count", ("num_experts_per_tok",)),
    ("expert_weights_norm", ("norm_topk_prob",)),
    ("use_parallel_residual", ("use_parallel_residual",)),
)


def read_huggingface(directory: Path) -> Checkpoint:
    """Open a directory; only names, shapes and the configuration are read."""
    config = read_json(directory / "config.json")
    architecture = ARCHITECTURES.get(str(config.get("model_type")))
    if architecture is None:
        known = ", ".join(sorted(ARCHITECTURES))
        raise UnsupportedError(
            f"{directory}: model {config.get('model_type')!r} is not supported (known: {known})"
        )
    stored = SafetensorsDir.open(directory)
    quantised = section(config, "quantization_config")
    files: SafetensorsView = unpacked(stored, quantised) if quantised else stored
    metadata = metadata_from_config(config, architecture)
    n_heads = whole(config, "n_head" if architecture == "gpt2" else "num_attention_heads")
    n_kv_heads = whole(config, "num_key_value_heads", n_heads)
    tensors = dict(named_tensors(files, architecture, n_heads, n_kv_heads))
    if config.get("tie_word_embeddings", architecture in ("gpt2", "gemma2", "gemma3")):
        tensors.pop("output.weight", None)
    tensors.update(rope_tables(config))
    return Checkpoint(metadata=metadata, tensors=tensors)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file, or a named error."""
    try:
        value = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise FormatError(f"{path} does not exist: is this a Hugging Face model folder?") from None
    except (OSError, ValueError, RecursionError) as error:
        raise FormatError(f"{path} is not readable JSON: {error}") from None
    if not isinstance(value, dict):
        raise FormatError(f"{path} holds no JSON object")
    return value


def metadata_from_config(config: Mapping[str, Any], architecture: str) -> dict[str, Any]:
    """config.json under GGUF's keys."""
    out: dict[str, Any] = {"general.architecture": architecture}

    def put(key: str, value: Any) -> None:
        if value is not None:
            out[f"{architecture}.{key}"] = value

    for key, names in KEYS:
        put(key, next((config[name] for name in names if config.get(name) is not None), None))
    if architecture == "gpt2" and config.get("n_inner") is None:
        put("feed_forward_length", 4 * whole(config, "n_embd"))
    if architecture in ("gemma2", "gemma3") and config.get("query_pre_attn_scalar"):
        put("attention.scale", positive(config, "query_pre_attn_scalar") ** -0.5)
    for key, value in window_keys(config, architecture).items():
        put(key, value)
    for key, value in rope_keys(config, architecture).items():
        put(key, value)
    return out


def positive(values: Mapping[str, Any], key: str, default: float | int | None = None) -> float:
    """A finite number above zero."""
    value = values.get(key)
    value = default if value is None else value
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < inf:
        raise FormatError(f"config.json: {key} is {value!r}, not a positive number")
    return float(value)


def whole(values: Mapping[str, Any], key: str, default: int | None = None) -> int:
    """A whole number above zero, of a size that fits a model."""
    value = positive(values, key, default)
    if value != int(value) or value > 1 << 30:
        raise FormatError(f"config.json: {key} is {value!r}, not a plausible whole number")
    return int(value)


def section(values: Mapping[str, Any], key: str) -> dict[str, Any]:
    """A JSON object within the object; empty where it is absent or null."""
    value = values.get(key)
    if value is not None and not isinstance(value, dict):
        raise FormatError(f"config.json: {key} is {value!r}, not an object")
    return dict(value or {})


def window_keys(config: Mapping[str, Any], architecture: str) -> dict[str, Any]:
    """The sliding window, and which layers have it where that is not the family's habit."""
    window = config.get("sliding_window")
    if not window or not config.get("use_sliding_window", True):
        return {}
    keys = {"attention.sliding_window": window}
    kinds = config.get("layer_types")
    if kinds is None and architecture in ("qwen2", "qwen3", "qwen3moe"):
        first = whole(config, "max_window_layers") if config.get("max_window_layers") else 0
        kinds = [SLIDING if i >= first else "" for i in range(whole(config, "num_hidden_layers"))]
    if kinds is None:
        return keys
    if not isinstance(kinds, list):
        raise FormatError(f"config.json: layer_types is {kinds!r}, not a list")
    return {**keys, "attention.sliding_window_pattern": [kind == SLIDING for kind in kinds]}


SLIDING = "sliding_attention"


def rope_parameters(config: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(parameters, those of layers with a window): transformers 5 keeps them in `rope_parameters`,
    before that they were `rope_theta`, `rope_scaling` and `rope_local_base_freq`."""
    given = section(config, "rope_parameters")
    if "full_attention" in given:
        return section(given, "full_attention"), section(given, "sliding_attention")
    merged = {**section(config, "rope_scaling"), **given}
    for key in ("rope_theta", "partial_rotary_factor", "original_max_position_embeddings"):
        if config.get(key) is not None:
            merged.setdefault(key, config[key])
    if "rotary_emb_base" in config:  # GPT-NeoX's own names
        merged.setdefault("rope_theta", config["rotary_emb_base"])
        merged.setdefault("partial_rotary_factor", config.get("rotary_pct", 1.0))
    local = config.get("rope_local_base_freq")
    return merged, {} if local is None else {"rope_theta": local}


def rope_kind(rope: Mapping[str, Any]) -> str:
    """The method's name; "su" is LongRoPE's first one."""
    kind = rope.get("rope_type", rope.get("type", "default"))
    return "longrope" if kind == "su" else str(kind)


def rope_keys(config: Mapping[str, Any], architecture: str) -> dict[str, Any]:
    """RoPE's parameters; a method that rescales as the text grows is refused."""
    if architecture == "gpt2":
        return {}
    rope, local = rope_parameters(config)
    rotating = positive(rope, "partial_rotary_factor", 1.0)
    out: dict[str, Any] = {
        "rope.freq_base": positive(rope, "rope_theta", 10000.0),
        "rope.dimension_count": int(head_dim(config) * rotating),
    }
    if local:
        out["rope.freq_base_swa"] = positive(local, "rope_theta", 10000.0)
    kind = rope_kind(rope)
    scaling = {"linear": linear_keys, "yarn": yarn_keys, "longrope": longrope_keys}.get(kind)
    if scaling is not None:
        return {**out, "rope.scaling.type": kind, **scaling(config, rope)}
    if kind not in ("default", "llama3"):
        raise UnsupportedError(
            f"rope_type {kind!r} is not supported (default, linear, yarn, llama3, longrope); "
            "methods that rescale with the text's length would make a cache wrong"
        )
    return out


def linear_keys(config: Mapping[str, Any], rope: Mapping[str, Any]) -> dict[str, Any]:
    return {"rope.scaling.factor": positive(rope, "factor")}


def yarn_keys(config: Mapping[str, Any], rope: Mapping[str, Any]) -> dict[str, Any]:
    context = whole(config, "max_position_embeddings")
    original = whole(rope, "original_max_position_embeddings", context)
    factor = positive(rope, "factor", context / original)
    out: dict[str, Any] = {
        "rope.scaling.factor": factor,
        "rope.scaling.original_context_length": original,
        "rope.scaling.yarn_beta_fast": positive(rope, "beta_fast", 32.0),
        "rope.scaling.yarn_beta_slow": positive(rope, "beta_slow", 1.0),
    }
    if rope.get("attention_factor") is not None:  # GGUF's multiplies the paper's
        paper = 1.0 if factor <= 1 else 0.1 * log(factor) + 1.0
        out["rope.scaling.attn_factor"] = positive(rope, "attention_factor") / paper
    return out


def longrope_keys(config: Mapping[str, Any], rope: Mapping[str, Any]) -> dict[str, Any]:
    original = whole(rope, "original_max_position_embeddings")
    out: dict[str, Any] = {"rope.scaling.original_context_length": original}
    if rope.get("attention_factor") is not None:
        out["rope.scaling.attn_factor"] = positive(rope, "attention_factor")
    return out


def head_dim(config: Mapping[str, Any]) -> int:
    if config.get("head_dim") is not None:
        return whole(config, "head_dim")
    return max(1, whole(config, "hidden_size") // whole(config, "num_attention_heads"))


def rope_tables(config: Mapping[str, Any]) -> dict[str, LazyTensor]:
    """Llama 3's scaling as divisors of the plain frequencies; LongRoPE's two tables as they are."""
    rope, _ = rope_parameters(config)
    if rope_kind(rope) == "llama3":
        scaling = Llama3(
            factor=positive(rope, "factor"),
            low_freq_factor=positive(rope, "low_freq_factor"),
            high_freq_factor=positive(rope, "high_freq_factor"),
            original_context=whole(rope, "original_max_position_embeddings"),
        )
        dim, base = head_dim(config), positive(rope, "rope_theta", 10000.0)
        return {"rope_freqs.weight": table(frequencies(dim, base) / scaling.frequencies(dim, base))}
    if rope_kind(rope) == "longrope":
        names = ("long_factor", "short_factor")
        return {f"rope_factors_{n.split('_')[0]}.weight": table(numbers(rope, n)) for n in names}
    return {}


def numbers(values: Mapping[str, Any], key: str) -> Float64[ndarray, " n"]:
    """A list of numbers as an array."""
    try:
        return np.asarray(values.get(key), dtype=np.float64).reshape(-1)
    except (TypeError, ValueError):
        raise FormatError(f"config.json: {key} is not a list of numbers") from None


def table(values: Float64[ndarray, " n"]) -> LazyTensor:
    return LazyTensor(shape=values.shape, load=lambda: values)
