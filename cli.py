"""The command line: `refimpl generate | chat | inspect | tokenize | convert`.

Only click is imported here; each command imports what it needs when it runs, so that `--help` is
instant and the first token comes early.  Text goes to standard output, everything about it (speed,
progress, warnings) to standard error.  An error of ours is one line and exit status 1.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import click

from refimpl import __version__
from refimpl.errors import InputError, RefimplError

if TYPE_CHECKING:
    from refimpl.model.load import Loaded
    from refimpl.model.stream import Chunk
    from refimpl.ops.reference import Reference
    from refimpl.sampling import SamplingParams

Command = Callable[..., None]

DEFAULT_MODEL = "tiny"
DEFAULT_PROMPT = "Once upon a time"
BACKENDS = ("auto", "numpy", "numba", "cupy")
DTYPES = ("float32", "float64", "float16", "bfloat16")
INTERRUPTED = 130  # the exit status of a program that Ctrl-C stopped


class Group(click.Group):
    """Turns our own errors into one line on standard error."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except RefimplError as error:
            raise click.ClickException(str(error)) from None


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """A readable LLM inference engine, and the reference that others are judged by.

    Start with `refimpl generate`: it needs nothing but this package.
    """


def model_options(command: Command) -> Command:
    """Which model, and how it is run."""
    for option in (
        click.option(
            "-m",
            "--model",
            default=DEFAULT_MODEL,
            show_default=True,
            metavar="NAME|PATH|DIR|hf:ORG/REPO[/FILE]",
            help="An embedded model, a GGUF file, a Hugging Face folder or a llama2.c file.",
        ),
        click.option(
            "--tokenizer",
            type=click.Path(exists=True, path_type=Path),
            help="For models without one: llama2.c's tok*.bin or a SentencePiece .model.",
        ),
        click.option(
            "--backend",
            type=click.Choice(BACKENDS),
            default="auto",
            show_default=True,
            help="Who computes. This version has numpy, the reference.",
        ),
        click.option(
            "--dtype",
            type=click.Choice(DTYPES),
            default="float32",
            show_default=True,
            help="What every operation's result is rounded to.",
        ),
        click.option("--context", type=click.IntRange(min=2), help="Cap the context, in tokens."),
    ):
        command = option(command)
    return command


def sampling_options(command: Command) -> Command:
    """How the next token is chosen."""
    for option in (
        click.option(
            "-n", "--max-tokens", type=click.IntRange(min=0), default=256, show_default=True
        ),
        click.option(
            "-t", "--temperature", type=float, default=0.8, show_default=True, help="0: greedy."
        ),
        click.option("--top-k", type=int, default=0, show_default=True, help="0: off."),
        click.option("--top-p", type=float, default=0.95, show_default=True, help="1: off."),
        click.option("--min-p", type=float, default=0.0, show_default=True, help="0: off."),
        click.option("--typical-p", type=float, default=1.0, show_default=True, help="1: off."),
        click.option(
            "--top-n-sigma", type=float, default=-1.0, show_default=True, help="<= 0: off."
        ),
        click.option(
            "--repetition-penalty", type=float, default=1.0, show_default=True, help="1: off."
        ),
        click.option("--frequency-penalty", type=float, default=0.0, show_default=True),
        click.option("--presence-penalty", type=float, default=0.0, show_default=True),
        click.option(
            "--penalty-last-n", type=int, default=64, show_default=True, help="-1: the whole text."
        ),
        click.option("--xtc-probability", type=float, default=0.0, show_default=True),
        click.option("--xtc-threshold", type=float, default=0.1, show_default=True),
        click.option(
            "--dry-multiplier", type=float, default=0.0, show_default=True, help="0: off."
        ),
        click.option("--mirostat", type=click.Choice(["0", "2"]), default="0", show_default=True),
        click.option("--mirostat-tau", type=float, default=5.0, show_default=True),
        click.option("--mirostat-eta", type=float, default=0.1, show_default=True),
        click.option("-s", "--seed", type=int, help="For a repeatable text. [default: a new one]"),
        click.option("--stop", multiple=True, help="Stop before this text; may be given often."),
        click.option("--ignore-eos", is_flag=True, help="Go on where the model would end."),
    ):
        command = option(command)
    return command


