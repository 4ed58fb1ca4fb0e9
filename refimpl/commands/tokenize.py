"""`refimpl tokenize`: a text as its model sees it."""

import sys
from pathlib import Path

import click

from refimpl.commands.options import DEFAULT_MODEL, decode, echo_json


@click.command()
@click.argument("text", required=False)
@click.option("-m", "--model", default=DEFAULT_MODEL, show_default=True)
@click.option("--tokenizer", type=click.Path(exists=True, path_type=Path))
@click.option("--no-special", is_flag=True, help="Add no BOS or EOS, and read no special tokens.")
@click.option("--json", "as_json", is_flag=True, help="A JSON list of ids.")
def tokenize(
    text: str | None, model: str, tokenizer: Path | None, no_special: bool, as_json: bool
) -> None:
    """Show TEXT (or standard input) as tokens."""
    from refimpl.model.find import find_model
    from refimpl.model.tokenizer import tokenizer_of

    words = tokenizer_of(find_model(model), tokenizer)
    if text is None or text == "-":
        text = decode(sys.stdin.buffer.read(), "standard input")
    ids = words.encode(text, add_special=not no_special, parse_special=not no_special)
    if as_json:
        echo_json(ids)
        return
    for i in ids:
        click.echo(f"{i:>7}  {words.token_text(i)!r}")
