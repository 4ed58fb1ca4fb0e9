"""A backend at work on one model: it moves blocks, computes steps, and outlives their failures.

A backend that raises in the middle of a step has failed for somebody, and does not say for whom.
But a sequence gives the same bits alone as in any batch (law 2), so the step is simply computed
again, one sequence at a time: whoever fails alone is to blame, and the others get what they would
have got.  Storing a key twice does no harm; moving a block twice might, so moves are made once, and
one that fails is charged to the request it was made for.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from refimpl.backend import NONE_DRAWN, Backend
from refimpl.engine.faults import BackendError
from refimpl.engine.step import Step
from refimpl.kv.blocks import BlockPool
from refimpl.kv.lease import Move, SwapIn, SwapOut
from refimpl.kv.plan import Plan
from refimpl.model.forward import Model


@dataclass(frozen=True, kw_only=True, eq=False)
class Logits:
    """What a step computed: the backend's arrays, and where in them each sequence's rows lie."""

    arrays: list[Any]
    places: list[tuple[int, int, int] | BackendError]  # array, first row, the row after the last


NO_LOGITS = Logits(arrays=[], places=[])


class Runner:
    """The backend, the model, the cache, and what has been swapped to the host."""

    def __init__(self, backend: Backend, model: Model, pool: BlockPool) -> None:
        self.backend = backend
        self.model = backend.load(model)
        self.cache = backend.new_cache(
            model.config, n_blocks=pool.n_blocks, block_size=pool.block_size
        )
        self.host: dict[int, Any] = {}  # contents of host blocks

    def move(self, step: Step) -> None:
        """Make the step's moves, in their order."""
        for request, move in step.moves:
            if error := failure(self.move_one, move):
                step.lost.append((request, error))

    def move_one(self, move: Move) -> None:
        if isinstance(move, SwapOut):
            self.host[move.dst] = self.backend.read_blocks(self.cache, [move.src])
        elif isinstance(move, SwapIn):
            self.backend.write_blocks(self.cache, [move.dst], self.host[move.src])
        else:
            self.backend.copy_blocks(self.cache, [move.src], [move.dst])

    def forward(self, plan: Plan, drawn: Any = NONE_DRAWN) -> Logits:
        """For each sequence of the plan its rows of logits, or why there are none."""
        n = len(plan.context_lens)
        if n == 0:
            return NO_LOGITS
        try:
            logits = self.backend.forward(self.model, plan, self.cache, drawn)
        except Exception as error:  # a backend may raise anything
            if n > 1:
                return joined([self.forward(plan.alone(s), drawn) for s in range(n)])
            blame = BackendError(f"the backend failed: {type(error).__name__}: {error}")
            return Logits(arrays=[], places=[blame])
        ends = np.searchsorted(plan.rows, plan.seq_starts).tolist()
        places = [(0, first, stop) for first, stop in pairwise(ends)]
        return Logits(arrays=[logits], places=[*places])

    def decode_greedily(self, plan: Plan, n: int, vocab_size: int) -> list[list[int] | None]:
        """For each sequence of the plan its n next tokens, or None if that failed."""
        try:
            chosen = self.backend.decode_greedily(self.model, plan, self.cache, n, vocab_size)
        except Exception:  # a backend may raise anything
            n_sequences = len(plan.context_lens)
            if n_sequences == 1:
                return [None]
            alone = [plan.alone(s) for s in range(n_sequences)]
            return [self.decode_greedily(one, n, vocab_size)[0] for one in alone]
        return [*chosen.tolist()]


def joined(parts: list[Logits]) -> Logits:
    """The results of plans that were computed one by one, as one."""
    whole = Logits(arrays=[], places=[])
    for part in parts:
        n = len(whole.arrays)
        for place in part.places:
            moved = place if isinstance(place, BackendError) else (n + place[0], *place[1:])
            whole.places.append(moved)
        whole.arrays.extend(part.arrays)
    return whole


def failure(act: Callable[[Move], None], move: Move) -> BackendError | None:
    try:
        act(move)
    except Exception as error:
        return BackendError(f"a block could not be moved: {type(error).__name__}: {error}")
    return None
