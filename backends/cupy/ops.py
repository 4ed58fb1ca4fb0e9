"""The operations of `refimpl.ops` on CuPy arrays, each by a kernel of this folder."""

from typing import Any

import cupy
import numpy as np

from backends.cupy.attention import Attention, plain_columns, work_of
from backends.cupy.batch import Batch, Shape
from backends.cupy.launch import ACTIVATIONS, Launcher, Prepared
from backends.cupy.tiles import Tiles
from refimpl.errors import UnsupportedError
from refimpl.ops.moe import route

WHOLE = 256  # columns of a block of Q8_K


def float32(x: Any) -> Any:
    return cupy.ascontiguousarray(cupy.asarray(x, dtype=np.float32))


class Operations:
    """`act` is "none", "q8" or "half": what linear maps do to their activations."""

    def __init__(self, launcher: Launcher, act: str = "none") -> None:
        self.launcher = launcher
        self.act = act

    def kind(self, w: Tiles) -> str:
        """What the map reads its activations as."""
        if self.act != "none" and w.quantised:
            return "Q8_K" if w.block_size == WHOLE else "Q8_0"
        return w.format if self.act == "half" and w.format in ("F16", "BF16") else "F32"

    def prepared(self, x: Any, w: Tiles) -> Prepared:
        """x [tokens, columns] for w; columns that fill up a block are zero."""
        tokens, columns = x.shape
        kind, padded = self.kind(w), w.blocks * 32
        if kind == "Q8_K":
            padded = -(-padded // WHOLE) * WHOLE
        if padded != columns:
            wider = cupy.zeros((tokens, padded), np.float32)
            wider[:, :columns] = x
            x = wider
        if kind == "F32":
            return Prepared(kind=kind, tokens=tokens, padded=tokens, packed=x)
        into = self.launcher.room(kind, tokens, padded)
        self.launcher.prepare(x, padded, into)
        return into

    def embed(self, table: Any, tokens: Any, scale: float = 1.0) -> Any:
        ids = cupy.asarray(tokens, dtype=np.int32)
        x = cupy.empty((len(ids), table.columns), np.float32)
        if len(ids):
            self.launcher.embed(x, table, ids, scale)
        return x

    def linear(self, x: Any, weight: Tiles, bias: Any = None) -> Any:
        x = float32(x)
        y = cupy.empty((len(x), weight.rows), np.float32)
        if len(x):
            bias = None if bias is None else float32(bias)
            self.launcher.linear(y, self.prepared(x, weight), weight, bias)
        return y

    def add(self, a: Any, b: Any) -> Any:
        return self.pointwise(0, a, b)

    def activate(self, x: Any, kind: str) -> Any:
        return self.pointwise(2, x, None, kind=kind)

    def glu(self, gate: Any, up: Any, kind: str) -> Any:
        return self.pointwise(1, gate, up, kind=kind)

    def soft_cap(self, x: Any, cap: float) -> Any:
        return self.pointwise(3, x, None, cap=cap)

    def pointwise(self, op: int, a: Any, b: Any, *, kind: str = "silu", cap: float = 0.0) -> Any:
        a, b = float32(a), None if b is None else float32(b)
        y = cupy.empty_like(a)
        if a.size:
            kernel = self.launcher.kernels("pointwise", OP=op, ACTIVATION=ACTIVATIONS[kind])
            self.launcher.run(
                kernel, (-(-a.size // 256),), 256, y, a, b, float(cap), np.int64(a.size)
            )
        return y

    def rms_norm(self, x: Any, weight: Any, eps: float) -> Any:
        x, weight = float32(x), float32(weight)
        columns = x.shape[-1]
        if columns % 32 or not x.size:
            return self.normalise(x, weight, None, eps)
        y, rows = cupy.empty_like(x), x.size // columns
        into = Prepared(kind="F32", tokens=rows, padded=rows, packed=y)
        self.launcher.prepare(x, columns, into, norm=weight, eps=eps)
        return y

    def layer_norm(self, x: Any, weight: Any, bias: Any, eps: float) -> Any:
        bias = None if bias is None else float32(bias)
        return self.normalise(float32(x), float32(weight), bias, eps, LAYER=None)

    def normalise(self, x: Any, weight: Any, bias: Any, eps: float, **defines: Any) -> Any:
        y = cupy.empty_like(x)
        if x.size:
            columns = x.shape[-1]
            kernel = self.launcher.kernels("normalise", **defines)
            grid = (x.size // columns,)
            self.launcher.run(kernel, grid, 256, y, x, weight, bias, float(eps), columns)
        return y

    def rope(self, x: Any, positions: Any, frequencies: Any, layout: str, magnitude: float) -> Any:
        x = float32(x)
        tokens, heads, dim = x.shape
        y = cupy.empty_like(x)
        if not x.size:
            return y
        table = self.angles(cupy.asarray(positions, dtype=np.int32), frequencies, magnitude)
        kernel = self.launcher.kernels("rope_store", CACHE=0)
        self.launcher.run(
            kernel,
            (-(-heads // 4), tokens),
            128,
            y,
            None,
            None,
            x,
            table,
            None,
            heads * dim,
            0,
            0,
            heads,
            heads,
            dim,
            len(frequencies),
            layout == "interleaved",
            1,
        )
        return y

    def angles(self, positions: Any, frequencies: Any, magnitude: float) -> Any:
        pairs = len(frequencies)
        table = cupy.empty((len(positions), max(pairs, 1), 2), np.float32)
        if pairs:
            self.launcher.run(
                self.launcher.kernels("angles"),
                (-(-pairs // 64), len(positions)),
                64,
                table,
                positions,
                cupy.asarray(frequencies, dtype=np.float64),
                np.float64(magnitude),
                pairs,
            )
        return table

    def attend(self, q: Any, k: Any, v: Any, positions: Any, **options: Any) -> Any:
        """Over contiguous keys and values: a cache of one block."""
        q, k, v = float32(q), float32(k), float32(v)
        if k.shape != v.shape:
            raise UnsupportedError("keys and values of different lengths are not supported")
        n, kv_heads, dim = k.shape
        shape = Shape(heads=q.shape[1], kv_heads=kv_heads, dim=dim, cache="float32", block_size=n)
        ends = np.array([0, len(q)], np.int32)
        batch = Batch(
            tokens=len(q),
            sequences=1,
            positions=cupy.asarray(positions, dtype=np.int32),
            slots=None,
            context_lens=None,
            seq_starts=cupy.asarray(ends),
            tables=cupy.zeros((1, 1), np.int32),
            table_block=n,
            decode=False,
            splits=0,
        )
        out = cupy.empty_like(q)
        if q.size:
            keys, values = (cupy.ascontiguousarray(x.transpose(1, 0, 2)) for x in (k, v))
            work = work_of(ends[1:], ends[1:], shape.group, plain_columns(shape, single=False))
            Attention(self.launcher, shape, batch, work)(out, q, keys, values, **options)
        return out

    def moe(self, x: Any, router_logits: Any, expert: Any, n_used: int, renormalise: bool) -> Any:
        """The router's choice is made on the host; an expert sees only its own tokens."""
        ids, shares = route(cupy.asnumpy(router_logits), n_used, renormalise)
        outputs = cupy.zeros((len(x), n_used, x.shape[1]), np.float32)
        for e in np.unique(ids).tolist():
            token, slot = np.nonzero(ids == e)
            outputs[token, slot] = expert(e, x[token])
        weighted = outputs * cupy.asarray(shares)[:, :, None]  # float64
        total = weighted[:, 0]
        for i in range(1, n_used):
            total = total + weighted[:, i]
        return total.astype(np.float32)
