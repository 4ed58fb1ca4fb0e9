"""`refimpl show blocks | radix | schedule`: a run, step by step, on one page.

A run is recorded with `refimpl generate --record FILE`, or `LLM(..., record=True)`.
"""

from pathlib import Path

import click


def view(name: str, says: str) -> click.Command:
    """The command that draws one view."""

    @click.command(name, help=says)
    @click.argument("log", required=False, type=click.Path(path_type=Path, dir_okay=False))
    @click.option(
        "-o",
        "--output",
        type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
        default=f"{name}.html",
        show_default=True,
        help="The page to write; - is standard output.",
    )
    def command(log: Path | None, output: Path) -> None:
        draw(name, log, output)

    return command


def draw(name: str, log: Path | None, output: Path) -> None:
    from refimpl.engine.show import picture
    from refimpl.errors import InputError

    html = picture(name, log)
    if str(output) == "-":
        click.echo(html, nl=False)
        return
    try:
        output.write_text(html, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{output} cannot be written: {error.strerror}") from None
    click.echo(f"{output}: open it in a browser; the arrow keys move through the steps", err=True)


OF_A_RUN = "of a recorded run LOG, or of a demonstration on the embedded model."
blocks = view("blocks", f"Draw the pool and the block tables {OF_A_RUN}")
radix = view("radix", f"Draw the radix tree {OF_A_RUN}")
schedule = view("schedule", f"Draw each step's budget {OF_A_RUN}")
