"""`refimpl warmup`: compile now what a first run would have to wait for."""

from typing import TYPE_CHECKING

import click

from refimpl.commands.options import factories
from refimpl.errors import InputError

if TYPE_CHECKING:
    from rich.progress import TaskID


@click.command()
@click.option("--backend", default="numba", show_default=True, help="Whose code.")
@click.option(
    "--type", "types", multiple=True, help="Only for this block type; may be given often."
)
def warmup(backend: str, types: tuple[str, ...]) -> None:
    """Compile a backend's kernels for this machine and keep them on disk."""
    from rich.console import Console
    from rich.progress import Progress

    from refimpl.backend import make_backend

    known = factories()
    if backend not in known:
        raise InputError(f"no backend {backend!r}: choose {', '.join(known)}")
    made = make_backend(known[backend])
    compile_all = getattr(made, "warm_up", None)
    if compile_all is None:
        click.echo(f"{backend} has nothing to compile", err=True)
        return
    with Progress(console=Console(stderr=True)) as progress:
        task: TaskID | None = None

        def on_done(name: str, done: int, total: int) -> None:
            nonlocal task
            if task is None:
                task = progress.add_task("kernels", total=total)
            progress.update(task, completed=done, description=name)

        where = compile_all(types, on_done)
    click.echo(f"compiled code is in {where}", err=True)
