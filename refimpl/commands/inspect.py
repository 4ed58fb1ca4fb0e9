"""`refimpl inspect`: what a file says about itself, without reading its weights."""

import click

from refimpl.commands.options import DEFAULT_MODEL, echo_json


@click.command()
@click.argument("model", default=DEFAULT_MODEL)
@click.option("--tensors/--no-tensors", default=True, help="List every tensor.")
@click.option("--blocks", metavar="TENSOR", help="Show one block of a GGUF tensor, field by field.")
@click.option("--index", type=int, default=0, show_default=True, help="Which block.")
@click.option("--json", "as_json", is_flag=True)
def inspect(model: str, tensors: bool, blocks: str | None, index: int, as_json: bool) -> None:
    """Show MODEL's metadata, tensors, types and memory, reading no weights."""
    from refimpl.model.block_view import block_view
    from refimpl.model.find import find_model
    from refimpl.model.report import inspect_checkpoint, tables

    if blocks is not None:
        view = block_view(find_model(model), blocks, index)
        echo_json(view.as_json()) if as_json else click.echo(view.as_text())
        return
    report = inspect_checkpoint(find_model(model))
    if as_json:
        echo_json(report.as_json())
        return
    from rich.console import Console

    console = Console()
    for table in tables(report, with_tensors=tensors):
        console.print(table)
