"""The operations as one object: what a forward pass is written against.

A backend offers the same methods; this one computes the definition, and `to` says what happens at
every boundary.  Float32 is the default; float64 shows the model without rounding; a random rounding
(Monte Carlo arithmetic) shows how much rounding matters to it.

Three modes are not exact, and so they have names.  `act="q8"`: quantised weights meet activations
that were quantised first (`tensor.linear_q8`).  `act="half"`: that, and float16 and bfloat16
weights meet activations rounded to their type (`half.linear_half`).  `cache="float16"` and the
like: keys and values are rounded when they are stored (`storage`).
"""

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float, Float64, Integer
from numpy import ndarray

from refimpl.formats.quants.block import Tensor
from refimpl.ops import activation, attention, half, moe, norm, rope, storage, tensor
from refimpl.ops.numerics import F32, Rounding

Act = Literal["none", "q8", "half"]
LINEAR = {"none": tensor.linear, "q8": tensor.linear_q8, "half": half.linear_half}
Rows = Float[ndarray, "tokens dim"]
Heads = Float[ndarray, "tokens heads head_dim"]


@dataclass(frozen=True, kw_only=True)
class Reference:
    """`refimpl.ops`, rounded by `to` at every boundary.

    `act` names what linear maps do to their activations, `cache` what keys and values are kept in.
    """

    to: Rounding = F32
    act: Act = "none"
    cache: str = "float32"

    def stored(self, x: Heads) -> Heads:
        """Keys or values as the cache gives them back."""
        return storage.STORED[self.cache](x)

    def embed(
        self, table: Tensor, tokens: Integer[ndarray, " tokens"], scale: float = 1.0
    ) -> Float[ndarray, "tokens dim"]:
        return tensor.embed(table, tokens, scale, to=self.to)

    def linear(
        self,
        x: Float[ndarray, "tokens inner"],
        weight: Tensor,
        bias: Float[ndarray, " outer"] | None = None,
    ) -> Float[ndarray, "tokens outer"]:
        return LINEAR[self.act](x, weight, bias, to=self.to)

    def add(
        self, a: Float[ndarray, "*shape"], b: Float[ndarray, "*shape"]
    ) -> Float[ndarray, "*shape"]:
        return tensor.add(a, b, to=self.to)

    def rms_norm(
        self, x: Float[ndarray, "*rows dim"], weight: Float[ndarray, " dim"], eps: float
    ) -> Float[ndarray, "*rows dim"]:
        return norm.rms_norm(x, weight, eps, to=self.to)

    def layer_norm(
        self,
        x: Float[ndarray, "*rows dim"],
        weight: Float[ndarray, " dim"],
        bias: Float[ndarray, " dim"] | None,
        eps: float,
    ) -> Float[ndarray, "*rows dim"]:
        return norm.layer_norm(x, weight, bias, eps, to=self.to)

    def rope(
        self,
        x: Heads,
        positions: Integer[ndarray, " tokens"],
        frequencies: Float64[ndarray, " pairs"],
        layout: rope.Layout,
        magnitude: float,
    ) -> Heads:
        return rope.rope(x, positions, frequencies, layout, magnitude, to=self.to)

    def attend(
        self,
        q: Float[ndarray, "tokens heads head_dim"],
        k: Float[ndarray, "context kv_heads head_dim"],
        v: Float[ndarray, "context kv_heads v_dim"],
        positions: Integer[ndarray, " tokens"],
        *,
        scale: float,
        window: int | None = None,
        soft_cap: float | None = None,
        sinks: Float[ndarray, " heads"] | None = None,
    ) -> Float[ndarray, "tokens heads v_dim"]:
        return attention.attend(
            q,
            k,
            v,
            positions,
            scale=scale,
            window=window,
            soft_cap=soft_cap,
            sinks=sinks,
            to=self.to,
        )

    def activate(self, x: Rows, kind: str) -> Rows:
        return activation.activate(x, kind, to=self.to)

    def glu(self, gate: Rows, up: Rows, kind: str) -> Rows:
        return activation.glu(gate, up, kind, to=self.to)

    def soft_cap(self, x: Rows, cap: float) -> Rows:
        return activation.soft_cap(x, cap, to=self.to)

    def moe(
        self,
        x: Rows,
        router_logits: Float[ndarray, "tokens experts"],
        expert: moe.Expert,
        n_used: int,
        renormalise: bool,
    ) -> Rows:
        return moe.moe(x, router_logits, expert, n_used, renormalise, to=self.to)
