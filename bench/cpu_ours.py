"""This project's engine, driven like `cpu_llama.Llama`: batches in, the best token out."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from backends.numba import make_backend
from backends.numba.runtime import Runtime
from refimpl.kv.plan import Plan
from refimpl.model.load import load

BLOCK = 64


class Ours:
    """A model on the Numba backend, with as many block tables as there are sequences."""

    def __init__(
        self, path: Path, *, threads: int, context: int, sequences: int = 1, cache: str = "float16"
    ) -> None:
        self.backend = make_backend(act="half", cache=cache, threads=threads)
        self.model = self.backend.load(load(path, packed=True).model)
        self.blocks = -(-context // BLOCK)
        self.cache = self.backend.new_cache(
            self.model.config, n_blocks=self.blocks * sequences, block_size=BLOCK
        )
        self.logits: Any = None

    def with_threads(self, threads: int) -> "Ours":
        """The same weights and cache with another number of threads."""
        other = object.__new__(Ours)
        other.__dict__.update(self.__dict__)
        other.backend = make_backend(act="half", cache=self.backend.kind, threads=threads)
        runtime = Runtime(program=self.model.runtime.program, pool=other.backend.pool)
        other.model = replace(self.model, runtime=runtime)
        return other

    def run(
        self, tokens: list[int], positions: list[int], sequences: list[int], rows: list[int]
    ) -> None:
        """One batch; a sequence's tokens stand together."""
        owners = list(dict.fromkeys(sequences))
        starts = [sequences.index(s) for s in owners] + [len(tokens)]
        place = np.array(positions, np.int32)
        owner = np.array(sequences, np.int32)
        ends = place[np.array(starts[1:]) - 1] + 1
        width = -(-int(ends.max()) // BLOCK)
        tables = np.array(owners, np.int32)[:, None] * self.blocks + np.arange(
            width, dtype=np.int32
        )
        plan = Plan(
            tokens=np.array(tokens, np.int32),
            positions=place,
            slots=owner * np.int32(self.blocks * BLOCK) + place,
            context_lens=ends.astype(np.int32),
            block_tables=tables.astype(np.int32),
            seq_starts=np.array(starts, np.int32),
            rows=np.array(rows, np.int32),
            block_size=BLOCK,
        )
        self.logits = self.backend.forward(self.model, plan, self.cache)

    def best(self, i: int = -1) -> int:
        return int(self.logits[i].argmax())

    def clear(self) -> None:
        pass
