"""A whole step on the device, fused: for models of the common shape, RMS norms around gated blocks.

A layer is ten launches: norm and rounding, queries, keys and values, rotation and storing,
attention (two), rounding, output, norm and rounding, gate and up, gate times up and rounding, down.
For one token of a quantised model it is six: its products norm and round what they read, attention
to few keys rotates and stores, and to one split it is one launch. A residual is added where the
product ends; so is the gate of many tokens applied (kernels/gated.cuh, gated_half.cuh), and what
attention of new tokens gives an output product in half precision is rounded there. Nothing is
allocated and nobody waited for, so the step can be captured as a CUDA graph
(`backends.cupy.graph`).

Bits are those of `refimpl.model.forward` over `backends.cupy.ops`: a fused kernel rounds where the
separate ones do.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

import cupy
import numpy as np

from backends.cupy.attention import Attention
from backends.cupy.batch import Batch
from backends.cupy.cache import CACHES, DeviceCache
from backends.cupy.launch import HALVES, Launcher, Prepared
from backends.cupy.ops import Operations
from backends.cupy.row import prepares_itself
from backends.cupy.tiles import Planes, Tiles
from refimpl.model.config import Config, Rope
from refimpl.model.forward import Model

NOT_FUSED = (
    "attn_q_norm.weight",
    "attn_k_norm.weight",
    "post_attention_norm.weight",
    "post_ffw_norm.weight",
    "ffn_gate_inp.weight",
)

BEYOND = 8192
"""Bytes of eight tiles of the largest quantised format."""


def fits(model: Model) -> bool:
    """Is this a model of the common shape?"""
    c = model.config
    return (
        c.norm == "rms"
        and c.gated
        and not c.parallel_residual
        and all(rope is not None for rope in c.ropes)
        and c.dim % 32 == c.ffn_dim % 32 == (c.n_heads * c.head_dim) % 32 == 0
        and not any(name in layer for layer in model.layers for name in NOT_FUSED)
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Linear:
    """Matrices that read the same activations, and write side by side."""

    parts: tuple[Tiles, ...]
    biases: tuple[Any, ...]

    @property
    def rows(self) -> int:
        return sum(part.rows for part in self.parts)


@dataclass(frozen=True, kw_only=True, eq=False)
class FusedLayer:
    attn_norm: Any
    qkv: Linear
    output: Linear
    ffn_norm: Any
    gate_up: Linear
    down: Linear


def roomy(pieces: Sequence[Any]) -> Any:
    """The pieces one after the other, and behind them bytes that a group of loads may touch."""
    n = sum(len(piece) for piece in pieces)
    memory = cupy.zeros(n + BEYOND, np.uint8)
    cupy.concatenate(pieces, out=memory[:n])
    return memory[:n]


def join(parts: Sequence[Tiles]) -> Tiles | None:
    """The matrices as one, if their tiles can stand below one another."""
    first = parts[0]
    if any((p.format, p.columns) != (first.format, first.columns) or p.rows % 16 for p in parts):
        return None
    planes = (
        None if plane[0] is None else roomy(plane)
        for plane in zip(*(p.planes for p in parts), strict=True)
    )
    return replace(first, rows=sum(p.rows for p in parts), planes=Planes(*planes))


def unjoin(whole: Tiles, rows: Sequence[int]) -> list[Tiles]:
    """Views of the parts of a joined matrix."""
    parts, start = [], 0
    for count in rows:
        share = [
            None
            if p is None
            else p[start * len(p) // whole.rows : (start + count) * len(p) // whole.rows]
            for p in whole.planes
        ]
        parts.append(replace(whole, rows=count, planes=Planes(*share)))
        start += count
    return parts


def fuse_linear(layer: dict[str, Any], names: Sequence[str]) -> Linear:
    """The named matrices; those that can be are joined, and the layer's own become views."""
    made = []
    for _, neighbours in groupby(names, key=lambda name: layer[f"{name}.weight"].format):
        made.append(fuse_alike(layer, list(neighbours)))
    return Linear(
        parts=tuple(part for one in made for part in one.parts),
        biases=tuple(bias for one in made for bias in one.biases),
    )


def fuse_alike(layer: dict[str, Any], names: Sequence[str]) -> Linear:
    """The same of matrices in one format."""
    parts = [layer[f"{name}.weight"] for name in names]
    biases = [layer.get(f"{name}.bias") for name in names]
    whole = join(parts) if len(parts) > 1 else None
    if whole is None:
        return Linear(parts=tuple(parts), biases=tuple(biases))
    for name, part in zip(names, unjoin(whole, [p.rows for p in parts]), strict=True):
        layer[f"{name}.weight"] = part
    bias = None if biases[0] is None else cupy.concatenate(biases)
    return Linear(parts=(whole,), biases=(bias,))


