"""`refimpl generate`: continue one text as it appears, or several together in one batch."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import click

from refimpl.commands.constraints import constraint_options, take_constraint
from refimpl.commands.draft import draft_options, take_speculator
from refimpl.commands.options import (
    decode,
    echo_json,
    model_options,
    open_model,
    sampling_options,
    sampling_params,
)

if TYPE_CHECKING:
    from refimpl.backend import Backend
    from refimpl.engine.llm import LLM
    from refimpl.engine.speculative.speculator import Speculator
    from refimpl.engine.step import Output
    from refimpl.errors import RefimplError
    from refimpl.model.load import Loaded
    from refimpl.sampling import Sampled, SamplingParams

DEFAULT_PROMPT = "Once upon a time"
INTERRUPTED = 130  # the exit status of a program that Ctrl-C stopped


@dataclass(kw_only=True)
class Told:
    """One continuation, as far as it has come."""

    prompt: str
    ids: list[int]
    sample: int
    pieces: list[str] = field(default_factory=list)
    sampled: "list[Sampled]" = field(default_factory=list)
    finish: str = ""
    error: "RefimplError | None" = None

    def add(self, output: "Output") -> None:
        self.pieces.append(output.text)
        if output.sampled:
            self.sampled.append(output.sampled)
        if output.finish:
            self.finish, self.error = output.finish.value, output.request.error

    @property
    def text(self) -> str:
        return "".join(self.pieces)


@click.command()
@click.argument("prompts", nargs=-1, metavar="[PROMPT]...")
@click.option("-f", "--file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--chat", "as_chat", is_flag=True, help="Wrap each prompt as a user's message.")
@click.option(
    "--samples", type=click.IntRange(1, 1024), default=1, show_default=True, help="Of each prompt."
)
@click.option("--json", "as_json", is_flag=True, help="A JSON object a line instead of a stream.")
@click.option(
    "--logprobs", type=click.IntRange(0), metavar="N", help="List the N likeliest tokens."
)
@click.option(
    "--record",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Write what the engine did, for `refimpl show`.",
)
@model_options
@sampling_options
@constraint_options
@draft_options
def generate(
    prompts: tuple[str, ...],
    file: Path | None,
    as_chat: bool,
    samples: int,
    as_json: bool,
    logprobs: int | None,
    record: Path | None,
    **options: Any,
) -> None:
    """Continue each PROMPT (arguments, --file, or standard input; `-` reads standard input too).

    Several prompts, or several samples of one, are computed together.
    """
    asked = take_constraint(options)
    texts = read_prompts(prompts, file)
    started = perf_counter()
    loaded, backend = open_model(options)
    speculator = take_speculator(options, loaded, backend)
    params = replace(sampling_params(options, logprobs), **asked)
    told = [
        Told(prompt=text, ids=encode(loaded, text, as_chat), sample=sample)
        for text in texts
        for sample in range(samples)
    ]
    clock = Clock(started=started, n_prompt=sum(len(one.ids) for one in told[::samples]))
    streamed = len(told) == 1 and not as_json
    if streamed and texts[0] is DEFAULT_PROMPT:  # nobody has seen it yet
        click.echo(DEFAULT_PROMPT, nl=False)
    interrupted = False
    llm = engine_for(
        loaded, backend, told, params, speculator=speculator, record=record is not None
    )
    try:
        for one, output in outputs(llm, told, params, samples):
            clock.tick(output)
            one.add(output)
            if streamed:
                echo_piece(loaded, output, logprobs)
    except KeyboardInterrupt:
        interrupted = True
    if record is not None:
        from refimpl.engine.show.record import save

        save(llm.log, record)
    finish(loaded, told, params, clock, streamed=streamed, as_json=as_json)
    if interrupted:
        sys.exit(INTERRUPTED)


def read_prompts(prompts: tuple[str, ...], file: Path | None) -> list[str]:
    """The arguments, a file, or what is piped in; an empty terminal gets the default."""
    if prompts and file is not None:
        raise click.UsageError("give prompts or --file, not both")
    if file is not None:
        return [decode(file.read_bytes(), str(file))]
    if not prompts:
        return [DEFAULT_PROMPT if sys.stdin.isatty() else read_input()]
    return [read_input() if prompt == "-" else prompt for prompt in prompts]


def read_input() -> str:
    return decode(sys.stdin.buffer.read(), "standard input") or DEFAULT_PROMPT


def encode(loaded: "Loaded", text: str, as_chat: bool) -> list[int]:
    if as_chat:
        return loaded.tokenizer.encode_chat([{"role": "user", "content": text}])
    return loaded.tokenizer.encode(text)


def engine_for(
    loaded: "Loaded",
    backend: "Backend",
    told: list[Told],
    params: "SamplingParams",
    *,
    speculator: "Speculator | None",
    record: bool,
) -> "LLM":
    """An engine with room for all of them at once, if memory allows."""
    from refimpl.engine.llm import LLM, default_blocks

    size = 16
    room = sum(
        -(-min(loaded.config.context_length, len(one.ids) + params.max_tokens) // size) + 1
        for one in told
    )
    n_blocks = max(1, min(room, default_blocks(loaded.config, size)))
    return LLM(
        loaded,
        backend=backend,
        block_size=size,
        n_blocks=n_blocks,
        speculator=speculator,
        record=record,
    )


def outputs(
    llm: "LLM", told: list[Told], params: "SamplingParams", samples: int
) -> "Iterator[tuple[Told, Output]]":
    """News of every continuation, as it comes."""
    for i, output in llm.stream([one.ids for one in told[::samples]], params, n=samples):
        yield told[i * samples + output.request.sample], output


@dataclass(kw_only=True)
class Clock:
    """When the first token came, and how many there were."""

    started: float
    n_prompt: int
    n_new: int = 0
    first: float | None = None

    def tick(self, output: "Output") -> None:
        if output.sampled:
            self.first = self.first or perf_counter()
            self.n_new += 1

    def summary(self) -> str:
        """Time to the first token from the start of the command's work; speed of those after."""
        now = perf_counter()
        first = self.first or now
        rate = (self.n_new - 1) / (now - first) if self.n_new > 1 else 0
        speed = f", then {rate:.1f} tokens/s" if rate else ""
        waited = f"first after {first - self.started:.2f} s"
        return f"[{self.n_prompt} prompt tokens, {self.n_new} new; {waited}{speed}]"


