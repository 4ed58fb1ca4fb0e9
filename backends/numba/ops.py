"""The operations one by one, as `refimpl.model.forward` calls them: same names, same arguments.

They call the very functions that `step` is made of, so that a model run operation by operation and
the fused step agree in every bit.  Families that `step` does not cover run on these.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Float64, Integer
from numpy import ndarray

from backends.numba import row_calls
from backends.numba.functions import ACTIVATIONS
from backends.numba.layout import Joined, Matrix, interleave, source
from backends.numba.paged import attend_contiguous
from backends.numba.pool import Pool
from backends.numba.products import multiply
from refimpl.ops import moe as mixture
from refimpl.ops.reference import Reference
from refimpl.ops.rope import Layout

Rows = Float[ndarray, "tokens dim"]
Expert = Callable[[int, ndarray], ndarray]


def f32(x: Any) -> ndarray:
    return np.ascontiguousarray(x, np.float32)


@dataclass(frozen=True, kw_only=True, eq=False)
class Operations(Reference):
    """`refimpl.ops.reference.Reference`, compiled."""

    pool: Pool

    def matrix(self, weight: Any) -> Matrix:
        """A weight that has not been through `weight` yet is interleaved on the spot."""
        if isinstance(weight, Matrix):
            return weight
        return interleave([source(weight)], 1)[0]

    def embed(
        self, table: Any, tokens: Integer[ndarray, " tokens"], scale: float = 1.0
    ) -> Float[ndarray, "tokens dim"]:
        table = self.matrix(table)
        out = np.empty((len(tokens), table.columns), np.float32)
        for t, token in enumerate(tokens.tolist()):
            out[t] = table.row(token)
        return out if scale == 1.0 else out * np.float32(scale)

    def linear(self, x: Rows, weight: Any, bias: ndarray | None = None) -> Rows:
        if isinstance(weight, Joined):
            y = np.concatenate([self.linear(x, part) for part in weight.parts], axis=1)
            return y if bias is None else self.add(y, np.broadcast_to(bias, y.shape))
        return multiply(self.pool, f32(x), self.matrix(weight), bias, self.act)

    def add(self, a: ndarray, b: ndarray) -> ndarray:
        return self._pointwise(row_calls.ADD, a, b)

    def rms_norm(self, x: ndarray, weight: ndarray, eps: float) -> ndarray:
        x = f32(x)
        out = np.empty_like(x)
        lines = x.reshape(-1, x.shape[-1])
        row_calls.rms_norm(lines, f32(weight), float(eps), out.reshape(lines.shape))
        return out

    def layer_norm(self, x: ndarray, weight: ndarray, bias: ndarray | None, eps: float) -> ndarray:
        x = f32(x)
        out = np.empty_like(x)
        lines = x.reshape(-1, x.shape[-1])
        shift = np.zeros(x.shape[-1], np.float32) if bias is None else f32(bias)
        row_calls.layer_norm(lines, f32(weight), shift, float(eps), out.reshape(lines.shape))
        return out

    def rope(
        self,
        x: Float[ndarray, "tokens heads head_dim"],
        positions: Integer[ndarray, " tokens"],
        frequencies: Float64[ndarray, " pairs"],
        layout: Layout,
        magnitude: float,
    ) -> Float[ndarray, "tokens heads head_dim"]:
        out = np.array(x, np.float32, order="C")
        angles = positions[:, None] * frequencies  # [tokens, pairs]
        cos, sin = (f32(f(angles) * magnitude) for f in (np.cos, np.sin))
        row_calls.rotate(out, cos, sin, int(layout == "interleaved"))
        return out

    def attend(
        self,
        q: Float[ndarray, "tokens heads head_dim"],
        k: Float[ndarray, "context kv_heads head_dim"],
        v: Float[ndarray, "context kv_heads head_dim"],
        positions: Integer[ndarray, " tokens"],
        *,
        scale: float,
        window: int | None = None,
        soft_cap: float | None = None,
        sinks: Float[ndarray, " heads"] | None = None,
    ) -> Float[ndarray, "tokens heads head_dim"]:
        options = {"scale": scale, "window": window, "soft_cap": soft_cap, "sinks": sinks}
        return attend_contiguous(self.pool, f32(q), f32(k), f32(v), positions, options)

    def activate(self, x: ndarray, kind: str) -> ndarray:
        return self._pointwise(row_calls.ACTIVATE, x, x, ACTIVATIONS[kind])

    def glu(self, gate: ndarray, up: ndarray, kind: str) -> ndarray:
        return self._pointwise(row_calls.GLU, gate, up, ACTIVATIONS[kind])

    def soft_cap(self, x: ndarray, cap: float) -> ndarray:
        return self._pointwise(row_calls.CAP, x, x, 0, cap)

    def moe(
        self, x: Rows, router_logits: ndarray, expert: Expert, n_used: int, renormalise: bool
    ) -> Rows:
        return np.asarray(mixture.moe(x, router_logits, expert, n_used, renormalise))

    def _pointwise(
        self, what: int, x: ndarray, y: ndarray, kind: int = 0, cap: float = 0.0
    ) -> ndarray:
        out = row_calls.flat(x)
        row_calls.pointwise(what, out, row_calls.flat(y), kind, float(cap))
        return out[: x.size].reshape(x.shape)
