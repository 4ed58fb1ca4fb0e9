"""A command that is a family of commands, each imported when it runs, as in `cli.py`.

The table has a line for each member: its name, the file in `refimpl/commands` that defines it
(under its own name), and what it does.

>>> family = Family(name="show", members={"blocks": ("show_run", "The pool.")})
>>> family.list_commands(click.Context(family)), family.get_command(click.Context(family), "stars")
(['blocks'], None)
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click

Members = Mapping[str, tuple[str, str]]


class Family(click.Group):
    """Its members by name: file and help line."""

    def __init__(self, *args: Any, members: Members, **options: Any) -> None:
        super().__init__(*args, **options)
        self.members = members

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.members)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in self.members:
            return None
        module = import_module(f"refimpl.commands.{self.members[name][0]}")
        command = getattr(module, name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, says) for name, (_, says) in self.members.items()])
