"""A model's numbers, read from GGUF metadata and completed by its family.

Keys: the GGUF specification's "LLM" section, https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import log, sqrt
from typing import Any, Literal

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from refimpl.errors import FormatError, UnsupportedError
from refimpl.model.families import FAMILIES, Family
from refimpl.model.metadata import Metadata
from refimpl.ops import rope as ropes


@dataclass(frozen=True, kw_only=True)
class Rope:
    """How a layer rotates its queries and keys."""

    base: float
    rotary_dim: int
    """Coordinates of a head that rotate; the rest pass (GPT-NeoX: a quarter)."""
    layout: ropes.Layout
    scaling: ropes.Scaling | None = None

    @cached_property
    def frequencies(self) -> Float64[ndarray, " pairs"]:
        if self.scaling is None:
            return ropes.frequencies(self.rotary_dim, self.base)
        return self.scaling.frequencies(self.rotary_dim, self.base)

    @property
    def magnitude(self) -> float:
        return 1.0 if self.scaling is None else self.scaling.magnitude


@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything `forward` needs to know besides the weights."""

    architecture: str
    vocab_size: int
    context_length: int
    dim: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    """Not dim / n_heads in every family: Qwen 3 and Gemma choose it freely."""
    ffn_dim: int
    norm: Literal["rms", "layer"]
    norm_eps: float
    activation: str
    gated: bool
    parallel_residual: bool
    embed_scale: float
    attn_scale: float
    attn_soft_cap: float | None
    logit_soft_cap: float | None
    windows: tuple[int | None, ...]
    """For each layer: how many positions a query sees, itself included."""
    ropes: tuple[Rope | None, ...]
    n_experts: int = 0
    n_experts_used: int = 0
    expert_ffn_dim: int = 0
    renormalise_experts: bool = True

    def attention(self, layer: int) -> dict[str, Any]:
        """The keyword arguments of `ops.attend` for a layer."""
        return {
            "scale": self.attn_scale,
            "window": self.windows[layer],
            "soft_cap": self.attn_soft_cap,
        }


