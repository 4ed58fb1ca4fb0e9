"""llama.cpp's own `llama_model_quantize`, and small models to try it on.

The models have the names and metadata of real ones and a few rows in every tensor: which types
llama.cpp chooses depends on the names, the metadata and the number of columns, not on the rows.
"""

import ctypes
from functools import cache
from pathlib import Path

import numpy as np

MODELS: dict[str, dict[str, object]] = {
    "llama": {"architecture": "llama", "n_layers": 16, "heads": 8, "key_heads": 8},
    "llama-gqa": {"architecture": "llama", "n_layers": 9, "heads": 8, "key_heads": 2},
    "llama-70b": {
        "architecture": "llama",
        "n_layers": 80,
        "heads": 8,
        "key_heads": 1,
        "present": 14,
    },
    "llama-tied": {
        "architecture": "llama",
        "n_layers": 4,
        "heads": 4,
        "key_heads": 4,
        "tied": True,
    },
    "mixtral": {
        "architecture": "llama",
        "n_layers": 8,
        "heads": 8,
        "key_heads": 2,
        "n_experts": 8,
    },
    "four-experts": {
        "architecture": "llama",
        "n_layers": 8,
        "heads": 8,
        "key_heads": 8,
        "n_experts": 4,
    },
    "falcon": {"architecture": "falcon", "n_layers": 32, "heads": 8, "key_heads": 8, "fused": True},
    "odd-columns": {
        "architecture": "llama",
        "n_layers": 2,
        "heads": 2,
        "key_heads": 2,
        "columns": 96,
    },
}


def shapes(
    n_layers: int,
    tied: bool = False,
    fused: bool = False,
    n_experts: int = 0,
    columns: int = 256,
    present: int | None = None,
    **_: object,
) -> dict[str, tuple[int, ...]]:
    """The tensors; `present`: only so many layers of a large model."""
    made: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (4, columns),
        "output_norm.weight": (columns,),
    }
    if not tied:
        made["output.weight"] = (4, columns)
    attention = (
        ("attn_qkv", "attn_output") if fused else ("attn_q", "attn_k", "attn_v", "attn_output")
    )
    for i in range(present or n_layers):
        made[f"blk.{i}.attn_norm.weight"] = (columns,)
        for part in attention:
            made[f"blk.{i}.{part}.weight"] = (2, columns)
        if n_experts:
            made[f"blk.{i}.ffn_gate_inp.weight"] = (n_experts, columns)
            for part in ("ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"):
                made[f"blk.{i}.{part}.weight"] = (n_experts, 2, columns)
        else:
            for part in ("ffn_up", "ffn_down") if fused else ("ffn_gate", "ffn_up", "ffn_down"):
                made[f"blk.{i}.{part}.weight"] = (2, columns)
    return made


def metadata(
    architecture: str, n_layers: int, heads: int, key_heads: int, n_experts: int = 0, **_: object
) -> dict[str, object]:
    """What llama.cpp wants to know before it quantises."""
    keys: dict[str, object] = {
        "general.architecture": architecture,
        "general.file_type": 0,
        f"{architecture}.context_length": 64,
        f"{architecture}.embedding_length": 256,
        f"{architecture}.block_count": n_layers,
        f"{architecture}.feed_forward_length": 512,
        f"{architecture}.attention.head_count": heads,
        f"{architecture}.attention.head_count_kv": key_heads,
        f"{architecture}.attention.layer_norm_rms_epsilon": np.float32(1e-5),
        f"{architecture}.attention.layer_norm_epsilon": np.float32(1e-5),
    }
    if n_experts:
        keys |= {f"{architecture}.expert_count": n_experts, f"{architecture}.expert_used_count": 2}
    return keys


def weights(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def importance(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """A made-up importance of every matrix but the embeddings: float32 [experts * columns]."""
    rng = np.random.default_rng(7)
    matrices = {n: s for n, s in shapes.items() if len(s) > 1 and n != "token_embd.weight"}
    numbers = {n: s[-1] * (s[-3] if len(s) > 2 else 1) for n, s in matrices.items()}
    return {name: rng.random(n).astype(np.float32) for name, n in numbers.items()}


@cache
def no_log() -> object:
    """A callback that says nothing, kept alive: llama.cpp goes on calling it."""
    import llama_cpp

    return llama_cpp.llama_log_callback(lambda *_: None)


def quantize(
    source: Path, target: Path, file_type: int, importance: dict[str, np.ndarray] | None = None
) -> bool:
    """llama_model_quantize; False where it refuses."""
    import llama_cpp

    llama_cpp.llama_log_set(no_log(), ctypes.c_void_p(0))
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype, params.nthread = file_type, 1
    if importance:
        entry = llama_cpp.llama_model_imatrix_data
        table = (entry * (len(importance) + 1))()
        for slot, (name, data) in zip(table, importance.items(), strict=False):
            slot.name, slot.size = name.encode(), data.size
            slot.data = data.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        params.imatrix = table
    done = llama_cpp.llama_model_quantize(
        str(source).encode(), str(target).encode(), ctypes.byref(params)
    )
    return bool(done == 0)
