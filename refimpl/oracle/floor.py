"""How much rounding matters to a model: its noise floor, and whether a backend stays under it.

Bounds per operation do not compose through a deep network; multiplied over the layers they say
nothing.  So from whole models on the yardstick is measured.  The reference is run again with the
result of every operation moved at random, as far as the backend's own bound for it allows (Monte
Carlo arithmetic: Parker 1997).  The largest deviation of a row among `RUNS` runs is its floor.  A
backend whose errors are random and as large as its bounds would leave it in one of RUNS + 1 rows;
the share that a real one uses is in the table of `refimpl conform`.  A backend without bounds, the
reference, has the floor 0.

Every tap of `refimpl.model.forward` has its floor (L3), and the first over it is named; the logits
have theirs (L4).  A top token that changes is no failure by itself: where the margin exceeds twice
the floor it cannot change without leaving the floor.

Sources: Parker, Monte Carlo Arithmetic (UCLA CSD-970002, 1997); Jezequel & Chesneaux, CADNA (2008).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy import ndarray
from numpy.random import Generator

from refimpl.backend import Backend, ReferenceBackend
from refimpl.kv.plan import Plan
from refimpl.model.forward import Model
from refimpl.oracle.comparison import ContractError
from refimpl.oracle.schedules import whole
from refimpl.oracle.specimens import specimen

RUNS = 12
OPERATIONS = (
    "embed",
    "linear",
    "add",
    "rms_norm",
    "layer_norm",
    "rope",
    "attend",
    "activate",
    "glu",
    "soft_cap",
    "moe",
)


class Noisy:
    """The backend's reference, every result moved by a random part of the backend's bound."""

    def __init__(self, backend: Backend, rng: Generator) -> None:
        for name in OPERATIONS:
            setattr(self, name, self.noisy(backend, name, rng))
        self.stored = backend.reference.stored

    def noisy(self, backend: Backend, name: str, rng: Generator) -> Callable[..., ndarray]:
        exact = getattr(backend.reference, name)

        def operation(*args: Any, **options: Any) -> ndarray:
            y: ndarray = exact(*args, **options)
            bound = backend.bound(name, *args, **options)
            moved = rng.uniform(-1, 1, y.shape) * np.where(np.isfinite(bound), bound, 0.0)
            return np.asarray(y + moved, dtype=y.dtype)

        return operation


@dataclass(kw_only=True, eq=False)
class Trace:
    """Every tap of one run, by name, in order; the first of a name counts."""

    taps: dict[str, ndarray] = field(default_factory=dict)

    def __call__(self, name: str, value: Any) -> Any:
        self.taps.setdefault(name, np.array(value, dtype=np.float64))
        return value


def traced(backend: Backend, model: Model, plan: Plan, host: Callable[[Any], ndarray]) -> Trace:
    """The taps of one step in a new cache."""
    trace = Trace()
    cache = backend.new_cache(model.config, n_blocks=1, block_size=plan.block_size)

    def tap(name: str, value: Any) -> Any:
        trace(name, host(value))
        return value

    logits = backend.forward(backend.load(model), plan, cache, tap=tap)
    trace("logits", host(logits))
    return trace


def reference_of(backend: Backend) -> ReferenceBackend:
    return ReferenceBackend(backend.reference)


def deviations(a: Trace, b: Trace, name: str) -> ndarray:
    """The largest deviation in each row of a tap."""
    gap = np.abs(a.taps[name] - b.taps[name])
    return np.asarray(gap.reshape(len(gap), -1).max(axis=1))


def floors(
    backend: Backend, model: Model, plan: Plan, seed: int
) -> tuple[Trace, dict[str, ndarray]]:
    """The reference's own trace, and for each tap the floor of every row."""
    same = lambda x: np.asarray(x)
    centre = traced(reference_of(backend), model, plan, same)
    spread = {name: np.zeros(len(value)) for name, value in centre.taps.items()}
    for run in range(RUNS):
        ops = Noisy(backend, np.random.default_rng((seed, run)))
        other = ReferenceBackend(backend.reference)
        other.ops = ops
        moved = traced(other, model, plan, same)
        for name in spread:
            spread[name] = np.maximum(spread[name], deviations(moved, centre, name))
    return centre, spread


def under_floor(
    backend: Backend, *, model: Mapping[str, Any], text: list[int], seed: int, only: str | None
) -> float:
    """The largest share of its floor that a row uses: of the logits, or of every tap before them.

    A fused forward may ignore taps: then there is nothing to compare before the logits.
    """
    plain, plan = specimen(**model), whole(text)
    centre, spread = floors(backend, plain, plan, seed)
    mine = traced(backend, plain, plan, backend.host)
    worst = 0.0
    names = [only] if only else [name for name in centre.taps if name != "logits"]
    for name in names:
        if name not in mine.taps:
            continue
        gap = deviations(mine, centre, name)
        if not np.isfinite(gap).all():
            raise ContractError(f"{name} holds NaN or Inf")
        with np.errstate(divide="ignore", invalid="ignore"):
            used = float(np.where(gap > 0, gap / spread[name], 0.0).max())
        if used > 1:
            raise ContractError(
                f"{name} is {used:.3g} times its noise floor away from the reference: look at the "
                "operation that makes it"
            )
        worst = max(worst, used)
    return worst
