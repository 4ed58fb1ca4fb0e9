"""The CUDA backend: the contract of `refimpl.backend`, kept by kernels of our own.

A step runs in one of two ways.  Models of the common shape (`step.fits`) run fused: norm and
quantisation in one kernel, queries, keys and values in one product, rotation and storing in one.
Every other model runs through `refimpl.model.forward`, operation by operation, as does a step that
is tapped.  Both give the same bits, since a fused kernel keeps the order of what it fuses.

`act="half"` rounds activations to the type of a float16 or bfloat16 weight, and is "q8" for the
rest: what other engines do without saying so.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import cupy
import numpy as np
from jaxtyping import Float64, Int32
from numpy import ndarray

from backends.cupy.attention import Attention, walk_work
from backends.cupy.batch import Shape, put_plan
from backends.cupy.bounds import bound
from backends.cupy.buckets import (
    all_rows,
    bucket,
    check_ahead,
    one_token_each,
    replayable,
    table_block,
)
from backends.cupy.cache import CACHES, DeviceCache, new_cache
from backends.cupy.graph import Argmax, DecodeGraph, Graphs
from backends.cupy.launch import Launcher
from backends.cupy.ops import Operations, float32
from backends.cupy.sampling import Begun, choose, on_device
from backends.cupy.step import Buffers, FusedLayer, Linear, Step, fits, fuse_layer, roomy
from backends.cupy.tiles import Planes, Stack, Tiles, pack
from refimpl.backend import NONE_DRAWN, Blocks, Composed, known_tokens
from refimpl.errors import RefimplError, UnsupportedError
from refimpl.formats.files import forget
from refimpl.formats.quants.block import Packed, Tensor
from refimpl.kv.plan import Plan
from refimpl.model.config import Config
from refimpl.model.forward import Attend, Model, Tap, forward, untapped
from refimpl.ops.reference import Act, Reference
from refimpl.sampling import Draw, Sampled

ACTS = ("none", "q8", "half")


def upload(matrix: Tensor) -> Tiles:
    """A matrix's planes in the device's memory; a mapped file's pages are given back."""
    tiles = pack(matrix)
    planes = [None if plane is None else roomy([cupy.asarray(plane)]) for plane in tiles.planes]
    forget(matrix.blocks if isinstance(matrix, Packed) else matrix)
    return replace(tiles, planes=Planes(*planes))


@dataclass(frozen=True, kw_only=True, eq=False)
class DeviceModel(Model):
    """A model on the device; `fused` where it has the common shape."""

    head: Linear | None  # None: the last layers are elsewhere
    fused: tuple[FusedLayer, ...] | None


def head_of(top: dict[str, Any]) -> Linear | None:
    if "output_norm.weight" not in top:
        return None
    head = "output" if "output.weight" in top else "token_embd"
    return Linear(parts=(top[f"{head}.weight"],), biases=(top.get("output.bias"),))


