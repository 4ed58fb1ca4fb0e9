"""Two backends, one after the other: the first layers on one, the last layers on the other.

A model that a GPU has no room for runs with some of its layers there and the rest on the CPU: what
llama.cpp's `-ngl N` does.  As there, the last layers go first and the output counts as one more, so
N = 1 is the output alone; the embedding of tokens, of which a step reads a row for each, never goes
(`load_tensors` in src/llama-model.cpp, where `i_gpu_start` is `n_layer + 1 - n_gpu_layers`).

    N = 3 of a model with four layers

    first    embed   0   1
                          `-> the residual stream by host() and put(), tokens x dim numbers
    last                      2   3   output

Each half has its own weights, and the keys and values of its own layers, under one block table:
block 7 is block 7 of both.  What the halves are is not known here; one may be made of two itself.

Invariant (law 10): both together make the calls of the undivided model, in the same order.  Where
they compute alike, the cut changes no bit.

>>> from refimpl.backend import ReferenceBackend
>>> both = Offload(ReferenceBackend(), ReferenceBackend(), n_last=3)
>>> both.name, both.cut(4), both.cut(1)
('numpy+numpy', 2, 0)
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64, Int32
from numpy import ndarray

from refimpl.backend import NONE_DRAWN, Backend, Blocks, attends_trees, greedy_steps
from refimpl.errors import InputError, RefimplError
from refimpl.formats.quants.block import Tensor
from refimpl.kv.plan import Plan
from refimpl.model.config import Config
from refimpl.model.forward import Attend, Model, Tap, untapped
from refimpl.model.parts import configs_in_two, in_two
from refimpl.sampling import Draw, Sampled


@dataclass(frozen=True, kw_only=True, eq=False)
class Halves:
    """What the backends made of the two parts of a model, or of its cache."""

    config: Config
    first: Any
    last: Any


class Offload:
    """The contract, kept by two backends.  Arrays are those of `last`, which makes the logits."""

    def __init__(self, first: Backend, last: Backend, n_last: int) -> None:
        if n_last < 1:
            raise InputError(f"{n_last} layers leave {last.name} nothing to do: give one or more")
        if first.reference != last.reference:
            raise InputError(
                f"{first.name} and {last.name} would compute different things: give both the same "
                "modes of activations and cache"
            )
        self.first, self.last, self.n_last = first, last, n_last
        self.name = f"{first.name}+{last.name}"
        self.reference, self.ops = last.reference, last.ops
        self.attends_trees = attends_trees(first) and attends_trees(last)

    def cut(self, n_layers: int) -> int:
        """The first layer of the last half, in which the output is one more."""
        return max(0, n_layers + 1 - self.n_last)

    def put(self, x: ndarray) -> Any:
        return self.last.put(x)

    def host(self, x: Any) -> ndarray:
        return self.last.host(x)

    def to_first(self, x: Any) -> Any:
        return self.first.put(self.last.host(x))

    def to_last(self, x: Any) -> Any:
        return self.last.put(self.first.host(x))

    def weight(self, tensor: Tensor) -> Any:
        return self.last.weight(tensor)

    def load(self, model: Model) -> Halves:
        first, last = in_two(model, self.cut(model.config.n_layers))
        return Halves(config=model.config, first=self.first.load(first), last=self.last.load(last))

    def new_cache(self, config: Config, *, n_blocks: int, block_size: int) -> Halves:
        first, last = configs_in_two(config, self.cut(config.n_layers))
        return Halves(
            config=config,
            first=self.first.new_cache(first, n_blocks=n_blocks, block_size=block_size),
            last=self.last.new_cache(last, n_blocks=n_blocks, block_size=block_size),
        )

    def with_layers(self, cache: Halves) -> Iterator[tuple[Backend, Any]]:
        """The halves in which a block holds anything."""
        at = self.cut(cache.config.n_layers)
        if at > 0:
            yield self.first, cache.first
        if at < cache.config.n_layers:
            yield self.last, cache.last

    def copy_blocks(self, cache: Halves, src: Blocks, dst: Blocks) -> None:
        for backend, part in self.with_layers(cache):
            backend.copy_blocks(part, src, dst)

    def read_blocks(self, cache: Halves, blocks: Blocks) -> list[Any]:
        return [backend.read_blocks(part, blocks) for backend, part in self.with_layers(cache)]

    def write_blocks(self, cache: Halves, blocks: Blocks, contents: list[Any]) -> None:
        for (backend, part), content in zip(self.with_layers(cache), contents, strict=True):
            backend.write_blocks(part, blocks, content)

    def attend(self, cache: Halves, plan: Plan, config: Config) -> Attend:
        at = self.cut(config.n_layers)
        first_config, last_config = configs_in_two(config, at)
        first = self.first.attend(cache.first, plan, first_config)
        last = self.last.attend(cache.last, plan, last_config)

        def attend(layer: int, q: Any, k: Any, v: Any) -> Any:
            if layer >= at:
                return last(layer - at, q, k, v)
            return self.to_last(first(layer, *(self.to_first(z) for z in (q, k, v))))

        return attend

    def forward(
        self,
        model: Halves,
        plan: Plan,
        cache: Halves,
        drawn: Int32[ndarray, " draws"] = NONE_DRAWN,
        tap: Tap = untapped,
        x: Any = None,
    ) -> Any:
        """The first layers, then the last; each half as fused as its backend can."""
        at = self.cut(model.config.n_layers)
        heard, renumbered = (untapped, untapped) if tap is untapped else self.taps(tap, at)
        x = None if x is None else self.to_first(x)
        x = self.first.forward(model.first, plan, cache.first, drawn, heard, x)
        return self.last.forward(model.last, plan, cache.last, drawn, renumbered, self.to_last(x))

    def taps(self, tap: Tap, at: int) -> tuple[Tap, Tap]:
        """For each half: arrays are to be ours, and layers are to be counted from the whole's."""

        def heard(name: str, value: Any) -> Any:
            return self.to_first(tap(name, self.to_last(value)))

        def renumbered(name: str, value: Any) -> Any:
            layer, dot, what = name.partition(".")
            return tap(f"{at + int(layer)}.{what}" if dot else name, value)

        return heard, renumbered

    def decode_greedily(
        self, model: Halves, plan: Plan, cache: Halves, n: int, vocab_size: int
    ) -> Int32[ndarray, "sequences n"]:
        return greedy_steps(self, model, plan, cache, n, vocab_size)

    def for_drafts(self) -> Backend:
        """A draft model is small: it fits whole where the last layers are."""
        return self.last.for_drafts()

    def choose(self, logits: Any, draws: Sequence[Draw]) -> list[Sampled | RefimplError]:
        return self.last.choose(logits, draws)

    def bound(self, op: str, *args: Any, **options: Any) -> Float64[ndarray, "..."]:
        """Either may have made it: the larger of both."""
        bounds = (half.bound(op, *args, **options) for half in (self.first, self.last))
        return np.asarray(np.maximum(*bounds))

    @property
    def compile_json_schema(self) -> Any:
        """Masks are made on the host: by the half that has something faster, if one has."""
        for half in (self.first, self.last):
            if hasattr(half, "compile_json_schema"):
                return half.compile_json_schema
        raise AttributeError(f"neither {self.first.name} nor {self.last.name} compiles schemas")
