"""Options that make a text obey a schema, a pattern, a grammar or a list of choices."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from refimpl.commands.options import decode

Command = Callable[..., None]
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


def constraint_options(command: Command) -> Command:
    for option in (
        click.option("--no-white-space", is_flag=True, help="JSON without any between its parts."),
        click.option("--in-order", is_flag=True, help="JSON keys in the order of the schema."),
        click.option("--close", is_flag=True, help="Be complete when the tokens run out."),
        click.option("--choice", multiple=True, metavar="TEXT", help="One of these texts."),
        click.option("--grammar", type=_FILE, help="In GBNF, EBNF or Lark, or XML elements."),
        click.option("--regex", metavar="PATTERN", help="Text that matches from start to end."),
        click.option("--json-schema", type=_FILE, help="One JSON document valid under it."),
    ):
        command = option(command)
    return command


def take_constraint(options: dict[str, Any]) -> dict[str, Any]:
    """Takes these options out of a command's, as parameters of the sampler."""
    return {
        "json_schema": _read(options.pop("json_schema")),
        "regex": options.pop("regex"),
        "grammar": _read(options.pop("grammar")),
        "choice": options.pop("choice") or None,
        "close_in_time": options.pop("close"),
        "json_in_order": options.pop("in_order"),
        **({"json_white_space": 0} if options.pop("no_white_space") else {}),
    }


def _read(path: Path | None) -> str | None:
    return None if path is None else decode(path.read_bytes(), str(path))
