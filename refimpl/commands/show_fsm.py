"""`refimpl show fsm`: a pattern's automaton, and a generation that walks it, on one page."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from refimpl.commands.options import model_option

if TYPE_CHECKING:
    from refimpl.grammar.drawing import Stop
    from refimpl.grammar.fsm import Fsm
    from refimpl.model.load import Loaded

DEFAULT_PATTERN = r"(the|a) (cat|dog|bird) (sat|ran)( and (sat|ran))*\."
SHOWN = 12
MAX_DRAWN = 60


@click.command("fsm")
@click.argument("pattern", default=DEFAULT_PATTERN)
@click.option("--prompt", default="One day, ", show_default=True)
@click.option("--seed", type=click.IntRange(0), default=7, show_default=True)
@click.option("-n", "max_tokens", type=click.IntRange(1, 4096), default=40, show_default=True)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    default="fsm.html",
    show_default=True,
    help="The page to write; - is standard output.",
)
@model_option
def fsm(pattern: str, prompt: str, seed: int, max_tokens: int, output: Path, model: str) -> None:
    """Draw the automaton of PATTERN (Python's syntax), and a generation walking it."""
    from refimpl.engine.show.style import STYLE
    from refimpl.errors import InputError
    from refimpl.grammar.drawing import page
    from refimpl.grammar.fsm import minimal
    from refimpl.grammar.regex import Regexes
    from refimpl.grammar.regex_dialects import python_dialect
    from refimpl.model.find import find_model
    from refimpl.model.load import load

    machine = minimal(Regexes(), pattern, python_dialect())
    if not machine.accepting:
        raise InputError("nothing matches this pattern; there is nothing to draw")
    if len(machine.moves) > MAX_DRAWN:
        raise InputError(
            f"this automaton has {len(machine.moves)} states; more than {MAX_DRAWN} are no picture"
        )
    walk = walked(load(find_model(model)), machine, pattern, prompt, seed, max_tokens)
    html = page(pattern, machine, walk, STYLE)
    if str(output) == "-":
        click.echo(html, nl=False)
        return
    try:
        output.write_text(html, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{output} cannot be written: {error.strerror}") from None
    click.echo(f"{output}: open it in a browser; the arrow keys move through the tokens", err=True)


def walked(
    loaded: "Loaded", machine: "Fsm", pattern: str, prompt: str, seed: int, max_tokens: int
) -> "list[Stop]":
    """A sampled text, token by token."""
    from refimpl.engine.llm import LLM
    from refimpl.grammar.drawing import Stop
    from refimpl.grammar.masks import unpack
    from refimpl.sampling import SamplingParams

    params = SamplingParams(regex=pattern, seed=seed, max_tokens=max_tokens)
    llm = LLM(loaded)
    [result] = llm.generate(prompt, params)
    if result.completions[0].error:
        raise result.completions[0].error
    guide = llm.asked.guide(params)
    assert guide is not None
    tokenizer, tokens = loaded.tokenizer, result.completions[0].tokens
    stops, read = [], b""
    for i, token in enumerate(tokens):
        if token in tokenizer.eog_ids:
            break
        allowed = unpack(guide.mask(tokens[:i]), tokenizer.vocab_size).nonzero()[0].tolist()
        before = len(read.decode("utf-8", "ignore"))
        read += tokenizer.token_bytes(token)
        path = machine.path(read.decode("utf-8", "ignore"))
        others = [tokenizer.token_text(t) for t in allowed[:SHOWN]]
        name = tokenizer.token_bytes(token).decode("utf-8", "replace")
        stops.append(Stop(token=name, states=path[before:], n_allowed=len(allowed), allowed=others))
    return stops
