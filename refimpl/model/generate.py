"""The loop: run a text through the model, choose a token, append it, repeat.

`recompute` is the definition: the whole text every time, with no cache and no batch; everything
faster must give the same tokens.  `incremental`
keeps the past's keys and values and runs only the new tokens; its logits are equal in every bit
(tests/laws), because each row of every operation is computed by itself.
"""

from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from refimpl.errors import InputError
from refimpl.model.cache import ContiguousCache, attend_to_itself
from refimpl.model.forward import REFERENCE, Model, forward
from refimpl.ops.reference import Reference
from refimpl.sampling import Sampled, SamplingParams, sample_at
from refimpl.sampling.draws import without

NextLogits = Callable[[Sequence[int]], Float[ndarray, " vocab"]]
"""From a sequence of token ids to the logits of what comes next."""

Finish = Literal["stop", "length"]


@dataclass(frozen=True, kw_only=True)
class Step:
    """One generated token; the last one says why it is the last."""

    sampled: Sampled
    finish: Finish | None


def recompute(model: Model, ops: Reference = REFERENCE) -> NextLogits:
    """The definition: the whole sequence, every time."""

    def next_logits(sequence: Sequence[int]) -> Float[ndarray, " vocab"]:
        tokens, positions = np.array(sequence), np.arange(len(sequence))
        attend = attend_to_itself(model.config, positions, ops)
        last = np.array([len(sequence) - 1])
        return np.asarray(forward(model, tokens, positions, attend, rows=last, ops=ops)[0])

    return next_logits


def incremental(
    model: Model, capacity: int, ops: Reference = REFERENCE, chunk: int | None = None
) -> NextLogits:
    """The same logits from a contiguous cache: only tokens not seen before are run.

    A sequence that departs from the last one keeps their common beginning (a chat's next turn).
    `chunk` bounds how many tokens run at once.
    """
    cache = ContiguousCache(config=model.config, capacity=capacity)
    seen: list[int] = []

    def next_logits(sequence: Sequence[int]) -> Float[ndarray, " vocab"]:
        cache.length = min(common_prefix(seen, sequence), len(sequence) - 1)
        logits = np.empty(0)
        while cache.length < len(sequence):
            new = np.array(sequence[cache.length :][:chunk])
            positions = cache.length + np.arange(len(new))
            attend, last = cache.attend(positions, ops), np.array([len(new) - 1])
            logits = forward(model, new, positions, attend, rows=last, ops=ops)[0]
            cache.advance(len(new))
        seen[:] = sequence
        return np.asarray(logits)

    return next_logits


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens two sequences share from the start.

    >>> common_prefix([1, 2, 3], [1, 2, 4, 5])
    2
    """
    return next(
        (i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b))
    )


def generate(
    next_logits: NextLogits,
    prompt: Sequence[int],
    params: SamplingParams,
    *,
    eog_ids: Set[int] = frozenset(),
    context_length: int,
    vocab_size: int | None = None,
    request: int = 0,
) -> Iterator[Step]:
    """Choose tokens until an end-of-generation token, `max_tokens`, or the end of the context.

    The end-of-generation token's step is yielded too: a caller sees every choice.  `vocab_size` is
    the tokenizer's: rows that pad the embedding beyond it are no tokens and cannot be chosen.
    """
    if not prompt:
        raise InputError("the prompt is empty: there is nothing to continue")
    if len(prompt) >= context_length:
        raise InputError(
            f"the prompt has {len(prompt)} tokens, and the context only {context_length}"
        )
    sequence, mu = list(prompt), None
    most = min(params.max_tokens, context_length - len(prompt))
    for n in range(1, most + 1):
        logits = next_logits(sequence)[:vocab_size]
        if n <= params.min_tokens:
            logits = without(logits, eog_ids)
        sampled = sample_at(logits, params, sequence, request=request, mu=mu)
        sequence.append(sampled.token)
        mu = sampled.mu
        ended = sampled.token in eog_ids and not params.ignore_eos
        yield Step(sampled=sampled, finish="stop" if ended else "length" if n == most else None)
        if ended:
            return
