"""`refimpl bench speculative`: plain decoding beside every kind of guess, by the clock."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from refimpl.commands.draft import load_drafter
from refimpl.commands.options import echo_json, model_options, open_model

if TYPE_CHECKING:
    from refimpl.engine.speculative.measure import Measured, Target, Ways
    from refimpl.engine.speculative.speculator import Speculator
    from refimpl.model.load import Loaded
    from refimpl.sampling import SamplingParams

OPENINGS = (
    "Once upon a time, there was a little girl named Lily.",
    "One day, a boy named Tim went to the park with his dog.",
    "The sun was shining and the birds were singing in the tall trees.",
    "Mom and Dad took the kids to the beach.",
)
QUESTIONS = (
    "What is 1734 + 2561?",
    "What is 902 - 458?",
    "Sort these numbers: 9, 3, 27, 14, 5",
    "What is 17 + 25?",
)


@click.command()
@click.option("--draft", default="tiny-draft", show_default=True, help="The model that guesses.")
@click.option(
    "--text", type=click.Choice(["stories", "sums"]), default="stories", show_default=True
)
@click.option("-t", "--temperature", type=click.FloatRange(0), default=0.0, show_default=True)
@click.option("-n", "--max-tokens", type=click.IntRange(2), default=128, show_default=True)
@click.option("-k", "--guesses", type=click.IntRange(1), default=7, show_default=True)
@click.option("--repeats", type=click.IntRange(1), default=3, show_default=True)
@click.option("-s", "--seed", type=int, default=1, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON document instead of a table.")
@model_options
def speculative(
    draft: str,
    text: str,
    temperature: float,
    max_tokens: int,
    guesses: int,
    repeats: int,
    seed: int,
    as_json: bool,
    **options: Any,
) -> None:
    """Tell stories or do sums, plainly and with guesses: tokens a step, tokens a second."""
    from dataclasses import asdict
    from time import perf_counter

    from refimpl.engine.speculative.measure import Target, compare
    from refimpl.sampling import SamplingParams

    loaded, backend = open_model(options)
    target = Target(
        model=loaded.model,
        backend=backend,
        ends=loaded.tokenizer.eog_ids,
        vocab_size=loaded.tokenizer.vocab_size,
    )
    params = SamplingParams(temperature=temperature, max_tokens=max_tokens, seed=seed)
    prompts = [encode(loaded, text, i) for i in range(len(OPENINGS))]
    drafter = load_drafter(draft, loaded, backend)
    costs = costs_of_lengths(drafter, target, guesses, prompts[:1], params, repeats)
    ways = ways_of(drafter, target, guesses, costs, sampled=temperature > 0)
    rows = compare(target, ways, prompts, params, clock=perf_counter, repeats=repeats)
    if as_json:
        about = {"backend": backend.name, "text": text, "temperature": temperature}
        found = {"guesses": guesses, "costs": costs, "rows": [asdict(row) for row in rows]}
        echo_json(about | found)
        return
    click.echo(
        f"{text}, temperature {temperature:g}, {backend.name}; "
        f"a step with {guesses} guesses costs {costs[-1]:.2f} plain ones"
    )
    click.echo(table(rows))


def encode(loaded: "Loaded", text: str, i: int) -> list[int]:
    if text == "stories":
        return loaded.tokenizer.encode(OPENINGS[i])
    return loaded.tokenizer.encode_chat([{"role": "user", "content": QUESTIONS[i]}])


def costs_of_lengths(
    drafter: "Loaded",
    target: "Target",
    most: int,
    prompts: list[list[int]],
    params: "SamplingParams",
    repeats: int,
) -> list[float]:
    """What a step with 0, 1, 2, ... guesses costs, in plain steps, over some 32 tokens."""
    from dataclasses import replace
    from time import perf_counter

    from refimpl.engine.speculative.measure import compare, costs_of_steps

    ways: dict[str, Callable[[], Speculator] | None] = {"plain": None}
    ways |= {str(k): with_draft(drafter, target, k=k) for k in range(1, most + 1)}
    few = replace(params, max_tokens=min(params.max_tokens or 32, 32))
    return costs_of_steps(compare(target, ways, prompts, few, clock=perf_counter, repeats=repeats))


def with_draft(
    drafter: "Loaded",
    target: "Target",
    *,
    k: int = 0,
    costs: Sequence[float] | None = None,
    **how: Any,
) -> "Callable[[], Speculator]":
    """The draft model, k guesses a step, or as many as pay where `costs` says what they cost."""
    from refimpl.engine.speculative.draft_model import DraftModel
    from refimpl.engine.speculative.length import Adaptive, Fixed
    from refimpl.engine.speculative.speculator import Speculator

    def make() -> Speculator:
        n_blocks = 2 + target.model.config.context_length // 16
        proposer = DraftModel(drafter.model, target.backend.for_drafts(), n_blocks=n_blocks, **how)
        return Speculator(proposer, Fixed(k) if costs is None else Adaptive(costs))

    return make


def ways_of(
    drafter: "Loaded", target: "Target", k: int, costs: Sequence[float], *, sampled: bool
) -> "Ways":
    from refimpl.engine.speculative.length import Fixed
    from refimpl.engine.speculative.ngram import NGram
    from refimpl.engine.speculative.speculator import Speculator
    from refimpl.engine.speculative.suffix import Suffix

    ways: dict[str, Callable[[], Speculator] | None] = {
        "plain": None,
        f"draft model, {k}": with_draft(drafter, target, k=k),
        "draft model, adaptive": with_draft(drafter, target, costs=costs),
        f"draft tree, {k} and 1 aside": with_draft(drafter, target, k=k, siblings=1),
        f"prompt lookup, {k}": lambda: Speculator(NGram(), Fixed(k)),
        f"suffix automaton, {k}": lambda: Speculator(Suffix(), Fixed(k)),
    }
    if sampled:
        ways[f"draft model, {k}, rejection"] = with_draft(drafter, target, k=k, honest=True)
    return ways


def table(rows: "list[Measured]") -> str:
    width = max(len(row.way) for row in rows)
    lines = [f"{'':{width}}  tokens/step  right, %  tokens/s  speed-up  same text"]
    lines += [
        f"{row.way:{width}}  {row.tokens_per_step:11.2f}  {100 * row.rate:8.1f}"
        f"  {row.tokens_per_second:8.1f}  {row.speed_up:8.2f}  {same(row)}"
        for row in rows
    ]
    return "\n".join(lines)


def same(row: "Measured") -> str:
    return "yes" if row.is_same_text else "no"
