"""`refimpl bench`: how fast it is, here."""

import click

from refimpl.commands.family import Family

MEMBERS = {
    "throughput": ("bench_throughput", "Many prompts at once: tokens a second."),
    "speculative": ("bench_speculative", "Guessing ahead: tokens a step and a second."),
}


@click.group(cls=Family, members=MEMBERS)
def bench() -> None:
    """Measure this machine; figures of a shared one are worth their ratios only."""
