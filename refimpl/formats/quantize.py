"""Quantising a GGUF file: what `llama-quantize` does, tensor by tensor and byte by byte.

Types come from `mixtures`; a tensor is read, quantised and written a slice of rows at a time, so
that memory holds no more than one quantised tensor.  The metadata is copied, with the file type
and the version of the formats set, and the tensors stand in llama.cpp's order.

Where the bytes can differ from llama-quantize: if ggml was compiled with fused multiply-adds
(`encode`), and for IQ1_S and IQ1_M if its C library sorts unstably (`iq1_encode`).

>>> import tempfile
>>> from refimpl.formats.gguf import write_gguf
>>> keys = {"general.architecture": "llama", "llama.block_count": 1,
...         "llama.attention.head_count": 4, "llama.attention.head_count_kv": 1}
>>> with tempfile.TemporaryDirectory() as folder:
...     a, b = f"{folder}/a.gguf", f"{folder}/b.gguf"
...     write_gguf(a, keys, {"blk.0.attn_v.weight": np.eye(256, dtype="f4")})
...     quantize_file(a, b, "Q4_K_M")
...     GGUF.open(b).tensors["blk.0.attn_v.weight"].type.name
'Q6_K'
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from refimpl.errors import InputError
from refimpl.formats.gguf import GGUF, Deferred, TensorInfo, write_gguf
from refimpl.formats.quants import BlockType, Packed, Tensor, block_type
from refimpl.formats.quants.mixture_rules import ModelFacts
from refimpl.formats.quants.mixtures import (
    FILE_TYPES,
    file_type,
    kind_of,
    mixture,
    needs_importance,
)

QUANTIZATION_VERSION = 2  # GGML_QNT_VERSION
WEIGHTS_AT_ONCE = 1 << 22
SPLIT_KEYS = ("split.no", "split.count", "split.tensors.count")

Importance = Mapping[str, Float32[ndarray, "..."]]
"""Tensor name -> [columns], or [experts, columns] for a stack of matrices."""


def quantize_file(
    source: Path | str,
    target: Path | str,
    name: str,
    *,
    importance: Importance | None = None,
    requantize: bool = False,
    on_tensor: Callable[[str], None] | None = None,
) -> None:
    """Write `source` quantised to the file type `name` ("Q4_K_M"); `on_tensor` hears of progress.

    Quantised tensors are refused unless `requantize` (what was lost stays lost).
    """
    file = GGUF.open(source)
    chosen = file_type(name)
    shapes = {tensor: info.shape for tensor, info in file.tensors.items()}
    types = mixture(chosen, shapes, facts_of(file.metadata, bool(importance)))
    tensors = {
        tensor: _queued(file, tensor, kind, chosen, importance or {}, requantize)
        for tensor, kind in types.items()
    }
    write_gguf(target, new_metadata(file, chosen), tensors, on_tensor=on_tensor)


def facts_of(metadata: Mapping[str, Any], has_importance: bool = False) -> ModelFacts:
    """What the rules of the mixtures ask about a model, from its metadata."""
    arch = metadata.get("general.architecture")
    if not isinstance(arch, str):
        raise InputError("the file says no general.architecture; is it a model?")
    n_layers = _first(metadata, f"{arch}.block_count", None)
    heads = _first(metadata, f"{arch}.attention.head_count", 0)
    key_heads = _first(metadata, f"{arch}.attention.head_count_kv", heads)
    return ModelFacts(
        architecture=arch,
        n_layers=n_layers,
        gqa=heads // key_heads if key_heads else 0,
        n_experts=_first(metadata, f"{arch}.expert_count", 0),
        large=_is_large(arch, n_layers, heads != key_heads),
        has_importance=has_importance,
    )


def _first(metadata: Mapping[str, Any], key: str, default: int | None) -> int:
    """A number, or the first of one number per layer."""
    value = metadata.get(key, default)
    if isinstance(value, ndarray) and value.size:
        value = value.flat[0]
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 0:
        raise InputError(f"{key} must be a number to choose types by, and is {value!r}")
    return int(value)


def _is_large(arch: str, n_layers: int, shares_heads: bool) -> bool:
    """llama.cpp's LLM_TYPE_70B, which goes by the number of layers."""
    if arch == "jais2":
        return n_layers == 68
    return n_layers == 80 and (
        arch in ("qwen2", "deci", "olmo") or (arch == "llama" and shares_heads)
    )