def sampling_params(options: dict[str, Any], logprobs: int | None = None) -> SamplingParams:
    from refimpl.sampling import SamplingParams

    seed = options.pop("seed")
    if seed is None:  # the one place where chance comes from outside
        import secrets

        seed = secrets.randbits(32)
    values = {**options, "mirostat": int(options["mirostat"]), "stop": tuple(options["stop"])}
    if values["mirostat"]:  # it draws the line itself, so our default line steps aside
        values["top_p"] = 1.0
    return SamplingParams(**values, seed=seed, logprobs=logprobs)


def open_model(options: dict[str, Any]) -> tuple[Loaded, Reference]:
    """Take the model's options out of `options`, and load it."""
    from refimpl.model.find import find_model
    from refimpl.model.load import load
    from refimpl.ops.numerics import FORMATS
    from refimpl.ops.reference import Reference

    name, tokenizer, backend, dtype, context = (
        options.pop(key) for key in ("model", "tokenizer", "backend", "dtype", "context")
    )
    if backend not in ("auto", "numpy"):
        raise InputError(f"backend {backend!r} is not in this version: use --backend numpy")
    loaded = load(find_model(name), context_length=context, tokenizer=tokenizer)
    return loaded, Reference(to=FORMATS[dtype])


def read_prompt(prompt: str | None, file: Path | None) -> str:
    """The argument, a file, or what is piped in; an empty terminal gets the default."""
    if prompt is not None and file is not None:
        raise click.UsageError("give a prompt or --file, not both")
    if file is not None:
        return decode(file.read_bytes(), str(file))
    if prompt == "-" or (prompt is None and not sys.stdin.isatty()):
        return decode(sys.stdin.buffer.read(), "standard input") or DEFAULT_PROMPT
    return DEFAULT_PROMPT if prompt is None else prompt


