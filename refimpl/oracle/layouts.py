"""Sequences laid out in blocks by hand, and the steps that compute them: plans as plain data.

A layout gives every text a table of permuted blocks; some texts begin with full blocks of the
first, also within the very step that computes them.  `steps` cuts the texts into runs at random.  A
run may end with a draft: guesses that branch, whose slots the true text takes over later.

Everything follows from a `Random`.
"""

from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
from numpy import ndarray

from refimpl.kv.plan import Plan

Drawn = dict[str, Any]

VOCAB = 24
MOST_DRAFTED = 4
PLAN_ARRAYS = (
    "tokens",
    "positions",
    "slots",
    "context_lens",
    "block_tables",
    "seq_starts",
    "rows",
)


@dataclass(frozen=True, kw_only=True)
class Run:
    """Tokens start .. stop - 1 of a sequence, and guesses that follow: `parents` -1 is the last."""

    sequence: int
    start: int
    stop: int
    draft: tuple[int, ...] = ()
    parents: tuple[int, ...] = ()

    @property
    def n(self) -> int:
        return self.stop - self.start + len(self.draft)

    def path(self, node: int) -> list[int]:
        """The guesses up to this one."""
        parent = self.parents[node]
        return [*(self.path(parent) if parent >= 0 else []), self.draft[node]]

    def positions(self) -> list[int]:
        """A guess stands as far behind the last token as its path is long."""
        nodes = range(len(self.draft))
        return [*range(self.start, self.stop), *(self.stop - 1 + len(self.path(i)) for i in nodes)]

    def followed(self) -> list[int]:
        """What each token follows within the run, -1 the past."""
        n = self.stop - self.start
        return [*range(-1, n - 1), *(n + parent for parent in self.parents)]


class Layout:
    """Texts in permuted blocks; `shared` says how many of its blocks a text has from the first."""

    def __init__(
        self, rng: Random, block_size: int, texts: list[list[int]], shared: list[int]
    ) -> None:
        self.rng = rng
        self.block_size = block_size
        first, *_ = texts
        self.shared = [min(n * block_size, len(first) // block_size * block_size) for n in shared]
        self.texts = [first[:n] + text for n, text in zip(self.shared, texts, strict=True)]
        lengths = [-(-(len(text) + MOST_DRAFTED) // block_size) for text in self.texts]
        self.n_blocks = sum(lengths) + 2
        free = rng.sample(range(self.n_blocks), self.n_blocks)
        self.tables: list[list[int]] = []
        for length, n in zip(lengths, self.shared, strict=True):
            common = self.tables[0][: n // block_size] if self.tables else []
            self.tables.append(common + [free.pop() for _ in range(length - len(common))])
        self.done = list(self.shared)

    def steps(self, chunk: int, *, all_rows: bool, trees: bool) -> list[Drawn]:
        """Until every text is computed."""
        out = []
        while any(n < len(text) for n, text in zip(self.done, self.texts, strict=True)):
            runs = [self.guessed(run) if trees else run for run in self.runs(chunk)]
            out.append(self.step(runs, all_rows, trees))
        return out

    def runs(self, chunk: int) -> list[Run]:
        """Some sequences get further, in any order; who shares waits until that is computed."""
        everybody = self.rng.random() < 0.7
        order = self.rng.sample(range(len(self.texts)), len(self.texts))
        chosen = order if everybody else order[:1]
        after = [
            min(len(text), n + self.rng.randint(1, chunk))
            for text, n in zip(self.texts, self.done, strict=True)
        ]
        known = after[0] if 0 in chosen else self.done[0]
        ready = [s for s in chosen if self.shared[s] <= known and self.done[s] < after[s]]
        runs = [Run(sequence=s, start=self.done[s], stop=after[s]) for s in ready]
        for run in runs:
            self.done[run.sequence] = run.stop
        return runs or self.runs(chunk)

    def guessed(self, run: Run) -> Run:
        """The run with guesses of any shape."""
        n = self.rng.randint(0, MOST_DRAFTED)
        return Run(
            sequence=run.sequence,
            start=run.start,
            stop=run.stop,
            draft=tuple(self.rng.randrange(VOCAB) for _ in range(n)),
            parents=tuple(self.rng.randint(-1, i - 1) for i in range(n)),
        )

    def step(self, runs: list[Run], all_rows: bool, trees: bool) -> Drawn:
        """The arrays of a plan, and for each row of logits the text it comes after."""
        size = self.block_size
        counts = [run.n for run in runs]
        seq_starts = np.cumsum([0, *counts])
        ends = np.array([run.start + run.n for run in runs])
        tables = np.full((len(runs), -(-int(ends.max()) // size)), -1)
        for row, run, end in zip(tables, runs, ends.tolist(), strict=True):
            used = -(-end // size)
            row[:used] = self.tables[run.sequence][:used]
        owner = np.repeat(np.arange(len(runs)), counts)
        places = np.concatenate([np.arange(run.start, run.start + run.n) for run in runs])
        tokens = joined([self.tokens(run) for run in runs])
        rows = [
            (first + i, text)
            for run, first in zip(runs, seq_starts.tolist(), strict=False)
            for i, text in enumerate(self.texts_of(run))
            if all_rows or i >= run.stop - run.start - 1
        ]
        plan = {
            "tokens": tokens,
            "positions": joined([run.positions() for run in runs]),
            "slots": as_int32(tables[owner, places // size] * size + places % size),
            "context_lens": as_int32(ends),
            "block_tables": as_int32(tables),
            "seq_starts": as_int32(seq_starts),
            "rows": as_int32([row for row, _ in rows]),
            "tree_parents": joined([run.followed() for run in runs]) if trees else None,
        }
        drawn = hide_some(tokens, self.rng)
        return {"moves": [], "drawn": drawn, "texts": [text for _, text in rows], "plan": plan}

    def tokens(self, run: Run) -> list[int]:
        return [*self.texts[run.sequence][run.start : run.stop], *run.draft]

    def texts_of(self, run: Run) -> list[list[int]]:
        """The text that each token of a run ends."""
        text = self.texts[run.sequence]
        known = [text[: i + 1] for i in range(run.start, run.stop)]
        return known + [text[: run.stop] + run.path(i) for i in range(len(run.draft))]


def joined(parts: list[list[int]]) -> ndarray:
    return as_int32([x for part in parts for x in part])


def as_int32(x: Any) -> ndarray:
    return np.asarray(x, dtype=np.int32)


def hide_some(tokens: ndarray, rng: Random) -> ndarray:
    """Some tokens become "what draw j of the step before chose"; returns what those chose."""
    hidden = [i for i in range(len(tokens)) if rng.random() < 0.15]
    rng.shuffle(hidden)
    drawn = as_int32(tokens[hidden])
    tokens[hidden] = -1 - np.arange(len(hidden))
    return drawn


def plan_of(arrays: Drawn, block_size: int) -> Plan:
    """The plan that a step's arrays stand for."""
    parents = arrays.get("tree_parents")
    return Plan(
        **{name: as_int32(arrays[name]) for name in PLAN_ARRAYS},
        block_size=block_size,
        tree_parents=None if parents is None else as_int32(parents),
    )
