"""What the engine asks of whatever computes, and the reference as its first implementation.

Three tiers on one object.  What `weight`, `load` and `new_cache` return is opaque: only the backend
that made it looks inside; so are its arrays, which `put` and `host` carry to it and back.

1. Memory: `weight` and `load` (packed blocks may stay packed, or be repacked once), `new_cache`,
   and blocks as whole units: `copy_blocks` (copy-on-write), `read_blocks` and `write_blocks`
   (swapping to the host, tests that look inside).
2. Operations, each with its meaning in `refimpl.ops`: the attribute `ops`, and `attend`, which is
   attention over a cache.  `bound` says how far a result may lie from the reference's.
3. `forward`, a whole step, and `choose`, the tokens at its end; `decode_greedily`, several steps
   in a row.  All may be fused, and must then equal their composition.

A backend need not write all that: `Composed` makes every tier from operations on NumPy arrays, and
a subclass replaces what it does better.  `examples/torch_backend.py` is a stranger's, in a few
lines.

Order is part of the contract: calls take effect in the order in which they are made, whether or not
they have returned.  That is what lets the engine free a block at once and hand it to somebody else
while a step that reads it is still running, and schedule a step on top of one in flight.

`drawn` are the tokens that the step before chose, one for each of its draws; a plan's negative
tokens refer to them.  A backend whose `forward` returns before it has finished can also begin to
choose and return (`ChoosesAhead`): then the next step follows on tokens that nobody has read.

A model may be a part of one (`refimpl.model.parts`), so that its layers can lie on two backends
(`refimpl.offload`): `forward` then takes the residual stream `x` from the part before, and returns
its own if it is not the last.
"""

from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float64, Int32
from numpy import ndarray

from refimpl.errors import InputError, RefimplError
from refimpl.formats.quants.block import Tensor
from refimpl.kv.paged import PagedCache, attend_paged
from refimpl.kv.plan import Plan
from refimpl.model.config import Config
from refimpl.model.forward import Attend, Model, Tap, forward, untapped
from refimpl.ops import bounds
from refimpl.ops.numerics import F32
from refimpl.ops.reference import Reference
from refimpl.sampling import Draw, Sampled, choose

Blocks = list[int]
NONE_DRAWN = np.zeros(0, dtype=np.int32)


@runtime_checkable
class Backend(Protocol):
    """The contract."""

    name: str
    reference: Reference
    """The definition that this backend promises to equal within its bounds."""
    ops: Any
    """The operations of `Reference`, under the same names, on the backend's arrays."""

    def put(self, x: ndarray) -> Any:
        """A NumPy array as the backend's own."""

    def host(self, x: Any) -> ndarray:
        """The backend's array as NumPy's, once it is computed."""

    def weight(self, tensor: Tensor) -> Any:
        """A weight as `ops` take it.

        Has `shape` and `ndim`; a vector is an array of the backend's, also under `[...]`; a stack
        of matrices has `part(i)` unless it is a NumPy array.
        """

    def load(self, model: Model) -> Any:
        """The model as `forward` takes it, made once."""

    def new_cache(self, config: Config, *, n_blocks: int, block_size: int) -> Any:
        """Room for the keys and values of n_blocks * block_size tokens in every layer."""

    def copy_blocks(self, cache: Any, src: Blocks, dst: Blocks) -> None:
        """Copy each block src[i] to dst[i], in this order."""

    def read_blocks(self, cache: Any, blocks: Blocks) -> Any:
        """The contents of some blocks, for `write_blocks`."""

    def write_blocks(self, cache: Any, blocks: Blocks, contents: Any) -> None:
        """Put back what `read_blocks` returned, in any blocks."""

    def attend(self, cache: Any, plan: Plan, config: Config) -> Attend:
        """What `forward` calls in each layer: store the new keys and values, then attend."""

    def forward(
        self,
        model: Any,
        plan: Plan,
        cache: Any,
        drawn: Any = NONE_DRAWN,
        tap: Tap = untapped,
        x: Any = None,
    ) -> Any:
        """Logits of the plan's rows [rows, vocab]; the new keys and values are in their slots.

        Of a part of a model: from the stream x on [tokens, dim], or up to it.
        """

    def decode_greedily(
        self, model: Any, plan: Plan, cache: Any, n: int, vocab_size: int
    ) -> Int32[ndarray, "sequences n"]:
        """The plan's step and n - 1 more; after each, every sequence's most probable token.

        Of ids below `vocab_size`; of equals, the lowest.  What a draft model does: no filter, no
        constraint, nobody to look on.  The plan's rows are the last token of each sequence, nothing
        branches, and the block tables have room for n - 1 tokens more.
        """

    def choose(self, logits: Any, draws: Sequence[Draw]) -> list[Sampled | RefimplError]:
        """A token for each draw, or why there is none (`refimpl.sampling.choose`)."""

    def for_drafts(self) -> "Backend":
        """Whoever computes a draft model: its guesses are checked, so it may round as it likes."""

    def bound(self, op: str, *args: Any, **options: Any) -> Float64[ndarray, "..."]:
        """How far `ops.op(*args)` may lie from `reference.op(*args)`, component by component."""


@runtime_checkable
class Choosing(Protocol):
    """Tokens that are being chosen."""

    tokens: Any
    """What `forward` takes as `drawn`: the backend's own, perhaps not computed yet."""
    misled: bool
    """After `results`: is one of the tokens it returned not the one in `tokens`?

    (The device could not tell, and the definition chose.)  What was computed from `tokens` is to be
    computed again.  A draw that has no token does not count.
    """

    def results(self) -> list[Sampled | RefimplError]:
        """What `choose` returns, once it is there."""


