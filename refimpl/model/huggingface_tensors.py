"""The tensors of a Hugging Face checkpoint under GGUF's names, and the few that change shape:

- `llama` GGUFs pair RoPE coordinates as in the paper, Hugging Face code pairs coordinate i with
  i + head_dim/2; the rows of q and k are reordered so that the same rotation results;
- Gemma stores its norms' weights minus one;
- GPT-2 stores matrices transposed; GPT-NeoX interleaves q, k and v head by head;
- experts come one by one and leave stacked.
"""

import re
from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from refimpl.errors import FormatError, UnsupportedError
from refimpl.formats.packings import SafetensorsView
from refimpl.model.checkpoint import LazyTensor

TOP = {  # modules outside the layers -> GGUF names
    "model.embed_tokens": "token_embd",
    "transformer.wte": "token_embd",
    "gpt_neox.embed_in": "token_embd",
    "transformer.wpe": "position_embd",
    "model.norm": "output_norm",
    "transformer.ln_f": "output_norm",
    "gpt_neox.final_layer_norm": "output_norm",
    "lm_head": "output",
    "embed_out": "output",
}

LAYER = {  # modules of a layer -> GGUF names; @ stands for an expert's number
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.qkv_proj": "attn_qkv",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "mlp.gate_up_proj": "ffn_up",
    "mlp.gate": "ffn_gate_inp",
    "mlp.experts.@.gate_proj": "ffn_gate_exps",
    "mlp.experts.@.up_proj": "ffn_up_exps",
    "mlp.experts.@.down_proj": "ffn_down_exps",
    "block_sparse_moe.gate": "ffn_gate_inp",
    "block_sparse_moe.experts.@.w1": "ffn_gate_exps",
    "block_sparse_moe.experts.@.w3": "ffn_up_exps",
    "block_sparse_moe.experts.@.w2": "ffn_down_exps",
    # GPT-2
    "ln_1": "attn_norm",
    "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output",
    "ln_2": "ffn_norm",
    "mlp.c_fc": "ffn_up",
    "mlp.c_proj": "ffn_down",
    # GPT-NeoX
    "attention.query_key_value": "attn_qkv",
    "attention.dense": "attn_output",
    "mlp.dense_h_to_4h": "ffn_up",
    "mlp.dense_4h_to_h": "ffn_down",
}

SANDWICH = {  # Gemma 2 and 3 also normalise what a block adds to the stream
    **LAYER,
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}

LAYER_PREFIX = re.compile(r"(?:(?:model\.layers|transformer\.h|gpt_neox\.layers|h)\.(\d+)\.)?(.+)")
EXPERT = re.compile(r"experts\.(\d+)\.")

# Buffers that old checkpoints carry and no forward pass needs.
IGNORED = re.compile(r".*\.(rotary_emb\.inv_freq|(attn|attention)\.(masked_)?bias)")


def named_tensors(
    files: SafetensorsView, architecture: str, n_heads: int, n_kv_heads: int
) -> Iterator[tuple[str, LazyTensor]]:
    """Every tensor of the files under its GGUF name, rearranged where GGUF stores it otherwise."""
    experts: dict[str, dict[int, str]] = {}
    for name in files.names:
        if IGNORED.fullmatch(name):
            continue
        target, expert = gguf_name(name, architecture)
        if expert is not None:
            experts.setdefault(target, {})[expert] = name
            continue
        rearrange = rearrangement(target, architecture, n_heads, n_kv_heads)
        _, shape = files.info(name)
        if rearrange is transpose:
            shape = shape[::-1]
        yield target, LazyTensor(shape=shape, load=loader(files, name, rearrange))
    for target, parts in experts.items():
        if sorted(parts) != list(range(len(parts))):
            raise FormatError(f"{target}: experts {sorted(parts)} are not numbered from 0 on")
        names = [parts[e] for e in range(len(parts))]
        _, shape = files.info(names[0])
        yield target, LazyTensor(shape=(len(names), *shape), load=stacker(files, names))


