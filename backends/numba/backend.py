"""The Numba backend: the contract of `refimpl.backend`, kept by compiled code.

Weights stay quantised and are interleaved once, at load (`layout`).  A model whose family has a
program runs as one compiled step (`runtime`); any other runs operation by operation (`ops`), with
the same kernels.  Invariant: both give the same bits, for any batch, chunks, blocks and threads.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int32
from numpy import ndarray

from backends.numba.cache import Cache
from backends.numba.layout import Joined, Matrix, Progress, interleave, source
from backends.numba.ops import Operations, f32
from backends.numba.paged import attend
from backends.numba.plans import check_decoding, checked_plan, unfolded
from backends.numba.pool import Pool
from backends.numba.program import compile_model
from backends.numba.runtime import Runtime
from backends.numba.warmup import warm_up
from refimpl.backend import NONE_DRAWN, Blocks, Composed, known_tokens
from refimpl.errors import RefimplError
from refimpl.formats.quants.block import Packed, Tensor
from refimpl.kv.plan import Plan
from refimpl.model.config import Config
from refimpl.model.forward import Attend, Model, Tap, forward, untapped
from refimpl.ops.reference import Act, Reference
from refimpl.sampling import Draw, Sampled


@dataclass(frozen=True, kw_only=True, eq=False)
class LoadedModel(Model):
    """A model whose matrices are interleaved, and its program if its family has one."""

    runtime: Runtime | None = None


class NumbaBackend(Composed):
    """Compiled kernels on packed weights; bitwise the same under every schedule."""

    attends_trees = True

    def __init__(
        self,
        *,
        act: Act = "none",
        cache: str = "float32",
        threads: int | None = None,
        progress: Progress | None = None,
        fused: bool = True,
        pool: Pool | None = None,
    ) -> None:
        self.pool = pool or Pool(threads)
        self.act, self.kind, self.fused, self.progress = act, cache, fused, progress
        super().__init__(
            Operations(pool=self.pool, act=act),
            name="numba",
            reference=Reference(act=act, cache=cache),
        )

    @cached_property
    def compile_json_schema(self) -> Any:
        """Masks made by compiled code too; the engine asks whether there is something faster."""
        from backends.numba.grammar_constraint import SchemaCompiler

        return SchemaCompiler()

    def weight(self, tensor: Tensor) -> Any:
        """A matrix is interleaved; a vector becomes float32; a stack, its matrices."""
        if isinstance(tensor, Matrix | Joined):
            return tensor
        if tensor.ndim == 1:
            return f32(tensor[...])
        return self._interleaved([tensor])[0]

    def load(self, model: Model) -> LoadedModel:
        """All matrices into one run of memory."""
        parts = [model.top, *model.layers]
        tensors = [apart(model.config, layer) for layer in parts]
        made = iter(self._interleaved([t for some in tensors for t in some.values()]))
        loaded_parts: list[dict[str, Any]] = []
        for layer, some in zip(parts, tensors, strict=True):
            vectors = {n: f32(t[...]) for n, t in layer.items() if t.ndim == 1}
            loaded_parts.append({**vectors, **{name: next(made) for name in some}})
        loaded = LoadedModel(
            config=model.config, top=loaded_parts[0], layers=tuple(loaded_parts[1:])
        )
        program = compile_model(loaded, self.act) if self.fused else None
        runtime = None if program is None else Runtime(program=program, pool=self.pool)
        return replace(loaded, runtime=runtime)

    def _interleaved(self, tensors: list[Tensor | list[Tensor]]) -> list[Any]:
        flat = [m for tensor in tensors for m in matrices_of(tensor)]
        made = iter(interleave([source(m) for m in flat], self.pool.threads, self.progress))
        return [together(tensor, made) for tensor in tensors]

    def new_cache(self, config: Config, *, n_blocks: int, block_size: int) -> Cache:
        return Cache(
            kind=self.kind,
            n_layers=config.n_layers,
            n_slots=n_blocks * block_size,
            block_size=block_size,
            kv_heads=config.n_kv_heads,
            head_dim=config.head_dim,
        )

    def read_blocks(self, cache: Cache, blocks: Blocks) -> list[ndarray]:
        return cache.read(cache.slots_of(blocks))

    def write_blocks(self, cache: Cache, blocks: Blocks, contents: list[ndarray]) -> None:
        cache.write(cache.slots_of(blocks), contents)

    def attend(self, cache: Cache, plan: Plan, config: Config) -> Attend:
        plan = unfolded(plan)
        found = checked_plan(plan, np.zeros_like(plan.tokens), cache)  # tokens do not matter here

        def one_layer(layer: int, q: ndarray, k: ndarray, v: ndarray) -> ndarray:
            options = config.attention(layer)
            return attend(self.pool, cache, layer, found, f32(q), (f32(k), f32(v)), options)

        return one_layer

    def forward(
        self,
        model: Any,
        plan: Plan,
        cache: Any,
        drawn: Int32[ndarray, " draws"] = NONE_DRAWN,
        tap: Tap = untapped,
        x: Any = None,
    ) -> Any:
        """Fused if the family has a program and nobody listens; else operation by operation."""
        tokens = known_tokens(plan.tokens, drawn) if len(drawn) else plan.tokens
        runtime = getattr(model, "runtime", None)
        plan = unfolded(plan)
        checked = checked_plan(plan, tokens, cache, vocab_size=model.config.vocab_size)
        if runtime is not None and tap is untapped and len(tokens):
            return runtime.run(checked, cache, x)
        attend_, ops = self.attend(cache, plan, model.config), self.ops
        return forward(
            model, tokens, plan.positions, attend_, rows=plan.rows, ops=ops, tap=tap, x=x
        )

    def decode_greedily(
        self, model: Any, plan: Plan, cache: Any, n: int, vocab_size: int
    ) -> Int32[ndarray, "sequences n"]:
        """In one call, if the family has a program."""
        runtime = getattr(model, "runtime", None)
        if runtime is None:
            return super().decode_greedily(model, plan, cache, n, vocab_size)
        check_decoding(plan, n, vocab_size, model.config.vocab_size)
        size = model.config.vocab_size
        checked = checked_plan(plan, plan.tokens, cache, vocab_size=size, n_steps=n)
        return np.asarray(runtime.decode_greedily(checked, cache, n, vocab_size))

    def choose(self, logits: Any, draws: Sequence[Draw]) -> list[Sampled | RefimplError]:
        from backends.numba.sample import choose

        return choose(np.asarray(logits), draws)

    def for_drafts(self) -> "NumbaBackend":
        """Activations in bytes, which is faster; the same threads, since both take turns."""
        return NumbaBackend(act="q8", cache=self.kind, fused=self.fused, pool=self.pool)

    def warm_up(self, types: Sequence[str], on_done: Callable[[str, int, int], None]) -> Path:
        """Compile for some block types, or all; what `refimpl warmup` calls."""
        return warm_up(types, on_done)


def apart(c: Config, layer: Mapping[str, Tensor]) -> dict[str, Tensor | list[Tensor]]:
    """The matrices of a layer; what a checkpoint has joined is cut, so that each part begins a
    group of 16 rows."""
    heads = [c.n_heads * c.head_dim, *2 * [c.n_kv_heads * c.head_dim]]
    joined = {"attn_qkv.weight": heads}
    if c.gated and "ffn_gate.weight" not in layer:
        joined["ffn_up.weight"] = [c.ffn_dim, c.ffn_dim]
    return {
        name: cut(tensor, joined[name]) if name in joined else tensor
        for name, tensor in layer.items()
        if tensor.ndim > 1
    }


def cut(tensor: Tensor, sizes: list[int]) -> list[Tensor]:
    ends = list(accumulate(sizes, initial=0))
    rows = [slice(a, b) for a, b in pairwise(ends)]
    if isinstance(tensor, Packed):
        return [Packed(type=tensor.type, blocks=tensor.blocks[r]) for r in rows]
    return [tensor[r] for r in rows]


def matrices_of(tensor: Tensor | list[Tensor]) -> list[Tensor]:
    """A matrix, or the matrices of a stack, or of a cut."""
    if isinstance(tensor, list):
        return tensor
    if tensor.ndim == 2:
        return [tensor]
    if isinstance(tensor, Packed):
        return [Packed(type=tensor.type, blocks=blocks) for blocks in tensor.blocks]
    return list(tensor)


def together(tensor: Tensor | list[Tensor], made: Iterator[Matrix]) -> Any:
    """What `matrices_of` took apart, from the interleaved matrices as they come.

    A stack (a layer's experts) becomes an array of matrices.
    """
    if isinstance(tensor, list):
        return Joined(parts=tuple(next(made) for _ in tensor))
    if tensor.ndim == 2:
        return next(made)
    stack = np.empty(tensor.shape[0], object)
    stack[:] = [next(made) for _ in range(tensor.shape[0])]
    return stack