def decode(data: bytes, source: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{source} is not UTF-8 text (byte {error.start})") from None


def chunks(
    loaded: Loaded,
    ops: Reference,
    prompt: list[int],
    params: SamplingParams,
    next_logits: Any = None,
) -> Iterator[Chunk]:
    """The model's continuation of `prompt`, piece by piece."""
    from refimpl.model.generate import generate, incremental
    from refimpl.model.stream import stream_text
    from refimpl.text import IncrementalDecoder

    context, eog = loaded.config.context_length, loaded.tokenizer.eog_ids
    room = min(context, len(prompt) + params.max_tokens)
    steps = generate(
        next_logits or incremental(loaded.model, room, ops),
        prompt,
        params,
        eog_ids=eog,
        context_length=context,
        vocab_size=loaded.tokenizer.vocab_size,
    )
    decoder = IncrementalDecoder(loaded.tokenizer, skip_special=True)
    for token in prompt:  # so that the space at the start of the text is the prompt's own
        decoder.push(token)
    return stream_text(steps, decoder, stops=params.stop, eog_ids=eog)


@main.command()
@click.argument("prompt", required=False)
@click.option("-f", "--file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--chat", "as_chat", is_flag=True, help="Wrap the prompt as a user's message.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of a stream.")
@click.option(
    "--logprobs", type=click.IntRange(0), metavar="N", help="List the N likeliest tokens."
)
@model_options
@sampling_options
def generate(
    prompt: str | None,
    file: Path | None,
    as_chat: bool,
    as_json: bool,
    logprobs: int | None,
    **options: Any,
) -> None:
    """Continue PROMPT (an argument, --file, or standard input; `-` reads standard input too)."""
    text = read_prompt(prompt, file)
    started = perf_counter()
    loaded, ops = open_model(options)
    params = sampling_params(options, logprobs)
    tokenizer = loaded.tokenizer
    if as_chat:
        ids = tokenizer.encode_chat([{"role": "user", "content": text}])
    else:
        ids = tokenizer.encode(text)
    told: list[Chunk] = []
    first = None
    if text is DEFAULT_PROMPT and not as_json:  # nobody has seen it yet
        click.echo(text, nl=False)
    try:
        for chunk in chunks(loaded, ops, ids, params):
            first = first or perf_counter()
            told.append(chunk)
            if not as_json:
                click.echo(chunk.text, nl=False)
                sys.stdout.flush()
            if logprobs is not None and not as_json:
                echo_logprobs(loaded, chunk)
    except KeyboardInterrupt:
        if not as_json:
            click.echo()
        echo_speed(len(ids), len(told), started, first)
        sys.exit(INTERRUPTED)
    if as_json:
        click.echo(json.dumps(result(loaded, text, ids, told, params, started, first)))
        return
    click.echo()
    echo_speed(len(ids), len(told), started, first)


def echo_speed(n_prompt: int, n_new: int, started: float, first: float | None) -> None:
    """Time to the first token from the start of the command's work; speed of those after it."""
    now = perf_counter()
    waited = (first or now) - started
    speed = f", then {(n_new - 1) / (now - first):.1f} tokens/s" if first and n_new > 1 else ""
    click.echo(
        f"[{n_prompt} prompt tokens, {n_new} new; first after {waited:.2f} s{speed}]", err=True
    )


def echo_logprobs(loaded: Loaded, chunk: Chunk) -> None:
    piece = loaded.tokenizer.token_text(chunk.sampled.token)
    others = "  ".join(
        f"{loaded.tokenizer.token_text(t.token)!r} {t.logprob:.3f}" for t in chunk.sampled.top
    )
    click.echo(f"\n  {piece!r} {chunk.sampled.logprob:.3f}   [{others}]", err=True)


def result(
    loaded: Loaded,
    prompt: str,
    ids: list[int],
    told: list[Chunk],
    params: SamplingParams,
    started: float,
    first: float | None,
) -> dict[str, Any]:
    """What `generate --json` prints."""
    now = perf_counter()
    tokens = [
        {
            "id": c.sampled.token,
            "text": loaded.tokenizer.token_text(c.sampled.token),
            "logprob": c.sampled.logprob,
            "top": [{"id": t.token, "logprob": t.logprob} for t in c.sampled.top],
        }
        for c in told
    ]
    return {
        "model": str(loaded.path),
        "prompt": prompt,
        "text": "".join(c.text for c in told),
        "finish_reason": told[-1].finish if told else "length",
        "seed": params.seed,
        "prompt_tokens": ids,
        "tokens": tokens,
        "seconds_to_first_token": None if first is None else first - started,
        "seconds": now - started,
    }


@main.command()
@click.option("--system", help="A system message to begin with.")
@model_options
@sampling_options
def chat(system: str | None, **options: Any) -> None:
    """Talk with a model.  /reset forgets, /exit or Ctrl-D ends; Ctrl-C cuts an answer short."""
    from refimpl.model.generate import incremental

    loaded, ops = open_model(options)
    params = sampling_params(options)
    opening = [{"role": "system", "content": system}] if system else []
    history = list(opening)
    next_logits = incremental(loaded.model, loaded.config.context_length, ops)
    while (line := read_line()) is not None:
        if line.strip() == "/exit":
            return
        if line.strip() == "/reset":
            history = list(opening)
            continue
        if line.strip():
            history.append({"role": "user", "content": line})
            answer = tell(loaded, ops, history, params, next_logits)
            history.append({"role": "assistant", "content": answer})


def read_line() -> str | None:
    """The user's next line, None at the end."""
    try:
        if sys.stdin.isatty():
            import readline  # noqa: F401  (line editing and history for input)

            return input("> ")
        return line.rstrip("\n") if (line := sys.stdin.readline()) else None
    except (EOFError, KeyboardInterrupt):
        click.echo()
        return None


def tell(
    loaded: Loaded,
    ops: Reference,
    history: list[dict[str, str]],
    params: SamplingParams,
    next_logits: Any,
) -> str:
    """Print an answer as it comes; what Ctrl-C leaves of it stays in the conversation."""
    ids = loaded.tokenizer.encode_chat(history)
    answer = []
    try:
        for chunk in chunks(loaded, ops, ids, params, next_logits):
            answer.append(chunk.text)
            click.echo(chunk.text, nl=False)
            sys.stdout.flush()
    except KeyboardInterrupt:
        pass
    click.echo()
    return "".join(answer)


@main.command()
@click.argument("model", default=DEFAULT_MODEL)
@click.option("--tensors/--no-tensors", default=True, help="List every tensor.")
@click.option("--blocks", metavar="TENSOR", help="Show one block of a GGUF tensor, field by field.")
@click.option("--index", type=int, default=0, show_default=True, help="Which block.")
@click.option("--json", "as_json", is_flag=True)
def inspect(model: str, tensors: bool, blocks: str | None, index: int, as_json: bool) -> None:
    """Show MODEL's metadata, tensors, types and memory, reading no weights."""
    from refimpl.model.block_view import block_view
    from refimpl.model.find import find_model
    from refimpl.model.report import inspect_checkpoint, tables

    if blocks is not None:
        view = block_view(find_model(model), blocks, index)
        click.echo(json.dumps(view.as_json()) if as_json else view.as_text())
        return
    report = inspect_checkpoint(find_model(model))
    if as_json:
        click.echo(json.dumps(report.as_json()))
        return
    from rich.console import Console

    console = Console()
    for table in tables(report, with_tensors=tensors):
        console.print(table)


@main.command()
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
        click.echo(json.dumps(ids))
        return
    for i in ids:
        click.echo(f"{i:>7}  {words.token_text(i)!r}")


@main.command()
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@click.argument("destination", type=click.Path(path_type=Path))
@click.option("--type", "type_name", type=click.Choice(["F32", "F16", "BF16", "Q8_0", "Q4_0"]))
@click.option("--tokenizer", type=click.Path(exists=True, path_type=Path))
def convert(source: Path, destination: Path, type_name: str | None, tokenizer: Path | None) -> None:
    """Write SOURCE (a Hugging Face folder or a llama2.c file) as a GGUF file.

    Without --type, matrices keep the precision they have.
    """
    from rich.console import Console
    from rich.progress import Progress

    from refimpl.model.convert import convert as write
    from refimpl.model.load import open_checkpoint
    from refimpl.model.tokenizer import tokenizer_of
    from refimpl.text import tokenizer_to_gguf

    if destination.suffix != ".gguf":
        raise InputError(f"{destination} should end in .gguf")
    checkpoint = open_checkpoint(source)
    words = tokenizer_to_gguf(tokenizer_of(source, tokenizer))
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("tensors", total=len(checkpoint.tensors))
        write(checkpoint, words, destination, type_name, lambda name: progress.advance(task))
    click.echo(f"{destination}: {destination.stat().st_size:,} bytes", err=True)


@main.command()
@click.argument("source", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("destination", type=click.Path(path_type=Path))
@click.option("--type", "type_name", required=True, help="Q4_K_M, Q8_0, IQ4_XS, ...")
@click.option("--imatrix", type=click.Path(exists=True, path_type=Path), help="By llama-imatrix.")
@click.option("--requantize", is_flag=True, help="Also from a file that is quantised already.")
def quantize(
    source: Path, destination: Path, type_name: str, imatrix: Path | None, requantize: bool
) -> None:
    """Write SOURCE, a GGUF file, in a mixture of smaller types, as llama-quantize does."""
    from rich.console import Console
    from rich.progress import Progress

    from refimpl.formats.gguf import GGUF
    from refimpl.formats.importance import read_importance
    from refimpl.formats.quantize import quantize_file

    importance = None if imatrix is None else read_importance(imatrix)
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("tensors", total=len(GGUF.open(source).tensors))
        quantize_file(
            source,
            destination,
            type_name,
            importance=importance,
            requantize=requantize,
            on_tensor=lambda name: progress.advance(task),
        )
    before, after = source.stat().st_size, destination.stat().st_size
    click.echo(f"{destination}: {after:,} bytes, {after / before:.0%} of {source.name}", err=True)


if __name__ == "__main__":
    main()