def new_metadata(file: GGUF, chosen: str) -> dict[str, Any]:
    kept = file.metadata.all_exact()
    for key in (*SPLIT_KEYS, "general.quantization_version", "general.file_type"):
        kept.pop(key, None)
    kept["general.quantization_version"] = np.uint32(QUANTIZATION_VERSION)
    kept["general.file_type"] = np.uint32(FILE_TYPES[chosen][0])
    return kept


def _queued(
    file: GGUF,
    name: str,
    kind: str | None,
    chosen: str,
    importance: Importance,
    requantize: bool,
) -> Tensor | Deferred:
    """A tensor as it is, or one to be quantised when its turn comes; errors come now."""
    info = file.tensors[name]
    if kind is None or kind == info.type.name:
        return file.tensor(name)
    if info.type.block_size > 1 and not requantize:
        raise InputError(
            f"{name!r} is already quantised to {info.type.name}; quantise from the original "
            "weights, or ask to requantise"
        )
    if name not in importance and needs_importance(name, kind, chosen):
        raise InputError(
            f"{chosen} makes {name!r} {kind}, which needs an importance for every column; "
            "without one the result would be useless"
        )
    given = _importance_of(info, importance.get(name))
    target = block_type(kind)
    return Deferred(
        type=target,
        shape=info.shape,
        make=lambda: quantize_tensor(name, file.tensor(name), target, given),
    )


def _importance_of(info: TensorInfo, given: ndarray | None) -> ndarray | None:
    """[experts or 1, columns], or an error if it does not fit the tensor.

    An importance of the embeddings that does not fit is ignored, as llama.cpp does: it counts
    tokens.
    """
    columns = info.shape[-1]
    experts = info.shape[-3] if len(info.shape) > 2 else 1
    fits = given is not None and given.size == columns * experts
    if given is None or (not fits and kind_of(info.name) == "embedding"):
        return None
    if not fits:
        raise InputError(
            f"the importance of {info.name!r} has {given.size} numbers, "
            f"and the tensor {experts} x {columns} columns"
        )
    if not np.isfinite(given).all():
        raise InputError(f"the importance of {info.name!r} has a number that is not finite")
    return np.asarray(given, np.float32).reshape(experts, columns)


def quantize_tensor(
    name: str, weights: Tensor, kind: BlockType, importance: ndarray | None
) -> Tensor:
    """All of a tensor, some rows at a time: a plain array or packed blocks."""
    quantize = kind.quantize
    if quantize is None:
        raise InputError(f"{name!r}: weights are not made into {kind.name}")
    *stacked, rows, columns = weights.shape
    blocks = np.empty((*stacked, rows, columns // kind.block_size), dtype=kind.dtype)
    step = max(1, WEIGHTS_AT_ONCE // columns)
    for matrix in np.ndindex(*stacked):
        expert = 0 if importance is None or len(importance) == 1 else matrix[-1]
        by = None if importance is None else importance[expert].reshape(-1, kind.block_size)
        for first in range(0, rows, step):
            part = (*matrix, slice(first, first + step))
            values = np.asarray(weights[part], dtype=np.float32)
            blocks[part] = quantize(values.reshape(len(values), -1, kind.block_size), by)
    _check_scales(name, kind, blocks)
    return Packed(type=kind, blocks=blocks) if kind.block_size > 1 else blocks


def _check_scales(name: str, kind: BlockType, blocks: ndarray) -> None:
    """llama.cpp validates what it made: a scale beyond float16's 65504 is infinite."""
    for field in kind.dtype.names or ():
        if blocks.dtype[field].base.kind == "f" and not np.isfinite(blocks[field]).all():
            raise InputError(f"{name!r}: weights too large for the float16 scales of {kind.name}")
