"""Compiling everything at once, for a machine that should not wait later."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from backends.numba import ahead, attention, plans, pool, step
from backends.numba.activations import FLOATS
from backends.numba.compile import Entry, directory, reports
from backends.numba.formats import FORMATS, Format, format_of
from backends.numba.grammar_ready import compile_masks
from backends.numba.kv import TYPES
from backends.numba.sample import choose
from refimpl.sampling import Draw, SamplingParams

OnDone = Callable[[str, int, int], None]
EVERYTHING_ASKED = SamplingParams(
    presence_penalty=1, dry_multiplier=1, xtc_probability=1, top_n_sigma=1, logprobs=1
)
"""Chooses a token by way of all that `sample` and `penalise` have."""


def entries(formats: Iterable[Format]) -> list[Entry]:
    """Whatever a model in these formats may call."""
    found = [pool.work, pool.publish, pool.lead, step.step, step.product, step.attend_alone]
    found += [plans.look_over, ahead.greedy_steps]
    for kind in TYPES:
        found += attention.entries(kind)
    for f in formats:
        acts = ("none",) if f.packing == FLOATS else ("none", "half")
        found += [f.multiplier(act) for act in acts]
        found += [f.row_reader()] + ([f.repacker()] if f.put is not None else [])
    return found


def warm_up(types: Sequence[str], on_done: OnDone) -> Path:
    """Compile for some block types, or for all; returns where the code is kept."""
    formats = {f.name: f for f in map(format_of, types)} if types else FORMATS
    todo = entries(formats.values())
    reports().clear()
    for i, entry in enumerate(todo):
        assert entry.address
        on_done(entry.name, i + 1, len(todo) + 1)
    choose(np.zeros((1, 8), np.float32), [Draw(row=0, params=EVERYTHING_ASKED, history=[1, 1])])
    compile_masks()
    on_done("masks", len(todo) + 1, len(todo) + 1)
    return directory().parent