def config_from_metadata(
    values: Mapping[str, Any],
    vocab_size: int,
    rope_tables: Mapping[str, Float64[ndarray, " pairs"]],
    context_length: int | None = None,
) -> Config:
    """Build the configuration of a GGUF model.

    `rope_tables` are the tensors `rope_freqs`, `rope_factors_long` and `rope_factors_short`, where
    the file has them.  `context_length` overrides the file's; LongRoPE chooses its table by it,
    once, because a cache filled under one table is wrong under the other.
    """
    architecture = values.get("general.architecture")
    if not isinstance(architecture, str) or architecture not in FAMILIES:
        known = ", ".join(sorted(FAMILIES))
        raise UnsupportedError(f"architecture {architecture!r} is not supported (known: {known})")
    family, meta = FAMILIES[architecture], Metadata(values, architecture)
    n_layers = meta.size("block_count", most=1 << 12)
    dim = meta.size("embedding_length")
    n_heads = meta.same_size("attention.head_count")
    n_kv_heads = meta.same_size("attention.head_count_kv", n_heads)
    if n_heads % n_kv_heads:
        raise FormatError(f"{n_heads} query heads cannot share {n_kv_heads} key/value heads evenly")
    head_dim = meta.size("attention.key_length", max(1, dim // n_heads))
    if meta.size("attention.value_length", head_dim) != head_dim:
        raise UnsupportedError("keys and values of different lengths are not supported")
    context = (
        meta.size("context_length", most=1 << 30) if context_length is None else context_length
    )
    windows = layer_windows(meta, family, n_layers)
    experts = meta.size("expert_count", most=1 << 14) if meta.has("expert_count") else 0
    ffn_dim = meta.same_size("feed_forward_length")
    layer_norm = family.norm == "layer"
    return Config(
        architecture=architecture,
        vocab_size=vocab_size,
        context_length=context,
        dim=dim,
        n_layers=n_layers,
        n_heads=n_heads,
        n_kv_heads=n_kv_heads,
        head_dim=head_dim,
        ffn_dim=ffn_dim,
        norm=family.norm,
        norm_eps=meta.number(
            "attention.layer_norm_epsilon" if layer_norm else "attention.layer_norm_rms_epsilon"
        ),
        activation=family.activation,
        gated=family.gated,
        parallel_residual=meta.flag("use_parallel_residual", family.parallel_residual),
        embed_scale=sqrt(dim) if family.scaled_embedding else 1.0,
        attn_scale=attention_scale(meta, family, n_layers, dim, n_heads, head_dim),
        attn_soft_cap=optional(meta, "attn_logit_softcapping"),
        logit_soft_cap=optional(meta, "final_logit_softcapping"),
        windows=windows,
        ropes=layer_ropes(meta, family, head_dim, context, windows, rope_tables),
        n_experts=experts,
        n_experts_used=meta.size("expert_used_count", most=experts) if experts else 0,
        expert_ffn_dim=meta.size("expert_feed_forward_length", ffn_dim) if experts else 0,
        renormalise_experts=meta.flag("expert_weights_norm", True),
    )


def optional(meta: Metadata, key: str) -> float | None:
    """A number whose absence or zero means "off"."""
    return meta.number(key, 0.0) or None


def attention_scale(
    meta: Metadata, family: Family, n_layers: int, dim: int, n_heads: int, head_dim: int
) -> float:
    """The factor on q.k: 1/sqrt(head_dim), but Gemma's largest models divide dim by heads."""
    wide = family.wide_heads_at == n_layers
    return meta.number("attention.scale", (dim / n_heads if wide else head_dim) ** -0.5)


def layer_windows(meta: Metadata, family: Family, n_layers: int) -> tuple[int | None, ...]:
    """Each layer's sliding window, or None where it sees everything."""
    if not meta.has("attention.sliding_window"):
        return (None,) * n_layers
    window = meta.size("attention.sliding_window", most=1 << 30)
    every = family.full_attention_every
    sliding = meta.flags("attention.sliding_window_pattern", n_layers) or tuple(
        every is None or (i + 1) % every != 0 for i in range(n_layers)
    )
    return tuple(window if slides else None for slides in sliding)


def layer_ropes(
    meta: Metadata,
    family: Family,
    head_dim: int,
    context: int,
    windows: tuple[int | None, ...],
    tables: Mapping[str, Float64[ndarray, " pairs"]],
) -> tuple[Rope | None, ...]:
    """Each layer's rotation; Gemma 3's layers with a window keep a small, unscaled base."""
    if family.rope_layout is None:
        return (None,) * len(windows)
    rotary_dim = meta.size("rope.dimension_count", head_dim, most=head_dim)
    if rotary_dim % 2:
        raise FormatError(f"{rotary_dim} rotating coordinates do not form pairs")
    base = meta.number("rope.freq_base", 10000.0)
    if base <= 1:
        raise FormatError(f"a RoPE base of {base} has no falling frequencies")
    scaling = rope_scaling(meta, rotary_dim, context, tables)
    rope = Rope(base=base, rotary_dim=rotary_dim, layout=family.rope_layout, scaling=scaling)
    if family.local_rope_base is None:
        return (rope,) * len(windows)
    local_base = meta.number("rope.freq_base_swa", family.local_rope_base)
    local = Rope(base=local_base, rotary_dim=rotary_dim, layout=family.rope_layout)
    return tuple(rope if window is None else local for window in windows)


def rope_scaling(
    meta: Metadata,
    rotary_dim: int,
    context: int,
    tables: Mapping[str, Float64[ndarray, " pairs"]],
) -> ropes.Scaling | None:
    """What stretches the context: a table of divisors if there is one, else the named method."""
    for name, table in tables.items():
        if table.shape != (rotary_dim // 2,) or not np.all(np.isfinite(table) & (table > 0)):
            raise FormatError(f"{name} should hold {rotary_dim // 2} positive numbers")
    if "rope_freqs" in tables:
        return ropes.Factors(divisors=tuple(tables["rope_freqs"].tolist()))
    kind = meta.text("rope.scaling.type", "none")
    if "rope_factors_long" in tables and "rope_factors_short" in tables:
        return longrope(meta, context, tables)
    if kind == "none":
        return None
    factor = meta.number("rope.scaling.factor", 1.0)
    if factor <= 0:
        raise FormatError(f"a RoPE scaling factor of {factor} is not positive")
    if kind == "linear":
        return ropes.Linear(factor=factor)
    if kind == "yarn":
        return ropes.Yarn(
            factor=factor,
            original_context=meta.size("rope.scaling.original_context_length", most=1 << 30),
            beta_fast=meta.number("rope.scaling.yarn_beta_fast", 32.0),
            beta_slow=meta.number("rope.scaling.yarn_beta_slow", 1.0),
            # GGUF's factor multiplies the paper's, it does not replace it
            attention_factor=meta.number("rope.scaling.attn_factor", 1.0)
            * (1.0 if factor <= 1 else 0.1 * log(factor) + 1.0),
        )
    raise UnsupportedError(f"RoPE scaling {kind!r} is not supported (none, linear, yarn, longrope)")


def longrope(
    meta: Metadata, context: int, tables: Mapping[str, Float64[ndarray, " pairs"]]
) -> ropes.Factors:
    """The long table if the context in use exceeds the trained one, as llama.cpp and vLLM do."""
    original = meta.size("rope.scaling.original_context_length", most=1 << 30)
    table = tables["rope_factors_long" if context > original else "rope_factors_short"]
    stretch = meta.size("context_length", most=1 << 30) / original
    default = ropes.Factors.longrope_magnitude(stretch, original)
    return ropes.Factors(
        divisors=tuple(table.tolist()), magnitude=meta.number("rope.scaling.attn_factor", default)
    )
