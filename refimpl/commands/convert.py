"""`refimpl convert`: a checkpoint of any kind as a GGUF file."""

from pathlib import Path

import click

from refimpl.errors import InputError


@click.command()
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@click.argument("destination", type=click.Path(path_type=Path))
@click.option("--type", "type_name", type=click.Choice(["F32", "F16", "BF16", "Q8_0", "Q4_0"]))
@click.option("--tokenizer", type=click.Path(exists=True, path_type=Path))
def convert(source: Path, destination: Path, type_name: str | None, tokenizer: Path | None) -> None:
    """Write SOURCE (a Hugging Face folder or a llama2.c file) as a GGUF file.

    Without --type, matrices keep the precision they have.
    """
    from rich.console import Console
    from rich.progress import Progress

    from refimpl.model.convert import convert as write
    from refimpl.model.load import open_checkpoint
    from refimpl.model.tokenizer import tokenizer_of
    from refimpl.text import tokenizer_to_gguf

    if destination.suffix != ".gguf":
        raise InputError(f"{destination} should end in .gguf")
    checkpoint = open_checkpoint(source)
    words = tokenizer_to_gguf(tokenizer_of(source, tokenizer))
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("tensors", total=len(checkpoint.tensors))
        write(checkpoint, words, destination, type_name, lambda name: progress.advance(task))
    click.echo(f"{destination}: {destination.stat().st_size:,} bytes", err=True)