def echo_piece(loaded: "Loaded", output: "Output", logprobs: int | None) -> None:
    click.echo(output.text, nl=False)
    sys.stdout.flush()
    if logprobs is None or output.sampled is None:
        return
    name = loaded.tokenizer.token_text
    others = "  ".join(f"{name(t.token)!r} {t.logprob:.3f}" for t in output.sampled.top)
    click.echo(
        f"\n  {name(output.sampled.token)!r} {output.sampled.logprob:.3f}   [{others}]", err=True
    )


def finish(
    loaded: "Loaded",
    told: list[Told],
    params: "SamplingParams",
    clock: Clock,
    *,
    streamed: bool,
    as_json: bool,
) -> None:
    """Print what has not been printed, and how long it took; an error of one prompt is told."""
    if as_json:
        for one in told:
            echo_json(as_object(loaded, one, params, clock))
    elif streamed:
        (one,) = told
        if one.text or not one.error or one.prompt is DEFAULT_PROMPT:  # a line was begun
            click.echo()
    else:
        for one in told:
            click.echo(f"--- {one.prompt}" + (f" ({one.sample})" if one.sample else ""))
            click.echo(one.text)
    errors = [one.error for one in told if one.error]
    for error in errors[: 0 if len(told) == 1 else None]:
        click.echo(f"Error: {error}", err=True)
    if len(told) == 1 and errors:
        raise errors[0]
    if not as_json:
        click.echo(clock.summary(), err=True)
    if errors:
        sys.exit(1)


def as_object(
    loaded: "Loaded", one: Told, params: "SamplingParams", clock: Clock
) -> dict[str, Any]:
    """What `--json` prints of one continuation."""
    tokens = [
        {
            "id": s.token,
            "text": loaded.tokenizer.token_text(s.token),
            "logprob": s.logprob,
            "top": [{"id": t.token, "logprob": t.logprob} for t in s.top],
        }
        for s in one.sampled
    ]
    return {
        "model": str(loaded.path),
        "prompt": one.prompt,
        "sample": one.sample,
        "text": one.text,
        "finish_reason": one.finish or "interrupted",
        "error": str(one.error) if one.error else None,
        "seed": params.seed,
        "prompt_tokens": one.ids,
        "tokens": tokens,
        "seconds_to_first_token": None if clock.first is None else clock.first - clock.started,
        "seconds": perf_counter() - clock.started,
    }
