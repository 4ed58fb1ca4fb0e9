"""The model: from token ids and positions to logits, on one path down the screen.

Every family in `families` runs through these lines.  The cache is not here: `attend(layer, q, k,
v)` is given the new tokens' queries, keys and values, and returns what they attended to, from
wherever the caller keeps the past.  The operations are not here either: `ops` is a backend's, or
the reference's.  Taps name every intermediate, so that two engines can be compared layer by layer.

Glossary: x is the residual stream [tokens, dim]; h what a block reads; a and m what attention and
feed-forward add to the stream.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Integer
from numpy import ndarray

from refimpl.formats.quants.block import Tensor, part
from refimpl.model.config import Config, Rope
from refimpl.ops.reference import Reference

REFERENCE = Reference()

Attend = Callable[[int, ndarray, ndarray, ndarray], Float[ndarray, "tokens heads head_dim"]]
Layer = Mapping[str, Tensor]


@runtime_checkable
class Tap(Protocol):
    """Sees every named intermediate and returns it, or another in its place."""

    def __call__(self, name: str, value: ndarray) -> ndarray: ...


def untapped(name: str, value: ndarray) -> ndarray:
    return value


@dataclass(frozen=True, kw_only=True, eq=False)
class Model:
    """Weights under GGUF's names: `top["token_embd.weight"]`, `layers[3]["attn_q.weight"]`."""

    config: Config
    top: Layer
    layers: tuple[Layer, ...]


def forward(
    model: Model,
    tokens: Integer[ndarray, " tokens"],
    positions: Integer[ndarray, " tokens"],
    attend: Attend,
    *,
    rows: Integer[ndarray, " rows"] | None = None,
    ops: Reference = REFERENCE,
    tap: Tap = untapped,
    x: Float[ndarray, "tokens dim"] | None = None,
) -> Float[ndarray, "rows vocab"] | Float[ndarray, "tokens dim"]:
    """Logits of the tokens numbered `rows` (all, by default).

    Of a part of a model (`parts`): begins with the stream x that the part before it left, and
    returns its own if it is not the last.

    Taps: `embed`; for each layer i `i.norm i.q i.k i.v i.attn i.mlp i.out`; `norm`; `logits`.
    """
    c, top = model.config, model.top
    if x is None:
        x = ops.embed(top["token_embd.weight"], tokens, c.embed_scale)  # [tokens, dim]
        if "position_embd.weight" in top:
            x = ops.add(x, ops.embed(top["position_embd.weight"], positions))
        x = tap("embed", x)
    for i, layer in enumerate(model.layers):
        h = tap(f"{i}.norm", norm(ops, c, layer, "attn_norm", x))
        q, k, v = project(ops, c, layer, h)  # [tokens, heads, head_dim], kv_heads for k and v
        q, k = (rotate(ops, c.ropes[i], positions, z) for z in (q, k))
        q, k, v = tap(f"{i}.q", q), tap(f"{i}.k", k), tap(f"{i}.v", v)
        a = tap(f"{i}.attn", attend(i, q, k, v)).reshape(len(x), -1)  # [tokens, heads * head_dim]
        a = norm(ops, c, layer, "post_attention_norm", linear(ops, layer, "attn_output", a))
        after_attention = ops.add(x, a)
        h = norm(ops, c, layer, "ffn_norm", x if c.parallel_residual else after_attention)
        m = norm(ops, c, layer, "post_ffw_norm", feed_forward(ops, c, layer, h))
        x = tap(f"{i}.out", ops.add(after_attention, tap(f"{i}.mlp", m)))
    if "output_norm.weight" not in top:
        return x
    x = tap("norm", norm(ops, c, top, "output_norm", x if rows is None else x[rows]))
    head = "output" if "output.weight" in top else "token_embd"  # tied: the embedding is the output
    logits = linear(ops, top, head, x)  # [rows, vocab]
    return tap("logits", ops.soft_cap(logits, c.logit_soft_cap) if c.logit_soft_cap else logits)


def linear(ops: Reference, layer: Layer, name: str, x: ndarray) -> ndarray:
    """The named linear map, with its bias if the checkpoint has one."""
    return ops.linear(x, layer[f"{name}.weight"], vector(layer, f"{name}.bias"))


def vector(layer: Layer, name: str) -> ndarray | None:
    """A bias or a norm's weight: loaded as a plain array, or absent."""
    value = layer.get(name)
    return None if value is None else value[...]


def norm(ops: Reference, c: Config, layer: Layer, name: str, x: ndarray) -> ndarray:
    """The named normalisation, or x itself where the family has none in that place."""
    weight = vector(layer, f"{name}.weight")
    if weight is None:
        return x
    if c.norm == "layer":
        return ops.layer_norm(x, weight, vector(layer, f"{name}.bias"), c.norm_eps)
    return ops.rms_norm(x, weight, c.norm_eps)


def project(
    ops: Reference, c: Config, layer: Layer, h: ndarray
) -> tuple[ndarray, ndarray, ndarray]:
    """Queries, keys and values: [tokens, heads, head_dim] each; some families normalise q and k."""
    if "attn_qkv.weight" in layer:
        widths = np.cumsum([c.n_heads, c.n_kv_heads]) * c.head_dim
        q, k, v = np.split(linear(ops, layer, "attn_qkv", h), widths, axis=1)
    else:
        q, k, v = (linear(ops, layer, f"attn_{z}", h) for z in "qkv")
    q, k, v = (z.reshape(len(h), -1, c.head_dim) for z in (q, k, v))
    return norm(ops, c, layer, "attn_q_norm", q), norm(ops, c, layer, "attn_k_norm", k), v


def rotate(ops: Reference, rope: Rope | None, positions: ndarray, x: ndarray) -> ndarray:
    """RoPE, or x itself in a model with learned positions."""
    if rope is None:
        return x
    return ops.rope(x, positions, rope.frequencies, rope.layout, rope.magnitude)


def feed_forward(ops: Reference, c: Config, layer: Layer, h: ndarray) -> ndarray:
    """down(act(gate h) * up h), or down(act(up h)); with a router, a few experts' worth of it."""
    if "ffn_gate_inp.weight" in layer:

        def expert(e: int, x: ndarray) -> ndarray:
            gate, up, down = (
                part(layer[f"ffn_{z}_exps.weight"], e) for z in ("gate", "up", "down")
            )
            return ops.linear(ops.glu(ops.linear(x, gate), ops.linear(x, up), c.activation), down)

        router = linear(ops, layer, "ffn_gate_inp", h)
        return ops.moe(h, router, expert, c.n_experts_used, c.renormalise_experts)
    up = linear(ops, layer, "ffn_up", h)
    if not c.gated:
        return linear(ops, layer, "ffn_down", ops.activate(up, c.activation))
    if "ffn_gate.weight" in layer:
        gate = linear(ops, layer, "ffn_gate", h)
    else:  # Phi-3 stores gate and up as one matrix
        gate, up = np.split(up, 2, axis=1)
    return linear(ops, layer, "ffn_down", ops.glu(gate, up, c.activation))
