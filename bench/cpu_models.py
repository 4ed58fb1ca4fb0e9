"""Models to measure speed with: real shapes, random blocks, no words.

Speed depends on shapes and block types, not on what the weights say.  So a block is random bytes
with small, finite scales, and a tensor of a type and shape is made once and used for every layer.
Types are given to tensors by llama.cpp's own mixtures.

>>> SHAPES["15M"].dim
288
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from refimpl.formats.gguf.writer import Deferred, write_gguf
from refimpl.formats.quants import BlockType, Packed, block_type
from refimpl.formats.quants.mixture_rules import ModelFacts
from refimpl.formats.quants.mixtures import file_type, mixture


@dataclass(frozen=True, kw_only=True)
class Shapes:
    dim: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    vocab: int = 32000
    context: int = 4096
    rope_base: float = 500000.0


SHAPES = {
    "8B": Shapes(dim=4096, layers=32, heads=32, kv_heads=8, head_dim=128, ffn=14336),
    "1B": Shapes(dim=2048, layers=16, heads=32, kv_heads=8, head_dim=64, ffn=8192),
    "15M": Shapes(
        dim=288,
        layers=6,
        heads=6,
        kv_heads=6,
        head_dim=48,
        ffn=768,
        context=1024,
        rope_base=10000.0,
    ),
}


def metadata(s: Shapes) -> dict[str, Any]:
    values = {
        "context_length": s.context,
        "embedding_length": s.dim,
        "block_count": s.layers,
        "feed_forward_length": s.ffn,
        "attention.head_count": s.heads,
        "attention.head_count_kv": s.kv_heads,
        "attention.key_length": s.head_dim,
        "attention.value_length": s.head_dim,
        "attention.layer_norm_rms_epsilon": np.float32(1e-5),
        "rope.dimension_count": s.head_dim,
        "rope.freq_base": np.float32(s.rope_base),
        "vocab_size": s.vocab,
    }
    return {
        "general.architecture": "llama",
        "tokenizer.ggml.model": "no_vocab",
        **{f"llama.{key}": value for key, value in values.items()},
    }


def tensors(s: Shapes) -> dict[str, tuple[int, ...]]:
    q, kv = s.heads * s.head_dim, s.kv_heads * s.head_dim
    layer = {
        "attn_norm": (s.dim,),
        "attn_q": (q, s.dim),
        "attn_k": (kv, s.dim),
        "attn_v": (kv, s.dim),
        "attn_output": (s.dim, q),
        "ffn_norm": (s.dim,),
        "ffn_gate": (s.ffn, s.dim),
        "ffn_up": (s.ffn, s.dim),
        "ffn_down": (s.dim, s.ffn),
    }
    shapes: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (s.vocab, s.dim),
        "output_norm.weight": (s.dim,),
        "output.weight": (s.vocab, s.dim),
    }
    for i in range(s.layers):
        shapes |= {f"blk.{i}.{name}.weight": shape for name, shape in layer.items()}
    return shapes


def types(s: Shapes, name: str) -> dict[str, str]:
    """The block type of each tensor; vectors are F32."""
    shapes = tensors(s)
    matrices = {n: shape for n, shape in shapes.items() if len(shape) == 2}
    facts = ModelFacts(
        architecture="llama", n_layers=s.layers, gqa=s.heads // s.kv_heads, n_experts=0
    )
    if name in ("F32", "F16", "BF16"):
        chosen: Mapping[str, str] = dict.fromkeys(matrices, name)
    elif s.dim % 256 and name == "Q8_0":
        chosen = dict.fromkeys(matrices, name)
    else:
        chosen = mixture(file_type(name), matrices, facts)
    return {n: chosen.get(n, "F32") if n in matrices else "F32" for n in shapes}


def random_weights(kind: BlockType, shape: tuple[int, ...]) -> ndarray | Packed:
    """A matrix of a type: random codes, and scales that make weights of about 0.02."""
    rng = np.random.default_rng(len(shape) + shape[-1])
    if len(shape) == 1:
        return np.ones(shape, np.float32)
    if kind.block_size == 1:
        values = np.tile(rng.standard_normal(1 << 16), -(-shape[0] * shape[1] // (1 << 16)))
        return (0.02 * values[: shape[0] * shape[1]]).reshape(shape).astype(kind.dtype)
    n = shape[0] * shape[1] // kind.block_size
    some = min(n, 1 << 14)
    blocks = rng.integers(0, 256, (some, kind.dtype.itemsize), dtype=np.uint8)
    blocks = blocks.view(kind.dtype).reshape(-1)
    for field in ("d", "dmin", "m"):
        if field in (kind.dtype.names or ()):
            size = 2.0**-6 / SIZES.get(kind.name, 1.0)
            blocks[field] = rng.uniform(0.5 * size, size, some)
    whole = np.resize(blocks, n).reshape(shape[0], -1)
    return Packed(type=kind, blocks=whole)


SIZES = {"Q8_0": 64.0, "Q4_0": 4.0, "Q4_K": 128.0, "Q5_K": 512.0, "Q6_K": 1024.0, "Q4_1": 8.0}
"""How large a code of a type gets, scales inside the block included."""


def write_model(path: Path, s: Shapes, name: str) -> None:
    """A GGUF file of these shapes in llama.cpp's mixture `name`."""
    made: dict[tuple[str, tuple[int, ...]], Any] = {}

    def weights(kind: str, shape: tuple[int, ...]) -> Any:
        if (kind, shape) not in made:
            made[kind, shape] = random_weights(block_type(kind), shape)
        return made[kind, shape]

    shapes, chosen = tensors(s), types(s, name)
    queue = {
        n: Deferred(
            type=block_type(chosen[n]),
            shape=shape,
            make=lambda k=chosen[n], shape=shape: weights(k, shape),
        )
        for n, shape in shapes.items()
    }
    write_gguf(path, metadata(s), queue)
