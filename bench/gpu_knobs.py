"""What each part of the CUDA backend is worth: models of random bits, with it and without.

    python -m bench.gpu_knobs models "8B Q8_0"      every switch that can matter to it, in turn
    python -m bench.gpu_knobs products              one token's products, and with larger rings

A switch turns constants of `backends.cupy.launch`, or replaces lines of a kernel; then a backend is
made anew, and what the switch can change is measured.  The first and the last row of a model are
the tree as it is: how far they lie apart is what no other difference may be smaller than.

>>> [s.name for s in switches("half") if "decode 64" in s.measures]
['as it is', 'batches by linear_half', 'as it is, again']
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import click

from backends.cupy import compile as compiler
from backends.cupy import launch

MEASURES = ("decode 1", "decode 64", "prefill 2048")
ONE = ("decode 1",)
A_THIRD = "#define EARLY_STAGES ((STAGES + 2) / 3)"


@dataclass(frozen=True, kw_only=True)
class Switch:
    name: str
    measures: tuple[str, ...]
    """What it can change."""
    acts: tuple[str, ...] = ("q8", "half")
    values: Mapping[str, Any] = field(default_factory=dict)
    """Of `backends.cupy.launch`."""
    lines: tuple[tuple[str, str, str], ...] = ()
    """(kernel, what its text says, what it shall say)"""


AS_IT_IS = Switch(name="as it is", measures=MEASURES)
ONE_RUN = Switch(
    name="one run of columns, and other bits",
    measures=("prefill 2048",),
    lines=tuple(
        (kernel, old, new)
        for kernel in ("linear_q8_hopper", "linear_half_hopper")
        for old, new in (
            ("run = run_length(blocks)", "run = blocks"),
            ("strand < STRANDS", "strand < 1"),
        )
    ),
)
SWITCHES = (
    AS_IT_IS,
    ONE_RUN,
    Switch(name="rings of 200 KiB", measures=ONE, values={"ROOM": 200 * 1024}),
    Switch(name="late keys", measures=ONE, values={"EARLY_KEYS": False}),
    Switch(
        name="rings filled before a norm's wait",
        measures=ONE,
        acts=("q8",),
        lines=(("linear_q8_one", A_THIRD, "#define EARLY_STAGES STAGES"),),
    ),
    Switch(
        name="one token by linear_half", measures=ONE, acts=("half",), values={"HALF_ONE": False}
    ),
    Switch(
        name="batches by linear_half",
        measures=("decode 64",),
        acts=("half",),
        values={"MOST_FEW_HALF": 64},
    ),
    Switch(
        name="gates by a kernel of their own",
        measures=("prefill 2048",),
        acts=("q8",),
        values={"GATED": False},
    ),
    Switch(
        name="arrivals that do not wait for loads, and a race",
        measures=("prefill 2048",),
        acts=("q8",),
        lines=(("linear_q8_hopper", "                loads_have_come();", ""),),
    ),
    Switch(name="warps walk alone", measures=("prefill 2048",), values={"WALK_TOGETHER": False}),
    Switch(name="as it is, again", measures=MEASURES),
)


def switches(act: str) -> list[Switch]:
    return [switch for switch in SWITCHES if act in switch.acts]


@contextmanager
def turned(switch: Switch) -> Iterator[None]:
    before = {name: getattr(launch, name) for name in switch.values}
    plain = compiler.source
    for name, value in switch.values.items():
        setattr(launch, name, value)
    if switch.lines:
        compiler.source = cache(lambda name: rewritten(plain(name), name, switch))
    try:
        yield
    finally:
        compiler.source = plain
        for name, value in before.items():
            setattr(launch, name, value)


def rewritten(text: str, name: str, switch: Switch) -> str:
    """A kernel's text with a switch's lines."""
    for kernel, old, new in switch.lines:
        if kernel == name:
            assert text.count(old) == 1, (
                f"{switch.name}: {name} says {old!r} {text.count(old)} times"
            )
            text = text.replace(old, new)
    return text


def model_rows(name: str) -> Iterator[dict[str, Any]]:
    """Tokens a second of one model, with each switch in turn."""
    from backends.cupy import make_backend
    from bench.gpu_models import MODELS, decode_time, prefill_time, random_model

    measure: dict[str, Callable[[Any, Any], float]] = {
        "decode 1": lambda backend, model: 1e3 / decode_time(backend, model, 1),
        "decode 64": lambda backend, model: 64e3 / decode_time(backend, model, 64),
        "prefill 2048": lambda backend, model: 2048 / prefill_time(backend, model, 2048),
    }
    size, mixture, act = MODELS[name]
    model, _ = random_model(size, mixture)
    for switch in switches(act):
        with turned(switch):
            backend = make_backend(act=act, cache="float16")
            for what in switch.measures:
                found = measure[what](backend, model)
                yield {"of": name, "measure": what, "switch": switch.name, "found": found}


def product_rows() -> Iterator[dict[str, Any]]:
    """GB a second of products with one token that was prepared before."""
    from bench.gpu import gemv

    for switch in switches("q8")[:2]:
        for format in ("Q8_0", "Q4_0", "Q4_K", "Q6_K"):
            for shape in ((4096, 14336), (14336, 4096)):
                with turned(switch):
                    found = gemv("q8", format, *shape)["GB/s"]
                of = f"{format} {shape[0]} x {shape[1]}"
                yield {"of": of, "measure": "GB/s", "switch": switch.name, "found": found}


@click.command()
@click.argument("what", type=click.Choice(("models", "products")))
@click.argument("name", default="")
@click.option("--to", type=click.Path(dir_okay=False, path_type=Path), help="Add rows to it.")
def main(what: str, name: str, to: Path | None) -> None:
    """Rows of (of, measure, switch, found), a JSON object a line."""
    for row in model_rows(name) if what == "models" else product_rows():
        line = json.dumps(row)
        click.echo(line)
        if to:
            with to.open("a") as file:
                file.write(line + "\n")


if __name__ == "__main__":
    main()
