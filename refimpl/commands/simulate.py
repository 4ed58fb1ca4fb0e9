"""`refimpl simulate`: the tables of the papers, made again by the real scheduler and no model."""

import sys
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from refimpl.engine.simulate.table import Table

TRACES = click.option(
    "--traces",
    "folder",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="A folder with published traces (they are not part of this package).",
)


@click.group()
def simulate() -> None:
    """Make the tables of the vLLM and SGLang papers again, without a model."""


def told(make: "Callable[..., Table]") -> Callable[..., None]:
    """Print the table that a command makes, as text, CSV or JSON, and plot it."""

    @click.option("--json", "form", flag_value="json", help="JSON instead of text.")
    @click.option("--csv", "form", flag_value="csv", help="CSV instead of text.")
    @click.option(
        "--plot",
        type=click.Path(path_type=Path, dir_okay=False, writable=True),
        metavar="FILE.svg",
        help="Draw it, too.",
        callback=as_svg,
    )
    @wraps(make)
    def command(form: str | None, plot: Path | None, **options: Any) -> None:
        table = make(**options, track=track)
        if plot is not None:
            table.save(plot)
        text = {"json": table.json, "csv": table.csv}.get(form or "", table.__str__)()
        click.echo(text.rstrip("\n"))

    return command


def as_svg(ctx: click.Context, option: click.Parameter, path: Path | None) -> Path | None:
    """Refused before the work, not after it."""
    if path is not None and path.suffix != ".svg":
        raise click.BadParameter(f"{path} should end in .svg")
    return path


def track(cases: Sequence[Any]) -> Iterable[Any]:
    """A progress bar on standard error."""
    from rich.console import Console
    from rich.progress import track as show

    return show(
        cases,
        description="cases",
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
    )


@simulate.command()
@click.option("--requests", "n_requests", type=click.IntRange(1), default=400, show_default=True)
@click.option(
    "--slots",
    "n_slots",
    type=click.IntRange(2048),
    default=15_700,
    show_default=True,
    help="Tokens that the memory holds.",
)
@click.option(
    "--lengths",
    type=click.Choice(["sharegpt", "alpaca", "azure"]),
    default="sharegpt",
    show_default=True,
    help="Whose prompts and answers.",
)
@click.option("--seed", type=int, default=0, show_default=True)
@TRACES
@told
def waste(lengths: str, folder: Path | None, **options: Any) -> "Table":
    """KV memory: contiguous reservations against blocks (vLLM paper, figure 2).

    `azure` takes the lengths of a real trace (--traces), a context of 8192 and, so that a few of
    its long prompts fit, at least 65,536 slots.
    """
    from refimpl.engine.simulate import lengths as laws
    from refimpl.engine.simulate import run
    from refimpl.engine.simulate.sources import AZURE, find

    if lengths == "azure":
        options |= {"lengths": laws.from_trace(find(folder, AZURE)), "context": 8192}
        options["n_slots"] = max(options["n_slots"], 65_536)
    else:
        options["lengths"] = {"sharegpt": laws.SHAREGPT, "alpaca": laws.ALPACA}[lengths]
    return run("waste", **options)


@simulate.command()
@click.option("--requests", "n_requests", type=click.IntRange(1), default=200, show_default=True)
@click.option("--block-size", type=click.IntRange(1), default=16, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@told
def sharing(**options: Any) -> "Table":
    """Blocks saved when the samples of a prompt share it (vLLM paper, figure 15a)."""
    from refimpl.engine.simulate import run

    return run("sharing", **options)


@simulate.command()
@click.option(
    "--slots",
    "n_slots",
    type=click.IntRange(4096),
    default=16_000,
    show_default=True,
    help="Tokens that the cache holds.",
)
@click.option(
    "--scale",
    type=click.FloatRange(0.001, 100),
    default=1.0,
    show_default=True,
    help="Size of the workloads.",
)
@click.option(
    "--at-once",
    type=click.IntRange(1),
    default=64,
    show_default=True,
    help="Programs (chats, questions) under way at a time.",
)
@click.option("--seed", type=int, default=0, show_default=True)
@told
def hits(**options: Any) -> "Table":
    """Prefix cache hit rates by scheduling policy (SGLang paper, section 6.2)."""
    from refimpl.engine.simulate import run

    return run("hits", **options)


@simulate.command()
@click.option("--passes", "n_passes", type=click.IntRange(20), default=400, show_default=True)
@click.option("--shared", "n_shared", type=click.IntRange(1), default=512, show_default=True)
@click.option(
    "--every",
    type=click.IntRange(2),
    default=20,
    show_default=True,
    help="One request in so many is cold.",
)
@told
def starvation(**options: Any) -> "Table":
    """How long a request waits that shares nothing with anybody, by policy."""
    from refimpl.engine.simulate import run

    return run("starvation", **options)


@simulate.command()
@TRACES
@told
def traces(folder: Path | None, **options: Any) -> "Table":
    """Hit rate against cache size on a trace of real block hashes (Mooncake)."""
    from refimpl.engine.simulate import run
    from refimpl.engine.simulate.sources import MOONCAKE, find

    return run("traces", path=find(folder, MOONCAKE), **options)
