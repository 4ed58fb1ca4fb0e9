"""`refimpl conform`: does a backend compute what the reference defines?"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from refimpl.commands.options import backend_options, echo_json, open_backend


@click.command()
@backend_options
@click.option("--op", "ops", multiple=True, metavar="NAME|LEVEL/*", help="Only these checks.")
@click.option("--deep", is_flag=True, help="Twenty times the cases, and look for the worst.")
@click.option("--examples", type=click.IntRange(min=1), help="Cases of each check.")
@click.option("--seed", type=int, default=0, show_default=True, help="Cases follow from it.")
@click.option("--forms", is_flag=True, help="A row for every weight format.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
@click.option(
    "--save",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("conformance"),
    show_default=True,
    help="Folder for counterexamples.",
)
@click.option(
    "--replay",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Measure the cases of a saved file again.",
)
def conform(
    ops: tuple[str, ...],
    deep: bool,
    examples: int | None,
    seed: int,
    forms: bool,
    as_json: bool,
    save: Path,
    file: Path | None,
    **options: Any,
) -> None:
    """Compare a backend with the reference, operation by operation and as a whole.

    A row shows the largest part of its bound that any case used; beyond 1 the backend computes
    something else, and the smallest counterexample is saved.  The exit status is 1 if there is one.
    """
    from refimpl.oracle import conform as search
    from refimpl.oracle import replay

    sys.path.append(str(Path.cwd()))  # where a stranger's MODULE:FACTORY is looked for
    backend = open_backend(options)
    if file is not None:
        report = replay(backend, file)
    else:
        with progress() as tell:
            report = search(
                backend,
                ops=ops,
                deep=deep,
                examples=examples,
                seed=seed,
                save_in=save,
                progress=tell,
            )
    if as_json:
        echo_json(report.as_json())
    else:
        click.echo(report.table(forms=forms))
    if not report.ok:
        raise SystemExit(1)


@contextmanager
def progress() -> Iterator[Callable[[str, int, int], None]]:
    """A bar on standard error, gone when it is done."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("")
        yield lambda check, i, n: bar.update(task, description=check, completed=i, total=n)
