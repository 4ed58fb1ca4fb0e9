"""`refimpl quantize`: a GGUF file in smaller types."""

from pathlib import Path

import click


@click.command()
@click.argument("source", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("destination", type=click.Path(path_type=Path))
@click.option("--type", "type_name", required=True, help="Q4_K_M, Q8_0, IQ4_XS, ...")
@click.option("--imatrix", type=click.Path(exists=True, path_type=Path), help="By llama-imatrix.")
@click.option("--requantize", is_flag=True, help="Also from a file that is quantised already.")
def quantize(
    source: Path, destination: Path, type_name: str, imatrix: Path | None, requantize: bool
) -> None:
    """Write SOURCE, a GGUF file, in a mixture of smaller types, as llama-quantize does."""
    from rich.console import Console
    from rich.progress import Progress

    from refimpl.formats.gguf import GGUF
    from refimpl.formats.importance import read_importance
    from refimpl.formats.quantize import quantize_file

    importance = None if imatrix is None else read_importance(imatrix)
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("tensors", total=len(GGUF.open(source).tensors))
        quantize_file(
            source,
            destination,
            type_name,
            importance=importance,
            requantize=requantize,
            on_tensor=lambda name: progress.advance(task),
        )
    before, after = source.stat().st_size, destination.stat().st_size
    click.echo(f"{destination}: {after:,} bytes, {after / before:.0%} of {source.name}", err=True)
