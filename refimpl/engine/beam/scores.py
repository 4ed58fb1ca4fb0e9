"""Which beams survive a step, and which are returned: beam search without a model.

A beam is a sequence of generated tokens and the sum of their log-probabilities.  A step looks at
every token after every beam, and keeps the `width` best.  Everybody agrees on that much.  What to
do with a beam that ends is where engines differ, so each way has its name:

    Transformers    K = max(2, 1 + number of end tokens) * width candidates are looked at.  One
                    that ends counts only if it is among the first `width`; its score is
                    logprob / generated ** length_penalty, and the `width` best are kept.  The
                    search is over at the last token, or when by `early_stopping`
                      True      `width` beams have ended
                      False     no live beam, were it to end now, would beat the worst of them
                      "never"   none would, were it to go on to the last token without loss
    Vllm            2 * width candidates are looked at *after each beam*.  All that end are kept,
                    whatever their rank; the search never stops early, and what is still alive at
                    the last token is compared with them.  A score divides by the whole length
                    ** length_penalty, prompt included and end token not.

Both order ties by beam, then by token id.

Sources: transformers 5, `GenerationMixin._beam_search`; vLLM, `beam_search.py` and
`LLM.beam_search`.  transformers fills missing beams with copies of score -1e9, and vocabularies
smaller than 2 * width can show them; here a missing beam is missing.

Two tokens, 0 and 1, and an end, 2.  Greedy search would begin with 1; the best pair begins with 0:

>>> table = {(): [0.4, 0.6, 0.0], (0,): [0.9, 0.0, 0.1], (1,): [0.4, 0.4, 0.2]}
>>> def logprobs(beams):
...     with np.errstate(divide="ignore"):
...         return np.log([table[tuple(beam.tokens)] for beam in beams])
>>> params = BeamParams(width=2, max_tokens=2, length_penalty=0.0)
>>> beams = Transformers(params, ends=frozenset({2}), n_prompt=1)
>>> beams.advance(logprobs(beams.live))                 # both continue the empty beam
[0, 0]
>>> [(beam.tokens, round(float(np.exp(beam.logprob)), 2)) for beam in beams.live]
[([1], 0.6), ([0], 0.4)]
>>> beams.advance(logprobs(beams.live)), beams.is_done
([], True)
>>> [(one.tokens, round(float(np.exp(one.score)), 2)) for one in beams.best()]
[([0, 0], 0.36), ([1, 0], 0.24)]
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float64, Integer
from numpy import ndarray

from refimpl.errors import InputError
from refimpl.sampling.params import Real


@dataclass(frozen=True, kw_only=True)
class BeamParams:
    """What a search is asked for.  Of the `width` best, `n_return` are returned; None: all."""

    width: int = 4
    max_tokens: int = 128
    rules: str = "transformers"  # or "vllm"
    length_penalty: Real = (
        1.0  # above 0 longer sequences gain, since log-probabilities are negative
    )
    early_stopping: bool | str = False  # True, False or "never"; transformers only
    ignore_eos: bool = False
    n_return: int | None = None

    def __post_init__(self) -> None:
        if self.width < 1 or self.max_tokens < 1:
            raise InputError(
                f"{self.width} beams of {self.max_tokens} tokens: ask for one at least"
            )
        if not isfinite(self.length_penalty):
            raise InputError(f"length_penalty is {self.length_penalty}: give a finite number")
        if self.rules not in RULES:
            raise InputError(f"no beam search {self.rules!r}: choose {' or '.join(RULES)}")
        if self.early_stopping not in (True, False, "never"):
            raise InputError("early_stopping is True, False or 'never'")
        if self.rules == "vllm" and self.early_stopping is not False:
            raise InputError("vLLM's beam search never stops early: leave early_stopping at False")
        if self.n_return is not None and not 1 <= self.n_return <= self.width:
            raise InputError(f"n_return is {self.n_return}: between 1 and {self.width} are kept")


@dataclass(frozen=True, kw_only=True)
class Beam:
    """A sequence that can go on."""

    tokens: list[int]
    logprob: float


@dataclass(frozen=True, kw_only=True)
class Hypothesis:
    """A sequence that is returned: its tokens, with the end token if it ended by one."""

    tokens: list[int]
    logprob: float
    score: float
    ended: bool


@runtime_checkable
class Rules(Protocol):
    """A way to search.  `live` are the beams whose next log-probabilities it wants to see."""

    live: list[Beam]

    @property
    def is_done(self) -> bool: ...

    def advance(self, logprobs: Float64[ndarray, "beams vocab"]) -> list[int]:
        """One token on; for each new live beam the number of the one it continues."""

    def best(self) -> list[Hypothesis]:
        """What the search returns, best first."""


class Transformers:
    """As Hugging Face's `generate(num_beams=...)`."""

    def __init__(self, params: BeamParams, *, ends: frozenset[int], n_prompt: int) -> None:
        self.params = params
        self.ends = frozenset() if params.ignore_eos else ends
        self.live = [Beam(tokens=[], logprob=0.0)]
        self.ended: list[Hypothesis] = []
        self.n = 0  # tokens generated so far
        self.n_seen = max(2, 1 + len(self.ends)) * params.width

    def advance(self, logprobs: Float64[ndarray, "beams vocab"]) -> list[int]:
        totals = logprobs + np.array([[beam.logprob] for beam in self.live])  # [beams, vocab]
        self.n += 1
        going, parents = [], []
        for rank, (i, token) in enumerate(best_of(totals, self.n_seen)):
            beam = Beam(tokens=[*self.live[i].tokens, token], logprob=float(totals[i, token]))
            if not self.is_end(token):
                going.append(beam)
                parents.append(i)
            elif rank < self.params.width:
                self.keep(beam, token in self.ends)
        width = self.params.width
        self.ended = sorted(self.ended, key=lambda one: -one.score)[:width]
        self.live = going[:width]
        return parents[:width]

    def is_end(self, token: int) -> bool:
        return token in self.ends or self.n == self.params.max_tokens

    def keep(self, beam: Beam, ended: bool) -> None:
        score = beam.logprob / self.n**self.params.length_penalty
        self.ended.append(
            Hypothesis(tokens=beam.tokens, logprob=beam.logprob, score=score, ended=ended)
        )

    @property
    def is_done(self) -> bool:
        if not self.live:
            return True
        if len(self.ended) < self.params.width:
            return False
        return self.params.early_stopping is True or not self.can_improve()

    def can_improve(self) -> bool:
        """Might the best live beam still beat the worst that has ended?"""
        penalty = self.params.length_penalty
        hopeful = self.params.early_stopping == "never" and penalty > 0
        n = self.params.max_tokens if hopeful else self.n
        return bool(self.live[0].logprob / n**penalty > self.ended[-1].score)

    def best(self) -> list[Hypothesis]:
        return self.ended[: self.params.n_return]


