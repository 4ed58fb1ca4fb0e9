"""Attention over a backend's own cache, within the bound, for any script.

Keys, values and queries are made up.  What the cache should hold is kept beside it, rounded as the
backend's named storage type says; then attention over a gathered context is the definition's.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy import ndarray

from refimpl.backend import Backend
from refimpl.kv.plan import Plan
from refimpl.model.config import Config
from refimpl.oracle.comparison import ContractError, fraction, where_worst
from refimpl.oracle.guards import Given, twice
from refimpl.oracle.layouts import plan_of
from refimpl.oracle.memory import Poisoned
from refimpl.oracle.specimens import specimen
from refimpl.oracle.values import values


def attends(
    backend: Backend, *, attention: Mapping[str, Any], seed: int, kind: str, **script: Any
) -> float:
    """The worst fraction over all steps and layers of a script."""
    config, size = config_of(attention), script["block_size"]
    n_blocks = script["n_blocks"]
    cache = Poisoned(backend=backend, config=config, n_blocks=n_blocks, block_size=size).cache
    shape = (config.n_layers, 2, n_blocks * size, config.n_kv_heads, config.head_dim)
    held = np.full(shape, np.nan, np.float32)  # [layer, key or value, slot, head, d]
    worst = 0.0
    for n, step in enumerate(script["steps"]):
        plan = plan_of(step["plan"], size)
        attend = backend.attend(cache, plan, config)
        for layer in range(config.n_layers):
            q, k, v = drawn(config, len(plan.tokens), kind, seed + 8 * n + layer)
            for j, x in enumerate((k, v)):
                held[layer, j, plan.slots] = backend.reference.stored(x)
            given = [Given(x, backend.put) for x in (q, k, v)]
            result = twice(partial(attend, layer), given, backend)  # storing twice does no harm
            worst = max(worst, compare(backend, config, layer, plan, q, held[layer], result))
    return worst


def drawn(config: Config, n: int, kind: str, seed: int) -> tuple[ndarray, ndarray, ndarray]:
    d = config.head_dim
    q = values("normal", (n, config.n_heads, d), 3 * seed)
    k = values("normal", (n, config.n_kv_heads, d), 3 * seed + 1)
    return q, k, values(kind, (n, config.n_kv_heads, d), 3 * seed + 2)


def compare(
    backend: Backend,
    config: Config,
    layer: int,
    plan: Plan,
    q: ndarray,
    held: ndarray,
    result: ndarray,
) -> float:
    options, worst = config.attention(layer), 0.0
    for mine, slots in plan.sequences():
        given = (q[mine], held[0, slots], held[1, slots], plan.positions[mine])
        expected = backend.reference.attend(*given, **options)
        bound = backend.bound("attend", *given, **options)
        used = fraction(result[mine], expected, bound)
        if not used <= 1:
            raise ContractError(
                f"layer {layer}: attention over the cache leaves its bound: "
                + where_worst(result[mine], expected, bound)
            )
        worst = max(worst, used)
    return worst


def config_of(attention: Mapping[str, Any]) -> Config:
    """Two layers, the first with a window if there is one."""
    base = specimen("llama", "F32", 0).config
    return replace(
        base,
        n_layers=2,
        n_heads=attention["heads"],
        n_kv_heads=attention["kv_heads"],
        head_dim=attention["head_dim"],
        attn_scale=attention["head_dim"] ** -0.5,
        attn_soft_cap=attention["soft_cap"],
        windows=(attention["window"], None),
        ropes=base.ropes[:1] * 2,
    )