class CudaBackend(Composed):
    """Every tier on the device."""

    def __init__(self, *, act: Act = "none", cache: str = "float32") -> None:
        if act not in ACTS or cache not in CACHES:
            raise UnsupportedError(
                f"act is {act!r} and cache {cache!r}; known are {', '.join(ACTS)} and "
                f"{', '.join(CACHES)}"
            )
        self.launcher = Launcher()
        self.act, self.format = act, cache
        self.graphs = Graphs()
        reference = Reference(act=act, cache=cache)
        super().__init__(Operations(self.launcher, act), name="cupy", reference=reference)

    def put(self, x: ndarray) -> Any:
        return cupy.asarray(x)

    def host(self, x: Any) -> ndarray:
        return np.asarray(cupy.asnumpy(x))

    def weight(self, tensor: Tensor) -> Any:
        if tensor.ndim == 1:
            return float32(tensor[...])
        if tensor.ndim == 3:
            parts = (
                tensor.part(i) if isinstance(tensor, Packed) else tensor[i]
                for i in range(tensor.shape[0])
            )
            return Stack(parts=tuple(upload(part) for part in parts))
        return upload(tensor)

    def load(self, model: Model) -> DeviceModel:
        top = {name: self.weight(tensor) for name, tensor in model.top.items()}
        layers = [
            {name: self.weight(tensor) for name, tensor in layer.items()} for layer in model.layers
        ]
        fused = tuple(fuse_layer(layer) for layer in layers) if fits(model) else None
        return DeviceModel(
            config=model.config,
            top=top,
            layers=tuple(layers),
            head=head_of(top),
            fused=fused,
        )

    def shape(self, config: Config, cache: DeviceCache) -> Shape:
        return Shape(
            heads=config.n_heads,
            kv_heads=config.n_kv_heads,
            dim=config.head_dim,
            cache=cache.format,
            block_size=cache.block_size,
        )

    def new_cache(self, config: Config, *, n_blocks: int, block_size: int) -> DeviceCache:
        return new_cache(config, n_blocks, block_size, self.format)

    def copy_blocks(self, cache: DeviceCache, src: Blocks, dst: Blocks) -> None:
        if not src:
            return
        pairs = cupy.asarray(np.array([src, dst], np.int32).T.copy())
        layers, _, n_blocks, block_bytes = cache.data.shape
        words = block_bytes // 2
        self.launcher.run(
            self.launcher.kernels("copy_blocks"),
            (-(-words // 256), 2 * layers),
            256,
            cache.data,
            pairs,
            len(src),
            np.int64(n_blocks),
            words,
        )

    def read_blocks(self, cache: DeviceCache, blocks: Blocks) -> ndarray:
        return self.host(cache.data[:, :, blocks])

    def write_blocks(self, cache: DeviceCache, blocks: Blocks, contents: ndarray) -> None:
        cache.data[:, :, blocks] = cupy.asarray(contents)

    def attend(self, cache: DeviceCache, plan: Plan, config: Config) -> Attend:
        """Store each layer's new keys and values in their slots, then attend over the cache."""
        shape = self.shape(config, cache)
        batch = put_plan(plan)
        work = None if batch.decode else walk_work(plan, shape)
        over = Attention(self.launcher, shape, batch, work)

        def attend(layer: int, q: Any, k: Any, v: Any) -> Any:
            q, both = float32(q), cupy.concatenate([float32(k), float32(v)], axis=1)
            keys, values = cache.keys(layer), cache.values(layer)
            kv = shape.kv_heads * shape.dim
            kernel = self.launcher.kernels("rope_store", CACHE=CACHES[cache.format])
            self.launcher.run(
                kernel,
                (-(-2 * shape.kv_heads // 4), len(q)),
                128,
                None,
                keys,
                values,
                both,
                None,
                batch.slots,
                2 * kv,
                0,
                kv,
                0,
                shape.kv_heads,
                shape.dim,
                0,
                False,
                shape.block_size,
            )
            out = cupy.empty_like(q)
            over(out, q, keys, values, **config.attention(layer))
            return out

        return attend

    def forward(
        self,
        model: Any,
        plan: Plan,
        cache: DeviceCache,
        drawn: Any = NONE_DRAWN,
        tap: Tap = untapped,
        x: Any = None,
    ) -> Any:
        if model.fused is not None and tap is untapped and len(plan.tokens) and len(plan.rows):
            return self.forward_fused(model, plan, cache, drawn, x)
        tokens = known_tokens(plan.tokens, self.host(drawn))
        attend, ops = self.attend(cache, plan, model.config), self.ops
        return forward(model, tokens, plan.positions, attend, rows=plan.rows, ops=ops, tap=tap, x=x)

    def forward_fused(
        self,
        model: DeviceModel,
        plan: Plan,
        cache: DeviceCache,
        drawn: Any,
        x: Any,
    ) -> Any:
        """A graph where there is one for so many tokens, or the same launches one by one."""
        shape, n_tokens = self.shape(model.config, cache), len(plan.tokens)
        if (all_rows(plan) or model.head is not None) and (graph := self.graph(model, plan, cache)):
            graph.put(plan, x)
            self.fill_in(graph.ids[:n_tokens], drawn)
            graph.replay()
            out = graph.logits[:n_tokens]
            return out.copy() if all_rows(plan) else out[cupy.asarray(plan.rows)]
        batch = put_plan(plan)
        work = None if batch.decode else walk_work(plan, shape)
        buffers = Buffers(
            config=model.config, tokens=n_tokens, rows=len(plan.rows), launcher=self.launcher
        )
        step = Step(self.ops, model, buffers)
        step.begin()
        step.enter(x)
        attention = Attention(self.launcher, shape, batch, work)
        ids = cupy.asarray(plan.tokens)
        self.fill_in(ids, drawn)
        return step.run(ids, batch, cache, attention, cupy.asarray(plan.rows))

    def fill_in(self, ids: Any, drawn: Any) -> None:
        """`known_tokens`, in place; what was drawn may be on the device, read by nobody."""
        if not len(drawn):
            return
        drawn = cupy.asarray(drawn)
        kernel, n = self.launcher.kernels("known_tokens"), len(ids)
        self.launcher.run(kernel, (-(-n // 64),), 64, ids, drawn, n, drawn.strides[0] // 4)

    def graph(
        self, model: DeviceModel, plan: Plan, cache: DeviceCache, n_steps: int = 1
    ) -> DecodeGraph | None:
        """The graph of this step and of those after it, if there is one."""
        if not replayable(plan):
            return None
        return self.graphs.fitting(
            self.ops,
            model,
            cache,
            self.shape(model.config, cache),
            tokens=len(plan.tokens),
            longest=int(plan.context_lens.max()) + n_steps - 1,
            alone=one_token_each(plan),
            table_block=table_block(plan),
        )

    def decode_greedily(
        self, model: Any, plan: Plan, cache: Any, n: int, vocab_size: int
    ) -> Int32[ndarray, "sequences n"]:
        """A graph's replays, one after the other; the host waits once, for all the tokens."""
        sequences = len(plan.context_lens)
        if model.fused is None or model.head is None or bucket(sequences) is None:
            return super().decode_greedily(model, plan, cache, n, vocab_size)
        check_ahead(plan, n, vocab_size, model.config.vocab_size)
        chosen = cupy.empty((n, sequences), np.int32)
        argmax = Argmax(self.launcher, sequences)
        argmax(chosen[0], self.forward(model, plan, cache), vocab_size)
        if n > 1:
            plan = plan.after(np.zeros(sequences, np.int32))  # the token is on the device
            graph = self.graph(model, plan, cache, n - 1)
            assert graph is not None  # one token of each of so many sequences
            graph.put(plan)
            graph.ids[:sequences] = chosen[0]
            for i in range(1, n):
                graph.replay()
                argmax(chosen[i], graph.logits, vocab_size)
                if i + 1 < n:
                    graph.go_on(chosen[i])
        return np.ascontiguousarray(self.host(chosen).T)

    def choose(self, logits: Any, draws: Sequence[Draw]) -> list[Sampled | RefimplError]:
        """On the device, where its arithmetic decides; else by the definition, row by row."""
        return choose(self.launcher, logits, draws)

    def begin_choosing(self, logits: Any, draws: Sequence[Draw]) -> Begun | None:
        """The same; the step after it can follow before the host has read a token."""
        if not all(on_device(draw, logits.shape[1]) for draw in draws):
            return None
        return Begun(self.launcher, logits, draws)

    def bound(self, op: str, *args: Any, **options: Any) -> Float64[ndarray, "..."]:
        return bound(self.act, self.format, op, *args, **options)
