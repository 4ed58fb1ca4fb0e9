"""What a user gets back: for each prompt its samples, once they are over."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from refimpl.engine.request import Request
from refimpl.errors import RefimplError
from refimpl.sampling import Sampled


@dataclass(frozen=True, kw_only=True)
class Completion:
    """One sample of one prompt."""

    tokens: list[int]
    text: str
    sampled: list[Sampled]
    finish: str
    n_cached: int
    error: RefimplError | None = None


@dataclass(frozen=True, kw_only=True)
class Result:
    """A prompt and its n samples.  `scores` are the prompt's own tokens under the model."""

    prompt: list[int]
    completions: list[Completion]
    scores: dict[int, Sampled]


def result_of(family: Sequence[Request], texts: Mapping[str, str]) -> Result:
    """The samples of one prompt; `texts` are what each has said, by id."""
    completions = [
        Completion(
            tokens=request.output,
            text=texts[request.id],
            sampled=request.sampled,
            finish=request.finish.value if request.finish else "",
            n_cached=request.n_cached,
            error=request.error,
        )
        for request in family
    ]
    first = family[0]
    return Result(prompt=list(first.prompt), completions=completions, scores=first.prompt_scores)