def fuse_layer(layer: dict[str, Any]) -> FusedLayer:
    whole = "attn_qkv.weight" in layer
    gated = "ffn_gate.weight" in layer
    return FusedLayer(
        attn_norm=layer["attn_norm.weight"],
        qkv=fuse_linear(layer, ["attn_qkv"] if whole else ["attn_q", "attn_k", "attn_v"]),
        output=fuse_linear(layer, ["attn_output"]),
        ffn_norm=layer["ffn_norm.weight"],
        gate_up=fuse_linear(layer, ["ffn_gate", "ffn_up"] if gated else ["ffn_up"]),
        down=fuse_linear(layer, ["ffn_down"]),
    )


@dataclass(kw_only=True, eq=False)
class Buffers:
    """Memory of a step of so many tokens."""

    config: Config
    tokens: int
    rows: int
    launcher: Launcher
    prepared: dict[tuple[str, int, int], Prepared] = field(default_factory=dict)

    def __post_init__(self) -> None:
        c, t = self.config, self.tokens
        heads, kv = c.n_heads * c.head_dim, c.n_kv_heads * c.head_dim
        self.x = cupy.empty((t, c.dim), np.float32)
        self.plain = cupy.empty((t, max(c.dim, c.ffn_dim, heads)), np.float32)
        self.qkv = cupy.empty((t, heads + 2 * kv), np.float32)
        self.q = cupy.empty((t, heads), np.float32)
        self.attended = cupy.empty((t, heads), np.float32)
        self.gate_up = cupy.empty((t, 2 * c.ffn_dim), np.float32)
        self.last = cupy.empty((self.rows, c.dim), np.float32)
        self.logits = cupy.empty((self.rows, c.vocab_size), np.float32)
        self.angles: dict[int, Any] = {}

    def room(self, kind: str, tokens: int, columns: int) -> Prepared:
        key = kind, tokens, columns
        if key not in self.prepared:
            self.prepared[key] = self.launcher.room(kind, tokens, columns)
        return self.prepared[key]


