"""Hypothesis strategies for whole steps: models, block tables, chunkings, and real schedules.

A *script* is a list of steps for one cache, as plain data: which blocks move, the plan, and for
each row of logits the text it comes after, which says what it must be.

- `scripts` lays sequences out by hand (`layouts`): any chunking, any order, permuted blocks, blocks
  shared between sequences, tokens that only the step before knows, drafts that branch.
- `scheduled` drives the real scheduler with random requests, so that every kind of plan it can
  emit comes up: mixed prefill and decode, prefix hits, forks and copies, preemption by
  recomputation and by swapping.

>>> from hypothesis import given
>>> from refimpl.oracle.layouts import plan_of
>>> @given(scripts(trees=True))
... def test_every_plan_is_sound(script):
...     for step in script["steps"]:
...         plan_of(step["plan"], script["block_size"]).check()
>>> test_every_plan_is_sound()
"""

from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
from hypothesis import strategies as st

from refimpl.engine.batch import build_plan
from refimpl.engine.limits import Limits, Preemption
from refimpl.engine.request import Request
from refimpl.engine.scheduler import Scheduler
from refimpl.engine.step import Outcome, Step
from refimpl.kv.blocks import BlockPool, Copy, Sharing
from refimpl.kv.hashed import HashedMemory
from refimpl.kv.lease import Memory, SwapOut
from refimpl.kv.plan import Plan
from refimpl.kv.tree import RadixMemory
from refimpl.oracle.layouts import PLAN_ARRAYS, VOCAB, Layout
from refimpl.oracle.models import EXTRAS
from refimpl.sampling import Sampled, SamplingParams

Drawn = dict[str, Any]
DrawFn = Callable[..., Any]

CONTEXT = 48
FORMS = ("F32", "F16", "Q8_0", "Q4_0", "Q4_K", "Q6_K")
"""What the matrices of a conformance model are stored in."""
BLOCK_SIZES = st.sampled_from([1, 2, 3, 4, 8, 16])


@st.composite
def models(draw: DrawFn) -> Drawn:
    """A family, the form of its matrices, a seed: `specimens.specimen` makes the model."""
    return {
        "family": draw(st.sampled_from(sorted(EXTRAS))),
        "form": draw(st.sampled_from(FORMS)),
        "seed": draw(st.integers(0, 2)),
    }


HEADS = st.sampled_from([(1, 1), (4, 2), (6, 2), (4, 1), (3, 3), (8, 1)])


@st.composite
def paged_attention(draw: DrawFn, trees: bool = False) -> Drawn:
    """A script, the shape of attention, and what keys and values are like."""
    heads, kv_heads = draw(HEADS)
    return {
        **draw(scripts(trees=trees)),
        "attention": {
            "heads": heads,
            "kv_heads": kv_heads,
            "head_dim": draw(st.sampled_from([32, 64])),
            "soft_cap": draw(st.sampled_from([None, 50.0, 2.0])),
            "window": draw(st.none() | st.integers(1, 9)),
        },
        "kind": draw(st.sampled_from(["normal", "cancelling", "whole"])),
        "seed": draw(st.integers(0, 2**16)),
    }


@st.composite
def scripts(draw: DrawFn, most: int = 14, trees: bool = False) -> Drawn:
    """Sequences laid out by hand; with `trees`, guesses follow some of them."""
    rng = Random(draw(st.integers(0, 2**16)))
    block_size = draw(BLOCK_SIZES)
    texts = [
        [rng.randrange(VOCAB) for _ in range(draw(st.integers(1, most)))]
        for _ in range(draw(st.integers(1, 4)))
    ]
    shared = [0] + [draw(st.integers(0, 2)) for _ in texts[1:]]  # blocks taken from sequence 0
    layout = Layout(rng, block_size, texts, shared)
    chunk, all_rows = draw(st.integers(1, 6)), draw(st.booleans())
    return {
        "block_size": block_size,
        "n_blocks": layout.n_blocks,
        "steps": layout.steps(chunk, all_rows=all_rows, trees=trees),
    }


MEMORIES = {"none": Memory, "hashed": HashedMemory, "radix": RadixMemory}


@st.composite
def scheduled(draw: DrawFn) -> Drawn:
    """What the scheduler does with random requests, short of memory more often than not."""
    block_size = draw(st.sampled_from([1, 2, 4, 8]))
    enough = -(-30 // block_size)
    pool = BlockPool(n_blocks=enough + draw(st.integers(0, enough)), block_size=block_size)
    host = BlockPool(n_blocks=draw(st.integers(1, 12)), block_size=block_size)
    limits = Limits(
        max_batched_tokens=draw(st.integers(1, 24)),
        max_seqs=draw(st.integers(3, 5)),
        long_prefill_threshold=draw(st.sampled_from([0, 3])),
        preemption=draw(st.sampled_from(Preemption)),
        sharing=draw(st.sampled_from(Sharing)),
    )
    memory = MEMORIES[draw(st.sampled_from(sorted(MEMORIES)))](pool, host=host)
    scheduler = Scheduler(memory, limits)
    story = Random(1).choices(range(VOCAB), k=14)
    for i in range(draw(st.integers(1, 4))):
        end = draw(st.lists(st.integers(0, VOCAB - 1), max_size=4))
        prompt = (story[: draw(st.integers(0, 14))] + end) or [1]
        add(scheduler, str(i), prompt, draw(st.integers(1, 8)), draw(st.integers(1, 3)))
    return {
        "block_size": block_size,
        "n_blocks": pool.n_blocks,
        "steps": recorded(scheduler),
    }


def add(scheduler: Scheduler, id: str, prompt: list[int], max_tokens: int, n: int) -> None:
    """A request with n samples."""
    first, *others = (
        Request(
            id=f"{id}.{sample}",
            prompt=tuple(prompt),
            params=SamplingParams(max_tokens=max_tokens),
            sample=sample,
            is_unborn=sample > 0,
        )
        for sample in range(n)
    )
    first.unborn = others
    scheduler.add(first)


def recorded(scheduler: Scheduler) -> list[Drawn]:
    """Run until nobody is left; a token is a function of who draws it and where."""
    out = []
    while not scheduler.is_idle:
        step = scheduler.schedule()
        plan = build_plan(step)
        if step.shares:
            out.append(as_data(step, plan))
        scheduler.commit(step, [Outcome(sampled=[chosen(r) for r in s.draws]) for s in step.shares])
    return out


def chosen(request: Request) -> Sampled:
    token = (7 * len(request.tokens) + 5 * request.sample + len(request.id)) % VOCAB
    return Sampled(token=token, logprob=0.0, drawn_logprob=0.0)


def as_data(step: Step, plan: Plan) -> Drawn:
    kinds = {Copy: "copy", SwapOut: "out"}
    return {
        "moves": [[kinds.get(type(m), "in"), m.src, m.dst] for _, m in step.moves],
        "drawn": np.zeros(0, np.int32),
        "texts": [text_before(step, plan, row) for row in plan.rows.tolist()],
        "plan": {name: getattr(plan, name) for name in PLAN_ARRAYS},
    }


def text_before(step: Step, plan: Plan, row: int) -> list[int]:
    """The text that a token of the plan ends."""
    s = int(np.searchsorted(plan.seq_starts, row, side="right")) - 1
    return list(step.shares[s].request.tokens[: int(plan.positions[row]) + 1])
