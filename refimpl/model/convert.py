"""Write any checkpoint as GGUF, one tensor in memory at a time.

Matrices take the type asked for; vectors (norms, biases) and routers stay float32, as llama.cpp
keeps them, since they are small and matter much.  A row that is no whole number of blocks becomes
F16.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from refimpl.errors import InputError
from refimpl.formats.gguf import Deferred, write_gguf
from refimpl.formats.quants import BlockType, Packed, Tensor, block_type
from refimpl.formats.quants.block import widen
from refimpl.model.checkpoint import Checkpoint, LazyTensor
from refimpl.ops.numerics import BF16, F16, F32, F64, Rounding

FILE_TYPES = {"F32": 0, "F16": 1, "Q4_0": 2, "Q8_0": 7, "BF16": 32}  # llama.h, enum llama_ftype

ROUNDINGS: Mapping[str, Rounding] = {"F32": F32, "F16": F16, "BF16": BF16, "F64": F64}


def convert(
    checkpoint: Checkpoint,
    tokenizer_metadata: Mapping[str, Any],
    destination: Path,
    type_name: str | None = None,
    on_tensor: Callable[[str], None] | None = None,
) -> None:
    """Write `destination`.  Without `type_name` every matrix keeps the precision it has."""
    if type_name is not None and type_name not in FILE_TYPES:
        raise InputError(f"cannot convert to {type_name!r}: choose from {', '.join(FILE_TYPES)}")
    vocab_size = checkpoint.tensors["token_embd.weight"].shape[0]
    words = padded(tokenizer_metadata, vocab_size)
    metadata = {**checkpoint.metadata, **words, "general.quantization_version": 2}
    if type_name is not None:
        metadata["general.file_type"] = FILE_TYPES[type_name]
    tensors = {name: deferred(name, t, type_name) for name, t in checkpoint.tensors.items()}
    write_gguf(destination, metadata, tensors, on_tensor=on_tensor)


def padded(tokenizer_metadata: Mapping[str, Any], vocab_size: int) -> dict[str, Any]:
    """Embeddings are often padded to a round size; llama.cpp wants a token, if an unused one, for
    every row."""
    out = dict(tokenizer_metadata)
    n = len(out.get("tokenizer.ggml.tokens", ()))
    extra = vocab_size - n if n else 0
    fillers: dict[str, list[Any]] = {
        "tokenizer.ggml.tokens": [f"[PAD{i}]" for i in range(n, vocab_size)],
        "tokenizer.ggml.token_type": [np.int32(UNUSED)] * extra,
        "tokenizer.ggml.scores": [np.float32(-1e9)] * extra,
    }
    for key, filler in fillers.items():
        if extra > 0 and key in out:
            out[key] = [*out[key], *filler]
    return out


UNUSED = 5  # llama.h, enum llama_token_type


def deferred(name: str, tensor: LazyTensor, type_name: str | None) -> Deferred:
    """The tensor in its stored type, made when its turn comes."""
    kind = stored_type(name, tensor, type_name)
    return Deferred(
        type=kind, shape=tensor.shape, make=lambda: encode(tensor.load(), kind, tensor.shape)
    )


def stored_type(name: str, tensor: LazyTensor, type_name: str | None) -> BlockType:
    if len(tensor.shape) == 1 or name.endswith("ffn_gate_inp.weight"):
        return block_type("F32")
    if type_name is None:
        return own_type(tensor.load())
    kind = block_type(type_name)
    return kind if tensor.shape[-1] % kind.block_size == 0 else block_type("F16")


def own_type(tensor: Tensor) -> BlockType:
    """The type that holds the values as they are; float64, which only arises here, becomes F32."""
    if isinstance(tensor, Packed):
        return tensor.type
    names = {np.dtype(np.float16): "F16", np.dtype(ml_dtypes.bfloat16): "BF16"}
    return block_type(names.get(tensor.dtype, "F32"))


def encode(tensor: Tensor, kind: BlockType, shape: tuple[int, ...]) -> Tensor:
    """The values rounded once to a float type, or quantised from float32."""
    if isinstance(tensor, Packed) and tensor.type.id == kind.id:
        return tensor
    if kind.name in ROUNDINGS:
        return ROUNDINGS[kind.name](widen(tensor))
    if kind.quantize is None:
        raise InputError(f"{kind.name} cannot be made without calibration data")
    blocks = F32(widen(tensor)).reshape(*shape[:-1], -1, kind.block_size)
    return Packed(type=kind, blocks=kind.quantize(blocks))