class Step:
    """The launches of a step."""

    def __init__(self, ops: Operations, model: Any, buffers: Buffers) -> None:
        self.ops, self.launcher, self.model, self.buffers = ops, ops.launcher, model, buffers

    def run(
        self, ids: Any, batch: Batch, cache: DeviceCache, attention: Attention, rows: Any = None
    ) -> Any:
        """Logits; `rows` picks the tokens that have any (all of them without it).

        Of a part of a model: from the stream that was put in place (`enter`), or up to it.
        """
        b, c, model = self.buffers, self.model.config, self.model
        if "token_embd.weight" in model.top:
            self.launcher.embed(b.x, model.top["token_embd.weight"], ids, c.embed_scale)
        for i, layer in enumerate(model.fused):
            self.linear(b.qkv, b.x, layer.qkv, norm=layer.attn_norm)
            store = cache.keys(i), cache.values(i)
            rounded = self.rounded(layer.output) if attention.rounds else None
            how = c.attention(i) | {"rounded": rounded}
            if attention.turns:
                rope = self.turning(c.ropes[i], batch)
                attention(b.attended, b.qkv, *store, rope=rope, **how)
            else:
                self.rotate_and_store(c.ropes[i], batch, cache, i)
                attention(b.attended, b.q, *store, **how)
            done = {} if rounded is None else {rounded.kind: rounded}
            self.linear(b.x, b.attended, layer.output, residual=b.x, done=done)
            self.feed_forward(layer)
        if model.head is None:
            return b.x
        x = b.x
        if rows is not None:
            cupy.take(b.x, rows, axis=0, out=b.last)
            x = b.last
        self.linear(b.logits, x, model.head, norm=model.top["output_norm.weight"])
        if c.logit_soft_cap:
            return self.ops.soft_cap(b.logits, c.logit_soft_cap)
        return b.logits

    def feed_forward(self, layer: FusedLayer) -> None:
        b, gate = self.buffers, self.model.config.activation
        done = self.gated(layer)
        if done is None:
            self.linear(b.gate_up, b.x, layer.gate_up, norm=layer.ffn_norm)
        self.linear(b.x, b.gate_up, layer.down, activation=gate, residual=b.x, done=done)

    def enter(self, x: Any) -> None:
        """Put the stream of a part of a model in place; a place that nobody uses holds 0."""
        if x is not None:
            self.buffers.x[: len(x)] = x
            self.buffers.x[len(x) :] = 0

    def linear(
        self,
        y: Any,
        x: Any,
        linear: Linear,
        *,
        norm: Any = None,
        activation: str | None = None,
        residual: Any = None,
        done: dict[str, Prepared] | None = None,
    ) -> None:
        """y = f(x) @ w.T + residual, f being a norm, a gate or nothing; `done`: f(x), by kind."""
        done = {} if done is None else done
        start = 0
        for part, bias in zip(linear.parts, linear.biases, strict=True):
            kind = self.ops.kind(part)
            out = y[:, start : start + part.rows]
            start += part.rows
            if activation is None and prepares_itself(part, kind, len(x)):
                eps = self.model.config.norm_eps
                self.launcher.linear_row(out, x, part, kind, norm, eps, bias, residual)
                continue
            if kind not in done:
                done[kind] = self.prepare(x, part.columns, kind, norm, activation)
            self.launcher.linear(out, done[kind], part, bias, residual)

    def rounded(self, output: Linear) -> Prepared | None:
        """Room for what attention's output product reads, if attention can round it."""
        first, *others = output.parts
        kind = self.ops.kind(first)
        if others or kind not in HALVES:
            return None
        return self.buffers.room(kind, self.buffers.tokens, first.columns)

    def gated(self, layer: FusedLayer) -> dict[str, Prepared] | None:
        """What a layer's down product reads, by kind, if one product of gate and up can make it."""
        c, b, (w, *others) = self.model.config, self.buffers, layer.gate_up.parts
        kind, kinds = self.ops.kind(w), {self.ops.kind(part) for part in layer.down.parts}
        made = kind if kind in HALVES else "Q8_0"
        same_room = (kind, c.dim) == (made, c.ffn_dim)  # read by some while others write
        if others or layer.gate_up.biases[0] is not None or kinds != {made} or same_room:
            return None
        if not self.launcher.gates(w, kind, b.tokens):
            return None
        x = self.prepare(b.x, c.dim, kind, layer.ffn_norm, None)
        into = b.room(made, b.tokens, c.ffn_dim)
        self.launcher.linear_gated(into, x, w, c.activation)
        return {made: into}

    def prepare(
        self, x: Any, columns: int, kind: str, norm: Any, activation: str | None
    ) -> Prepared:
        if kind == "F32" and norm is None and activation is None:
            return Prepared(kind=kind, tokens=len(x), padded=len(x), packed=x)
        into = self.buffers.room(kind, len(x), columns)
        eps = self.model.config.norm_eps
        self.launcher.prepare(x, columns, into, norm=norm, eps=eps, activation=activation)
        return into

    def rotate_and_store(
        self, rope: Rope | None, batch: Batch, cache: DeviceCache, layer: int
    ) -> None:
        assert rope is not None
        b, c = self.buffers, self.model.config
        heads, kv, dim = c.n_heads, c.n_kv_heads, c.head_dim
        kernel = self.launcher.kernels("rope_store", CACHE=CACHES[cache.format])
        self.launcher.run(
            kernel,
            (-(-(heads + 2 * kv) // 4), batch.tokens),
            128,
            b.q,
            cache.keys(layer),
            cache.values(layer),
            b.qkv,
            self.angles(rope, batch),
            batch.slots,
            b.qkv.shape[1],
            heads * dim,
            (heads + kv) * dim,
            heads,
            kv,
            dim,
            rope.rotary_dim // 2,
            rope.layout == "interleaved",
            cache.block_size,
        )

    def turning(self, rope: Rope | None, batch: Batch) -> tuple[Any, ...]:
        """What attention needs to turn queries and keys itself (attend_few.cu)."""
        assert rope is not None
        c = self.model.config
        heads, kv = c.n_heads * c.head_dim, c.n_kv_heads * c.head_dim
        pairs, interleaved = rope.rotary_dim // 2, rope.layout == "interleaved"
        return self.angles(rope, batch), heads + 2 * kv, heads, heads + kv, pairs, interleaved

    def begin(self) -> None:
        """Forget the angles of the step before."""
        self.fresh: set[int] = set()

    def angles(self, rope: Rope, batch: Batch) -> Any:
        """The table of this rope, made once a step."""
        tables = self.buffers.angles
        if id(rope) not in tables:
            pairs = rope.rotary_dim // 2
            tables[id(rope)] = (
                cupy.empty((batch.tokens, pairs, 2), np.float32),
                cupy.asarray(rope.frequencies, dtype=np.float64),
            )
        table, frequencies = tables[id(rope)]
        if id(rope) not in self.fresh:
            self.fresh.add(id(rope))
            pairs = len(frequencies)
            self.launcher.run(
                self.launcher.kernels("angles"),
                (-(-pairs // 64), batch.tokens),
                64,
                table,
                batch.positions,
                frequencies,
                np.float64(rope.magnitude),
                pairs,
            )
        return table
