"""`refimpl show`: pictures of how it works."""

import click

from refimpl.commands.family import Family

MEMBERS = {
    "blocks": ("show_run", "The pool of blocks, and every request's table as arrows into it."),
    "fsm": ("show_fsm", "An automaton, and a generation that walks it."),
    "radix": ("show_run", "The radix tree: hits, splits, locks and evictions."),
    "schedule": ("show_run", "Each step's budget, and who got what of it."),
}


@click.group(cls=Family, members=MEMBERS)
def show() -> None:
    """Draw a picture, as an HTML page that needs nothing else."""