def gguf_name(name: str, architecture: str) -> tuple[str, int | None]:
    """A tensor's name in GGUF, and which expert's part it is.

    >>> gguf_name("model.layers.7.mlp.experts.3.up_proj.weight", "qwen3moe")
    ('blk.7.ffn_up_exps.weight', 3)
    """
    module, _, kind = name.rpartition(".")
    match = LAYER_PREFIX.fullmatch(module)
    layer, rest = match.groups() if match else (None, module)
    expert = EXPERT.search(rest)
    rest = EXPERT.sub("experts.@.", rest)
    if layer is not None:
        found = (SANDWICH if architecture in ("gemma2", "gemma3") else LAYER).get(rest)
        prefix = f"blk.{int(layer)}."
    else:
        found = TOP.get(rest) or TOP.get(
            f"transformer.{rest}"
        )  # the first GPT-2 files had no prefix
        prefix = ""
    if found is None or kind not in ("weight", "bias"):
        raise UnsupportedError(f"tensor {name!r} has no place in a {architecture} model")
    return f"{prefix}{found}.{kind}", int(expert.group(1)) if expert else None


Rearrange = Callable[[ndarray], ndarray]


def rearrangement(
    target: str, architecture: str, n_heads: int, n_kv_heads: int
) -> Rearrange | None:
    """How GGUF stores a tensor differently, or None."""
    leaf = target.split(".")[-2]
    if architecture in ("gemma2", "gemma3") and leaf.endswith("norm"):
        return plus_one
    if architecture == "gpt2" and target.endswith(".weight") and leaf in TRANSPOSED:
        return transpose
    if architecture == "gptneox" and leaf == "attn_qkv":
        return lambda w: group_qkv(w, n_heads)
    if architecture == "llama" and leaf in ("attn_q", "attn_k"):
        return lambda w: interleave_rotary(w, n_heads if leaf == "attn_q" else n_kv_heads)
    return None


TRANSPOSED = ("attn_qkv", "attn_output", "ffn_up", "ffn_down")


def plus_one(w: Float[ndarray, " dim"]) -> Float[ndarray, " dim"]:
    """Gemma's norms multiply by 1 + w; float64 keeps the sum exact."""
    return np.asarray(1.0 + w.astype(np.float64))


def transpose(w: Float[ndarray, "inner outer"]) -> Float[ndarray, "outer inner"]:
    """GPT-2's Conv1D holds x @ w, everyone else w @ x."""
    return w.T


def interleave_rotary(w: Float[ndarray, "rows ..."], n_heads: int) -> Float[ndarray, "rows ..."]:
    """Reorder each head's rows from (0, 1, .., d/2, d/2+1, ..) to (0, d/2, 1, d/2+1, ..).

    >>> interleave_rotary(np.arange(8.0), n_heads=2).tolist()
    [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]
    """
    check_heads(w, 2 * n_heads)
    halves = w.reshape(n_heads, 2, -1, *w.shape[1:])  # [heads, 2, head_dim / 2, ...]
    return halves.swapaxes(1, 2).reshape(w.shape)


def group_qkv(w: Float[ndarray, "rows ..."], n_heads: int) -> Float[ndarray, "rows ..."]:
    """From (q0 k0 v0 q1 k1 v1 ..) to (q0 q1 .. k0 k1 .. v0 v1 ..), one entry a head."""
    check_heads(w, 3 * n_heads)
    return w.reshape(n_heads, 3, -1, *w.shape[1:]).swapaxes(0, 1).reshape(w.shape)


def check_heads(w: ndarray, parts: int) -> None:
    if w.shape[0] % parts:
        raise FormatError(f"a tensor of {w.shape[0]} rows does not divide into {parts} parts")


def loader(files: SafetensorsView, name: str, rearrange: Rearrange | None) -> Callable[[], ndarray]:
    def load() -> ndarray:
        values: ndarray = files.tensor(name)
        return values if rearrange is None else rearrange(values)

    return load


def stacker(files: SafetensorsView, names: list[str]) -> Callable[[], ndarray]:
    return lambda: np.stack([files.tensor(name) for name in names])
