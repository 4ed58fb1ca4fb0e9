"""The command line: a table of commands, each imported when it runs.

Only click is imported here, so that `--help` is instant and the first token comes early.  An error
of ours is one line and exit status 1; Ctrl-C is one line and the status that shells give it.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click

from refimpl import __version__
from refimpl.errors import RefimplError

COMMANDS = {  # name: what it does; the code is in refimpl/commands/NAME.py
    "generate": "Continue a text, or several at once.",
    "chat": "Talk with a model.",
    "inspect": "Show what is in a model file, reading no weights.",
    "tokenize": "Show a text as tokens.",
    "convert": "Write a checkpoint as a GGUF file.",
    "quantize": "Write a GGUF file in smaller types.",
    "simulate": "Make the papers' tables again, without a model.",
    "show": "Draw blocks, the radix tree or the schedule of a run.",
    "bench": "Measure this machine.",
    "warmup": "Compile a backend's kernels for this machine.",
    "conform": "Hold a backend to what the reference defines.",
}
INTERRUPTED = 130  # 128 and the number of Ctrl-C's signal
BACKENDS = {  # beside numpy, the reference, which needs no factory
    "numba": "backends.numba:make_backend",
    "cupy": "backends.cupy:make_backend",
}


class Commands(click.Group):
    """Imports a command when it is asked for; our own errors and Ctrl-C become one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command = getattr(import_module(f"refimpl.commands.{name}"), name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except RefimplError as error:
            raise click.ClickException(str(error)) from None
        except KeyboardInterrupt:
            click.echo("Interrupted.", err=True)
            ctx.exit(INTERRUPTED)


@click.group(
    cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "obj": BACKENDS}
)
@click.version_option(__version__)
def main() -> None:
    """A readable LLM inference engine, and the reference that others are judged by.

    Start with `refimpl generate`: it needs nothing but this package.
    """


if __name__ == "__main__":
    main()