@runtime_checkable
class ChoosesAhead(Protocol):
    """A backend that need not wait for the tokens it chooses."""

    def begin_choosing(self, logits: Any, draws: Sequence[Draw]) -> Choosing | None:
        """Begin what `choose` does, or None where a draw is not for the device."""


class Composed:
    """Every tier, from operations on NumPy arrays."""

    def __init__(
        self, ops: Any, *, name: str = "composed", reference: Reference | None = None
    ) -> None:
        self.ops = ops
        self.name = name
        self.reference = reference or Reference()

    def put(self, x: ndarray) -> Any:
        return x

    def host(self, x: Any) -> ndarray:
        return np.asarray(x)

    def weight(self, tensor: Tensor) -> Any:
        return tensor

    def load(self, model: Model) -> Any:
        return replace(
            model,
            top={name: self.weight(tensor) for name, tensor in model.top.items()},
            layers=tuple(
                {name: self.weight(tensor) for name, tensor in layer.items()}
                for layer in model.layers
            ),
        )

    def new_cache(self, config: Config, *, n_blocks: int, block_size: int) -> Any:
        return PagedCache(n_slots=n_blocks * block_size, block_size=block_size)

    def copy_blocks(self, cache: Any, src: Blocks, dst: Blocks) -> None:
        for one, other in zip(src, dst, strict=True):
            self.write_blocks(cache, [other], self.read_blocks(cache, [one]))

    def read_blocks(self, cache: Any, blocks: Blocks) -> Any:
        slots = cache.slots_of(blocks)
        return [stored[slots] for stored in (*cache.keys, *cache.values)]

    def write_blocks(self, cache: Any, blocks: Blocks, contents: Any) -> None:
        slots = cache.slots_of(blocks)
        for stored, content in zip((*cache.keys, *cache.values), contents, strict=True):
            stored[slots] = content

    def attend(self, cache: Any, plan: Plan, config: Config) -> Attend:
        return attend_paged(cache, plan, config, self.ops, self.reference.stored)

    def forward(
        self,
        model: Any,
        plan: Plan,
        cache: Any,
        drawn: Int32[ndarray, " draws"] = NONE_DRAWN,
        tap: Tap = untapped,
        x: Any = None,
    ) -> Any:
        attend, ops = self.attend(cache, plan, model.config), self.ops
        tokens = known_tokens(plan.tokens, drawn)
        return forward(model, tokens, plan.positions, attend, rows=plan.rows, ops=ops, tap=tap, x=x)

    def decode_greedily(
        self, model: Any, plan: Plan, cache: Any, n: int, vocab_size: int
    ) -> Int32[ndarray, "sequences n"]:
        return greedy_steps(self, model, plan, cache, n, vocab_size)

    def choose(self, logits: Any, draws: Sequence[Draw]) -> list[Sampled | RefimplError]:
        return choose(self.host(logits), draws)

    def for_drafts(self) -> Any:
        return self

    def bound(self, op: str, *args: Any, **options: Any) -> Float64[ndarray, "..."]:
        """The theorems of float32 in any order (`refimpl.ops.bounds`)."""
        named = op == "linear" and self.reference.act != "none"
        theorem = getattr(bounds, f"linear_{self.reference.act}" if named else op)
        return np.asarray(theorem(*args, engine=F32, **options))


class ReferenceBackend(Composed):
    """NumPy, exact inside every operation and rounded once (`refimpl.ops`)."""

    def __init__(self, ops: Reference | None = None) -> None:
        reference = ops or Reference()
        super().__init__(reference, name="numpy", reference=reference)

    def bound(self, op: str, *args: Any, **options: Any) -> Float64[ndarray, "..."]:
        """It is the definition."""
        return np.zeros(np.shape(getattr(self.ops, op)(*args, **options)))


def make_backend(factory: str, **modes: Any) -> Backend:
    """Call `package.module:factory`; the result must look like a backend."""
    module, _, name = factory.partition(":")
    try:
        made = getattr(import_module(module), name)(**modes)
    except (ImportError, AttributeError, TypeError) as error:
        raise InputError(f"no backend at {factory!r}: {error}") from None
    if not isinstance(made, Backend):
        missing = [n for n in sorted(backend_members()) if not hasattr(made, n)]
        raise InputError(f"what {factory!r} makes is no backend: it has no {', '.join(missing)}")
    return made


def attends_trees(backend: Backend) -> bool:
    """Does it honour `Plan.tree_parents`?  It says so, or leaves attention to the definition."""
    kind = type(backend)
    defined = (
        getattr(kind, name, None) is getattr(Composed, name) for name in ("attend", "forward")
    )
    return bool(getattr(backend, "attends_trees", all(defined)))


def backend_members() -> set[str]:
    """The names that the contract asks for."""
    return {n for n in (*vars(Backend), *Backend.__annotations__) if not n.startswith("_")}


def known_tokens(
    tokens: Int32[ndarray, " tokens"], drawn: Int32[ndarray, " draws"]
) -> Int32[ndarray, " tokens"]:
    """Replace -1-j by the token of draw j.

    >>> known_tokens(np.array([5, -2, -1], np.int32), np.array([70, 80], np.int32)).tolist()
    [5, 80, 70]
    """
    known = tokens.copy()
    known[tokens < 0] = drawn[-1 - tokens[tokens < 0]]
    return known


def greedy_steps(
    backend: Backend, model: Any, plan: Plan, cache: Any, n: int, vocab_size: int
) -> Int32[ndarray, "sequences n"]:
    """What `decode_greedily` means."""
    chosen: list[ndarray] = []
    for _ in range(n):
        plan = plan.after(chosen[-1]) if chosen else plan
        logits = backend.host(backend.forward(model, plan, cache))[:, :vocab_size]
        chosen.append(logits.argmax(axis=1).astype(np.int32))
    return np.stack(chosen, axis=1)
