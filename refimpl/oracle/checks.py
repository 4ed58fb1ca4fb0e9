"""The table of checks: what is asked of a backend, level by level.

    L0  memory     blocks are moved exactly, a step stores its own slots and nothing else
    L1  schedule   every bit is the same alone, in any batch, in any chunks, wherever blocks lie
    L2  operation  each result lies within the bound that the backend declares for it
    L3  trace      every intermediate of a whole model lies under its noise floor
    L4  logits     and so does what comes out

A check is a name, a level, a hypothesis strategy for its arguments and a function that measures
one case: it returns the fraction of the bound that was used, or raises `ContractError`.

>>> [check.id for check in select(["rope", "L0/*"])]
['L0/copy_blocks', 'L0/swap_blocks', 'L0/stored_slots', 'L1/rope', 'L2/rope']
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

from hypothesis import strategies as st

from refimpl.backend import Backend
from refimpl.errors import InputError
from refimpl.oracle import (
    ahead,
    choices,
    floor,
    layouts,
    memory,
    operations,
    paged,
    schedules,
    strategies,
    strategies_choices,
    strategies_plans,
)

Measure = Callable[..., float]


@dataclass(frozen=True, kw_only=True)
class Check:
    """One row of the table."""

    name: str
    level: str
    arguments: Any
    """A hypothesis strategy."""
    measure: Measure
    """(backend, **arguments) -> the fraction of the bound used."""
    answer: Callable[..., Any] | None = None
    """(backend, **arguments) -> what a saved case says is right, if it can."""
    cost: int = 1
    """How many plain cases one of its cases is worth, in time."""

    @property
    def id(self) -> str:
        return f"{self.level}/{self.name}"


def checks() -> list[Check]:
    """All of them, in order."""
    return [
        *memory_checks(),
        *schedule_checks(),
        *operation_checks("L1", operations.row_by_row, cost=3),
        *operation_checks("L2", operations.within_bound),
        *step_checks(),
    ]


MODELS = strategies_plans.models()
BLOCKS = st.lists(st.integers(0, 5), min_size=1, max_size=5)
PLACES = st.fixed_dictionaries(
    {
        "model": MODELS,
        "n_blocks": st.just(6),
        "block_size": strategies_plans.BLOCK_SIZES,
        "seed": strategies.SEEDS,
    }
)


def with_model(script: Any) -> Any:
    """A script, and a model to run it on."""
    return st.builds(lambda model, script: {"model": model, **script}, MODELS, script)


def memory_checks() -> Iterator[Check]:
    pairs = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)).map(list), max_size=5)
    permuted = st.permutations(range(6))
    yield Check(
        name="copy_blocks",
        level="L0",
        arguments=st.builds(lambda p, pairs: {**p, "pairs": pairs}, PLACES, pairs),
        measure=memory.copies,
    )
    yield Check(
        name="swap_blocks",
        level="L0",
        arguments=st.builds(
            lambda p, a, b, n: {**p, "out": list(a[:n]), "back": list(b[:n])},
            PLACES,
            permuted,
            permuted,
            st.integers(1, 6),
        ),
        measure=memory.swaps,
    )
    yield Check(
        name="stored_slots",
        level="L0",
        arguments=with_model(strategies_plans.scripts()),
        measure=memory.stores,
        cost=2,
    )


def schedule_checks() -> Iterator[Check]:
    for name, script in (
        ("any_plan", strategies_plans.scripts()),
        ("draft_trees", strategies_plans.scripts(trees=True)),
        ("scheduler", strategies_plans.scheduled()),
    ):
        yield Check(
            name=name,
            level="L1",
            arguments=with_model(script),
            measure=schedules.invariant,
            cost=2,
        )
    yield Check(
        name="decode_greedily",
        level="L1",
        arguments=st.fixed_dictionaries(
            {
                "model": MODELS,
                "texts": st.lists(
                    st.lists(st.integers(0, layouts.VOCAB - 1), min_size=1, max_size=6),
                    min_size=1,
                    max_size=4,
                ),
                "n": st.integers(1, 5),
                "block_size": strategies_plans.BLOCK_SIZES,
                "vocab_size": st.integers(1, layouts.VOCAB),
                "seed": strategies.SEEDS,
            }
        ),
        measure=ahead.decodes,
        cost=2,
    )


def step_checks() -> Iterator[Check]:
    """What needs a cache, a whole model, or both."""
    for name, trees in (("paged_attention", False), ("paged_drafts", True)):
        yield Check(
            name=name,
            level="L2",
            arguments=strategies_plans.paged_attention(trees=trees),
            measure=paged.attends,
        )
    yield Check(
        name="choose", level="L2", arguments=strategies_choices.choices(), measure=choices.chooses
    )
    text = st.lists(st.integers(0, layouts.VOCAB - 1), min_size=1, max_size=9)
    for level, only in (("L3", None), ("L4", "logits")):
        yield Check(
            name="logits" if only else "taps",
            level=level,
            arguments=st.builds(
                lambda model, text, seed, only=only: {
                    "model": model,
                    "text": text,
                    "seed": seed,
                    "only": only,
                },
                MODELS,
                text,
                strategies.SEEDS,
            ),
            measure=floor.under_floor,
            cost=4,
        )


def operation_checks(level: str, measure: Measure, cost: int = 1) -> Iterator[Check]:
    """Every operation, and those with weights in every form."""
    for op, make in (("embed", strategies.embed), ("linear", strategies.linear)):
        for form in strategies.WEIGHTS:
            yield Check(
                name=f"{op}[{form}]",
                level=level,
                arguments=make(form),
                measure=partial(measured, measure, op),
                answer=partial(answered, op),
                cost=cost,
            )
    for op, plain in strategies.OPERATIONS.items():
        yield Check(
            name=op,
            level=level,
            arguments=plain(),
            measure=partial(measured, measure, op),
            answer=partial(answered, op),
            cost=cost,
        )


def measured(measure: Measure, op: str, backend: Backend, **arguments: Any) -> float:
    return measure(backend, op, arguments["args"], arguments["options"])


def answered(op: str, backend: Backend, **arguments: Any) -> Any:
    return operations.answer(backend, op, arguments["args"], arguments["options"])


def select(patterns: Sequence[str]) -> list[Check]:
    """`linear` stands for `linear[...]` in every form, `L1/*` for a whole level."""
    found = [c for c in checks() if not patterns or any(matches(c, p) for p in patterns)]
    if not found:
        known = ", ".join(dict.fromkeys(c.name.split("[")[0] for c in checks()))
        raise InputError(f"no check is called {', '.join(patterns)}; there are: {known}")
    return found


def matches(check: Check, pattern: str) -> bool:
    short = check.name.split("[")[0]
    literal = pattern.replace("[", "[[]")  # the name's own brackets are no wildcard
    names = (check.name, short, check.id, f"{check.level}/{short}")
    return any(fnmatchcase(name, literal) for name in names)
