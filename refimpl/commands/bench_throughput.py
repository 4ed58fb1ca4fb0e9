"""`refimpl bench throughput`: many prompts at once, and how many tokens a second come of it."""

from typing import Any

import click

from refimpl.commands.options import model_options, open_model


@click.command()
@click.option("--requests", type=click.IntRange(1), default=32, show_default=True)
@click.option(
    "--prompt-length",
    type=click.IntRange(1),
    default=64,
    show_default=True,
    help="Tokens of each prompt, drawn at random.",
)
@click.option("--output-length", type=click.IntRange(1), default=32, show_default=True)
@click.option(
    "--shared",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Tokens that all prompts begin with.",
)
@click.option(
    "--cache",
    type=click.Choice(["none", "hashed", "radix"]),
    default="hashed",
    show_default=True,
    help="The prefix cache.",
)
@click.option("--block-size", type=click.IntRange(1), default=16, show_default=True)
@click.option(
    "--max-seqs",
    type=click.IntRange(1),
    default=256,
    show_default=True,
    help="Requests in one step, at most.",
)
@click.option(
    "--overlap/--no-overlap",
    default=None,
    help="Schedule the next step while one is computed (default: where the backend need not wait).",
)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of a table.")
@model_options
def throughput(
    requests: int,
    prompt_length: int,
    output_length: int,
    shared: int,
    cache: str,
    block_size: int,
    max_seqs: int,
    overlap: bool | None,
    seed: int,
    as_json: bool,
    **options: Any,
) -> None:
    """Serve random prompts, all at once, and count tokens."""
    from time import perf_counter

    from refimpl.engine.limits import Limits
    from refimpl.engine.llm import LLM
    from refimpl.engine.throughput import throughput as measure

    loaded, backend = open_model(options)
    scheduling: Any = {"cache": cache, "block_size": block_size, "overlap": overlap}
    llm = LLM(loaded, backend=backend, limits=Limits(max_seqs=max_seqs), **scheduling)
    table = measure(
        llm,
        clock=perf_counter,
        n_prompts=requests,
        n_prompt=prompt_length,
        n_output=output_length,
        n_shared=shared,
        seed=seed,
    )
    click.echo(table.json() if as_json else str(table))
