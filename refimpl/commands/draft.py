"""Who guesses ahead: a smaller model, or the text itself."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from refimpl.errors import InputError

if TYPE_CHECKING:
    from refimpl.backend import Backend
    from refimpl.engine.speculative.speculator import Speculator
    from refimpl.model.load import Loaded


def draft_options(command: Callable[..., None]) -> Callable[..., None]:
    """Speculative decoding: the same text, sooner."""
    for option in (
        click.option(
            "--guesses",
            type=click.IntRange(1, 64),
            default=5,
            show_default=True,
            help="Tokens guessed ahead in a step, with --draft.",
        ),
        click.option(
            "--draft",
            metavar="MODEL|ngram|suffix",
            help="Guess ahead, with a smaller model or from the text itself.",
        ),
    ):
        command = option(command)
    return command


def take_speculator(
    options: dict[str, Any], loaded: "Loaded", backend: "Backend"
) -> "Speculator | None":
    """Take these options out of `options`; None if nobody is to guess."""
    from refimpl.engine.speculative.length import Fixed
    from refimpl.engine.speculative.speculator import Speculator

    name, n = options.pop("draft"), options.pop("guesses")
    if name is None:
        return None
    if name == "ngram":
        from refimpl.engine.speculative.ngram import NGram

        return Speculator(NGram(), Fixed(n))
    if name == "suffix":
        from refimpl.engine.speculative.suffix import Suffix

        return Speculator(Suffix(), Fixed(n))
    from refimpl.engine.llm import default_blocks
    from refimpl.engine.speculative.draft_model import DraftModel

    drafter = load_drafter(name, loaded, backend)
    n_blocks = default_blocks(drafter.config, 16)
    return Speculator(DraftModel(drafter.model, backend.for_drafts(), n_blocks=n_blocks), Fixed(n))


def load_drafter(name: str, loaded: "Loaded", backend: "Backend") -> "Loaded":
    """A model with the words of the one it should guess for."""
    from refimpl.model.find import find_model
    from refimpl.model.load import load

    packed = backend.name != "numpy" or backend.reference.act != "none"
    drafter = load(find_model(name), packed=packed)
    if drafter.model.config.vocab_size != loaded.model.config.vocab_size:
        raise InputError(f"{name!r} has another vocabulary than the model it should guess for")
    return drafter
