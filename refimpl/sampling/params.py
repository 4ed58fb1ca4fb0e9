"""What a user can ask of the sampler.  Every default is neutral: plain softmax sampling.

Filters are off at their defaults, and a value that makes no sense is refused here, once, so that
the filters need not look again.  The last group (`max_tokens`, `stop`, ...) is for the loop that
generates; this package only carries it.

>>> SamplingParams(temperature=0.7, top_p=0.9).min_p
0.0
>>> SamplingParams(top_p=1.5)
Traceback (most recent call last):
refimpl.errors.InputError: top_p is 1.5; it must be between 0 and 1
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import inf, isfinite
from typing import Any

from refimpl.errors import InputError

Real = float | int
"""A number.  (mypy takes an int for a float; the run-time check in the tests does not.)"""


@dataclass(frozen=True, kw_only=True)
class SamplingParams:
    """How to choose the tokens of one request."""

    temperature: Real = 1.0  # 0: always the most probable token
    top_k: int = 0  # 0: off
    typical_p: Real = 1.0
    top_p: Real = 1.0
    min_p: Real = 0.0
    top_n_sigma: Real = -1.0  # 0 or less: off
    xtc_probability: Real = 0.0
    xtc_threshold: Real = 0.1

    repetition_penalty: Real = 1.0
    frequency_penalty: Real = 0.0
    presence_penalty: Real = 0.0
    penalty_last_n: int = 64  # how far back the three look; 0: nowhere, -1: the whole history
    dry_multiplier: Real = 0.0  # 0: off
    dry_base: Real = 1.75
    dry_allowed_length: int = 2
    dry_penalty_last_n: int = -1
    dry_sequence_breakers: tuple[tuple[int, ...], ...] = ()
    logit_bias: Mapping[int, Real] = field(default_factory=dict, hash=False)  # -inf bans a token

    mirostat: int = 0  # 0: off, 2: mirostat v2
    mirostat_tau: Real = 5.0
    mirostat_eta: Real = 0.1

    seed: int = 0
    max_tokens: int = 128
    min_tokens: int = 0
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False
    logprobs: int | None = None

    json_schema: Any = field(default=None, hash=False)  # a schema or its text: one such document
    regex: str | None = None  # texts that match from beginning to end, in Python's syntax
    grammar: str | None = None  # texts of a grammar: GBNF, EBNF, Lark, or XML elements
    choice: tuple[str, ...] | None = None  # one of these texts
    close_in_time: bool = False  # such a text is complete when max_tokens is reached
    json_white_space: int = 16  # how much may stand together in a document
    json_in_order: bool = False  # keys in the order in which the schema mentions them
    json_escapes: bool = True  # characters may be escaped that need not be

    def __post_init__(self) -> None:
        for names, holds, words in RANGES:
            for name in names.split():
                value = getattr(self, name)
                if not holds(value):
                    raise InputError(f"{name} is {value!r}; it must be {words}")
        if self.min_tokens > self.max_tokens:
            raise InputError(
                f"min_tokens is {self.min_tokens}; it must be at most max_tokens, {self.max_tokens}"
            )
        if sum(getattr(self, name) is not None for name in CONSTRAINTS) > 1:
            raise InputError(f"give at most one of {', '.join(CONSTRAINTS)}")
        if self.mirostat:
            self.refuse_filters_beside_mirostat()
        object.__setattr__(self, "logit_bias", dict(self.logit_bias))  # the caller's may change

    @cached_property
    def penalises(self) -> bool:
        """Are tokens that came before less likely, or more?"""
        penalties = self.frequency_penalty, self.presence_penalty
        return self.repetition_penalty != 1 or any(penalties)

    @property
    def is_constrained(self) -> bool:
        return any(getattr(self, name) is not None for name in CONSTRAINTS)

    def refuse_filters_beside_mirostat(self) -> None:
        """Mirostat makes the cut-off itself; llama.cpp silently drops the other filters."""
        idle = SamplingParams()
        for name in FILTERS_MIROSTAT_REPLACES.split():
            if getattr(self, name) != getattr(idle, name):
                raise InputError(
                    f"mirostat replaces {name}; leave it at {getattr(idle, name)!r}, "
                    "or set mirostat to 0"
                )


CONSTRAINTS = ("json_schema", "regex", "grammar", "choice")
"""What a text may be made to obey (`refimpl.grammar`)."""

FILTERS_MIROSTAT_REPLACES = (
    "top_k typical_p top_p min_p top_n_sigma xtc_probability "
    "repetition_penalty frequency_penalty presence_penalty dry_multiplier"
)

RANGES: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    ("temperature", lambda v: 0 <= v < inf, "0 (greedy) or a positive finite number"),
    ("top_k", lambda v: v >= 0, "0 (off) or a positive number of tokens"),
    (
        "typical_p top_p min_p xtc_probability xtc_threshold",
        lambda v: 0 <= v <= 1,
        "between 0 and 1",
    ),
    ("top_n_sigma frequency_penalty presence_penalty", isfinite, "a finite number"),
    ("repetition_penalty mirostat_tau", lambda v: 0 < v < inf, "a positive finite number"),
    ("dry_multiplier mirostat_eta", lambda v: 0 <= v < inf, "0 or a positive finite number"),
    ("dry_base", lambda v: 1 <= v < inf, "a finite number of at least 1"),
    (
        "dry_allowed_length max_tokens min_tokens json_white_space",
        lambda v: v >= 0,
        "0 or a positive number",
    ),
    (
        "penalty_last_n dry_penalty_last_n",
        lambda v: v >= -1,
        "-1 (the whole history), 0 (off) or a positive number of tokens",
    ),
    (
        "dry_sequence_breakers",
        lambda v: all(len(b) > 0 for b in v),
        "a tuple of tuples of at least one token id each",
    ),
    (
        "logit_bias",
        lambda v: all(token >= 0 and -inf <= bias < inf for token, bias in v.items()),
        "a mapping from token ids to finite numbers, or to -inf for a ban",
    ),
    ("mirostat", lambda v: v in (0, 2), "0 (off) or 2 (mirostat v2)"),
    ("seed", lambda v: 0 <= v < 1 << 64, "between 0 and 2**64 - 1"),
    ("stop", lambda v: not isinstance(v, str) and all(v), "a tuple of strings that are not empty"),
    ("choice", lambda v: v is None or (not isinstance(v, str) and any(v)), "a tuple of texts"),
    ("logprobs", lambda v: v is None or v >= 0, "None (off) or the number of alternatives to list"),
)
"""Field names, what must hold of each, and how to say so."""
