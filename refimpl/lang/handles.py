"""What the model gave back: a text with its tokens, how probable each was, and why it ended.

A handle is a record of something that is over.  `str(handle)` is its text, so it can be put into
the next prompt as it is.

>>> three = Token(id=17, text="3", logprob=-0.25)
>>> answer = Gen(name="sum", text="3", tokens=(three,), finish="stop", n_prompt=9, value=3)
>>> f"it is {answer}", answer.value, answer.logprobs, answer.n_computed
('it is 3', 3, [-0.25], 9)
"""

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Token:
    """One token.  `logprob` is under the model's own law, before any filter or constraint.

    `id` is None where a server does not tell it.
    """

    id: int | None
    text: str
    logprob: float


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What an executor answers."""

    text: str
    tokens: tuple[Token, ...]
    finish: str  # stop, length
    n_prompt: int
    n_cached: int = 0  # prompt tokens that did not have to be computed
    ids: tuple[int, ...] | None = None  # the tokens of `text`, if those are they


@dataclass(frozen=True, kw_only=True)
class Handle:
    """What a program keeps of a reply, under a name."""

    name: str
    text: str
    tokens: tuple[Token, ...]
    finish: str
    n_prompt: int
    n_cached: int = 0

    def __str__(self) -> str:
        return self.text

    @property
    def logprobs(self) -> list[float]:
        return [token.logprob for token in self.tokens]

    @property
    def logprob(self) -> float:
        """Of the whole."""
        return sum(self.logprobs)

    @property
    def n_computed(self) -> int:
        """How many prompt tokens were computed for it."""
        return self.n_prompt - self.n_cached


@dataclass(frozen=True, kw_only=True)
class Gen(Handle, Generic[T]):
    """What `gen` gives.  `value` is the text, or the value of the schema that was asked for."""

    value: T


@dataclass(frozen=True, kw_only=True)
class Choice(Handle):
    """What `select` gives: the chosen option, and what each option scored."""

    index: int
    scores: tuple[float, ...]
