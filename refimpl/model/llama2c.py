"""llama2.c's "legacy" checkpoint, read as the GGUF file it would become.

Seven int32 (dim, ffn_dim, layers, heads, kv heads, vocabulary, context; a negative vocabulary means
an output matrix of its own), then float32 tensors one after the other, each kind for all layers.
Little-endian.  RoPE pairs neighbours, as in llama GGUFs, so nothing is reordered.

Source: karpathy/llama2.c, run.c (`Config`, `memory_map_weights`) and export.py (`legacy_export`).
"""

from collections.abc import Iterator
from math import prod
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from refimpl.errors import FormatError
from refimpl.model.checkpoint import Checkpoint, LazyTensor

HEADER_BYTES = 7 * 4
MAX_LAYERS = 4096


def read_llama2c(path: Path) -> Checkpoint:
    """Map the file; sizes are checked against its length before anything is read."""
    header = read_header(path)
    dim, ffn_dim, n_layers, n_heads, n_kv_heads, _, context = header
    if dim % n_heads or n_heads % n_kv_heads or (dim // n_heads) % 2:
        raise FormatError(f"{path}: {n_heads} heads over {n_kv_heads} do not divide {dim} evenly")
    if n_layers > MAX_LAYERS:
        raise FormatError(f"{path}: {n_layers} layers are more than any model has")
    shapes = list(tensor_shapes(*header))
    n_floats, size = sum(prod(shape) for _, shape in shapes), path.stat().st_size
    if size != HEADER_BYTES + 4 * n_floats:
        raise FormatError(
            f"{path} has {size} bytes where its header asks for {HEADER_BYTES + 4 * n_floats}"
        )
    values = np.memmap(path, "<f4", "r", HEADER_BYTES, (n_floats,))
    metadata = {
        "general.architecture": "llama",
        "general.name": path.stem,
        "llama.context_length": context,
        "llama.embedding_length": dim,
        "llama.block_count": n_layers,
        "llama.feed_forward_length": ffn_dim,
        "llama.attention.head_count": n_heads,
        "llama.attention.head_count_kv": n_kv_heads,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "llama.rope.dimension_count": dim // n_heads,
        "llama.rope.freq_base": 10000.0,
    }
    return Checkpoint(metadata=metadata, tensors=dict(named_tensors(values, shapes)))


def read_header(path: Path) -> tuple[int, int, int, int, int, int, int]:
    """(dim, ffn_dim, layers, heads, kv heads, vocabulary, context)"""
    numbers = np.fromfile(path, "<i4", 7).tolist()
    if len(numbers) < 7 or min(*numbers[:5], abs(numbers[5]), numbers[6]) < 1:
        raise FormatError(f"{path} is not a llama2.c checkpoint: it begins with {numbers}")
    dim, ffn_dim, n_layers, n_heads, n_kv_heads, vocab, context = numbers
    return dim, ffn_dim, n_layers, n_heads, n_kv_heads, vocab, context


def tensor_shapes(
    dim: int, ffn_dim: int, n_layers: int, n_heads: int, n_kv_heads: int, vocab: int, context: int
) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The tensors in the file's order; one without a name is not needed."""
    head_dim = dim // n_heads
    yield "token_embd", (abs(vocab), dim)
    yield "blk.attn_norm", (n_layers, dim)
    yield "blk.attn_q", (n_layers, dim, dim)
    yield "blk.attn_k", (n_layers, n_kv_heads * head_dim, dim)
    yield "blk.attn_v", (n_layers, n_kv_heads * head_dim, dim)
    yield "blk.attn_output", (n_layers, dim, dim)
    yield "blk.ffn_norm", (n_layers, dim)
    yield "blk.ffn_gate", (n_layers, ffn_dim, dim)
    yield "blk.ffn_down", (n_layers, dim, ffn_dim)
    yield "blk.ffn_up", (n_layers, ffn_dim, dim)
    yield "output_norm", (dim,)
    yield "", (context, head_dim)  # cosines and sines of old versions
    if vocab < 0:
        yield "output", (-vocab, dim)


def named_tensors(
    values: Float32[ndarray, " n"], shapes: list[tuple[str, tuple[int, ...]]]
) -> Iterator[tuple[str, LazyTensor]]:
    """Views of the mapped file, one layer each."""
    offset = 0
    for name, shape in shapes:
        flat = values[offset : (offset := offset + prod(shape))]
        if name.startswith("blk."):
            for layer, part in enumerate(flat.reshape(shape)):
                yield name.replace("blk.", f"blk.{layer}.") + ".weight", lazy(part)
        elif name:
            yield f"{name}.weight", lazy(flat.reshape(shape))


def lazy(view: Float32[ndarray, "..."]) -> LazyTensor:
    return LazyTensor(shape=view.shape, load=lambda: view)
