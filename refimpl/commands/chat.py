"""`refimpl chat`: a conversation; what was said before is found in the prefix cache."""

import sys
from typing import TYPE_CHECKING, Any

import click

from refimpl.commands.options import model_options, open_model, sampling_options, sampling_params

if TYPE_CHECKING:
    from refimpl.engine.llm import LLM
    from refimpl.model.load import Loaded
    from refimpl.sampling import SamplingParams

Message = dict[str, str]


@click.command()
@click.option("--system", help="A system message to begin with.")
@model_options
@sampling_options
def chat(system: str | None, **options: Any) -> None:
    """Talk with a model.  /reset forgets, /exit or Ctrl-D ends; Ctrl-C cuts an answer short."""
    from refimpl.engine.llm import LLM

    loaded, backend = open_model(options)
    params = sampling_params(options)
    opening = [{"role": "system", "content": system}] if system else []
    history = list(opening)
    llm = LLM(loaded, backend=backend, cache="radix", block_size=1, n_blocks=room(loaded))
    while (line := read_line()) is not None:
        if line.strip() == "/exit":
            return
        if line.strip() == "/reset":
            history = list(opening)
            continue
        if line.strip():
            history.append({"role": "user", "content": line})
            answer = tell(llm, loaded, history, params)
            history.append({"role": "assistant", "content": answer})


def room(loaded: "Loaded") -> int:
    """Slots for two whole contexts, or as much of that as a gibibyte holds."""
    from refimpl.engine.llm import default_blocks

    return min(2 * loaded.config.context_length, default_blocks(loaded.config, 1))


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


def tell(llm: "LLM", loaded: "Loaded", history: list[Message], params: "SamplingParams") -> str:
    """Print an answer as it comes; what Ctrl-C leaves of it stays in the conversation."""
    ids = loaded.tokenizer.encode_chat(history)
    answer = []
    error = None
    try:
        for _, output in llm.stream([ids], params):
            answer.append(output.text)
            click.echo(output.text, nl=False)
            sys.stdout.flush()
            error = output.request.error
    except KeyboardInterrupt:
        pass
    if error is not None:
        raise error
    click.echo()
    return "".join(answer)