class Vllm:
    """As vLLM's `LLM.beam_search`."""

    def __init__(self, params: BeamParams, *, ends: frozenset[int], n_prompt: int) -> None:
        self.params = params
        self.ends = frozenset() if params.ignore_eos else ends
        self.n_prompt = n_prompt
        self.live = [Beam(tokens=[], logprob=0.0)]
        self.ended: list[Beam] = []
        self.n = 0

    def advance(self, logprobs: Float64[ndarray, "beams vocab"]) -> list[int]:
        self.n += 1
        going: list[tuple[int, Beam]] = []
        for i, (beam, row) in enumerate(zip(self.live, logprobs, strict=True)):
            for _, token in best_of(row[None], 2 * self.params.width):
                total = beam.logprob + float(row[token])
                longer = Beam(tokens=[*beam.tokens, token], logprob=total)
                if token in self.ends:
                    self.ended.append(longer)
                else:
                    going.append((i, longer))
        going = sorted(going, key=lambda one: -self.score(one[1]))[: self.params.width]
        self.live = [beam for _, beam in going]
        return [i for i, _ in going]

    def score(self, beam: Beam) -> float:
        n = self.n_prompt + len(beam.tokens) - self.has_ended(beam)
        return float(beam.logprob / n**self.params.length_penalty)

    def has_ended(self, beam: Beam) -> bool:
        return beam.tokens[-1] in self.ends

    @property
    def is_done(self) -> bool:
        return not self.live or self.n == self.params.max_tokens

    def best(self) -> list[Hypothesis]:
        ranked = sorted([*self.ended, *self.live], key=lambda beam: -self.score(beam))
        return [
            Hypothesis(
                tokens=beam.tokens,
                logprob=beam.logprob,
                score=self.score(beam),
                ended=self.has_ended(beam),
            )
            for beam in ranked[: self.params.n_return or self.params.width]
        ]


RULES: dict[str, type[Transformers] | type[Vllm]] = {"transformers": Transformers, "vllm": Vllm}


def best_of(totals: Float64[ndarray, "beams vocab"], k: int) -> list[tuple[int, int]]:
    """The k largest entries, as (beam, token), largest first; those that are impossible never."""
    flat = totals.ravel()  # [beams * vocab]
    order = ranked(flat, k)
    return [divmod(int(i), totals.shape[1]) for i in order if flat[i] > -np.inf]


def ranked(values: Float64[ndarray, " n"], k: int) -> Integer[ndarray, " k"]:
    """The places of the k largest values; ties by place.

    >>> ranked(np.array([1.0, 3.0, 2.0, 3.0]), 3).tolist()
    [1, 3, 2]
    """
    candidates: Sequence[int] | ndarray = np.arange(len(values))
    if k < len(values):  # only those that reach the k-th largest are worth sorting
        candidates = np.flatnonzero(values >= np.partition(values, -k)[-k])
    order: ndarray = np.asarray(candidates)[np.argsort(-values[candidates], kind="stable")]
    return order[:k]
