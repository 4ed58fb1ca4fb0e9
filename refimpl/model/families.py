"""How the model families differ, as data: one row each, keyed by GGUF's `general.architecture`.

Everything else they share: tokens are embedded, pass through layers of attention and feed-forward
around a residual stream, are normalised, and are mapped to logits.  `forward` reads these facts and
has no branch on a family's name.
"""

from dataclasses import dataclass
from typing import Literal

from refimpl.ops.rope import Layout


@dataclass(frozen=True, kw_only=True)
class Family:
    """What a config file does not say, because the family's code takes it for granted."""

    norm: Literal["rms", "layer"] = "rms"
    rope_layout: Layout | None = "half"
    """None: learned position embeddings (GPT-2)."""
    activation: Literal["silu", "gelu", "gelu_tanh"] = "silu"
    gated: bool = True
    """Feed-forward is activation(gate) * up, not activation(up)."""
    parallel_residual: bool = False
    """Attention and feed-forward both read the layer's input (GPT-NeoX, unless it says not)."""
    scaled_embedding: bool = False
    """Embeddings are multiplied by sqrt(dim)."""
    full_attention_every: int | None = None
    """With a window: every n-th layer still sees everything (Gemma 2: 2, Gemma 3: 6)."""
    local_rope_base: float | None = None
    """Layers with a window rotate with this base instead (Gemma 3), unscaled."""
    wide_heads_at: int | None = None
    """The layer count of the one size whose queries are scaled by (dim / heads)**-0.5 (27B)."""


FAMILIES = {
    # Llama 1-3.x, Mistral and Mixtral share this row: a window or experts show in the metadata.
    "llama": Family(rope_layout="interleaved"),
    "qwen2": Family(),
    "qwen3": Family(),
    "qwen3moe": Family(),
    "phi3": Family(),
    "gemma2": Family(
        activation="gelu_tanh", scaled_embedding=True, full_attention_every=2, wide_heads_at=46
    ),
    "gemma3": Family(
        activation="gelu_tanh",
        scaled_embedding=True,
        full_attention_every=6,
        local_rope_base=10000.0,
        wide_heads_at=62,
    ),
    "gpt2": Family(norm="layer", rope_layout=None, activation="gelu_tanh", gated=False),
    "gptneox": Family(norm="layer", activation="gelu", gated=False, parallel_residual=True),
}
