"""Laws 1 to 5 on any backend: the same bits alone, in any batch, in any chunks, in any blocks.

A script is run in a poisoned cache, and every row of logits is compared with the one that the same
backend gives for the same text alone, at once, in blocks of its own.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy import ndarray

from refimpl.backend import Backend
from refimpl.kv.plan import Plan
from refimpl.model.forward import Model
from refimpl.oracle.comparison import ContractError, same_bits
from refimpl.oracle.layouts import plan_of
from refimpl.oracle.memory import Poisoned
from refimpl.oracle.specimens import specimen

Script = Mapping[str, Any]


def invariant(backend: Backend, *, model: Mapping[str, Any], **script: Any) -> float:
    """Every row of every step of the script equals that of its text alone."""
    plain = specimen(**model)
    loaded = backend.load(plain)
    alone = Alone(backend, plain, loaded)
    for n, (plan, logits) in enumerate(steps(backend, plain, loaded, script)):
        for i, text in enumerate(script["steps"][n]["texts"]):
            if not same_bits(logits[i], alone.row(text)):
                position = int(plan.positions[plan.rows[i]])
                raise ContractError(
                    f"step {n}, row {i}: the logits after token {position} have other bits than "
                    "those of the same text alone"
                )
    return 0.0


def steps(backend: Backend, plain: Model, loaded: Any, script: Script) -> Any:
    """Each plan of the script, and its logits."""
    cache = Poisoned(
        backend=backend,
        config=plain.config,
        n_blocks=script["n_blocks"],
        block_size=script["block_size"],
    ).cache
    host: dict[int, Any] = {}
    for step in script["steps"]:
        for kind, src, dst in step["moves"]:
            move(backend, cache, host, kind, src, dst)
        plan = plan_of(step["plan"], script["block_size"])
        drawn = np.asarray(step["drawn"], np.int32)
        yield plan, np.array(backend.host(backend.forward(loaded, plan, cache, drawn)))


def move(backend: Backend, cache: Any, host: dict[int, Any], kind: str, src: int, dst: int) -> None:
    if kind == "out":
        host[dst] = backend.read_blocks(cache, [src])
    elif kind == "in":
        backend.write_blocks(cache, [dst], host[src])
    else:
        backend.copy_blocks(cache, [src], [dst])


class Alone:
    """Logits of texts that are computed by themselves, each at once."""

    def __init__(self, backend: Backend, plain: Model, loaded: Any) -> None:
        self.backend = backend
        self.plain = plain
        self.loaded = loaded
        self.known: dict[tuple[int, ...], ndarray] = {}

    def row(self, text: list[int]) -> ndarray:
        """The logits after a text."""
        key = tuple(text)
        if key not in self.known:
            for i, row in enumerate(self.logits(text)):
                self.known.setdefault(key[: i + 1], row)
        return self.known[key]

    def logits(self, text: list[int]) -> ndarray:
        cache = Poisoned(
            backend=self.backend, config=self.plain.config, n_blocks=1, block_size=len(text)
        ).cache
        plan = whole(text)
        return np.array(self.backend.host(self.backend.forward(self.loaded, plan, cache)))


def whole(text: list[int]) -> Plan:
    """One sequence at once, in one block; all rows."""
    n = len(text)
    places = np.arange(n, dtype=np.int32)
    return Plan(
        tokens=np.array(text, np.int32),
        positions=places,
        slots=places,
        context_lens=np.array([n], np.int32),
        block_tables=np.zeros((1, 1), np.int32),
        seq_starts=np.array([0, n], np.int32),
        rows=places,
        block_size=n,
    )
