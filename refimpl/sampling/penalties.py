"""Pushing down what was already said, and any token by request.

`history` is the tokens so far, prompt and output alike, as llama.cpp counts them (vLLM and the
OpenAI API let the frequency and presence penalties see the output only).  How far back a penalty
looks is the caller's business: pass `recent(history, last_n)`.

>>> x = np.array([2.0, -1.0, 0.5])
>>> repetition(x, [0, 1, 0], 2.0).tolist()
[1.0, -2.0, 0.5]
>>> frequency(x, [0, 1, 0], 0.5).tolist(), presence(x, [0, 1, 0], 0.5).tolist()
([1.0, -1.5, 0.5], [1.5, -1.5, 0.5])
>>> logit_bias(x, {2: 10.0, 0: -np.inf}).tolist()
[-inf, -1.0, 10.5]
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Int64, Integer
from numpy import ndarray

from refimpl.errors import InputError
from refimpl.sampling.params import Real
from refimpl.sampling.probability import Logits

History = Sequence[int] | Integer[ndarray, " tokens"]
"""Token ids, oldest first."""


def logit_bias(logits: Logits, bias: Mapping[int, Real]) -> Logits:
    """x_i + bias_i; -inf bans a token.  (OpenAI API, `logit_bias`.)"""
    if not bias:
        return logits
    biased = logits.copy()
    for token, amount in bias.items():
        if token >= len(logits):
            raise InputError(
                f"logit_bias names token {token}, but the vocabulary has {len(logits)} tokens"
            )
        biased[token] += amount
    return biased


def repetition(logits: Logits, history: History, penalty: Real) -> Logits:
    """A token seen before: x / penalty if x > 0, else x * penalty, however often it was seen.

    Keskar et al., "CTRL" (2019), section 4.1, which divides throughout; multiplying negative logits
    is the common repair, for dividing those would raise them.
    """
    if penalty == 1:
        return logits
    lowered = np.where(logits > 0, logits / penalty, logits * penalty)
    return np.where(occurrences(history, len(logits)) > 0, lowered, logits)


def frequency(logits: Logits, history: History, penalty: Real) -> Logits:
    """x - penalty * (times seen).  (OpenAI API, `frequency_penalty`.)"""
    return logits - penalty * occurrences(history, len(logits)) if penalty else logits


def presence(logits: Logits, history: History, penalty: Real) -> Logits:
    """x - penalty, if seen at all.  (OpenAI API, `presence_penalty`.)"""
    return logits - penalty * (occurrences(history, len(logits)) > 0) if penalty else logits


def recent(history: History, last_n: int) -> History:
    """The last n tokens; -1 means all of them.

    >>> recent([1, 2, 3], 2), recent([1, 2, 3], 0), recent([1, 2, 3], -1)
    ([2, 3], [], [1, 2, 3])
    """
    return history if last_n < 0 else history[max(0, len(history) - last_n) :]


def occurrences(history: History, vocab: int) -> Int64[ndarray, " vocab"]:
    """How often each token id appears."""
    tokens = np.asarray(history, dtype=np.int64)
    if len(tokens) and not (tokens.min() >= 0 and tokens.max() < vocab):
        raise InputError(
            f"the history holds a token id outside the vocabulary, 0 to {vocab - 1}: "
            "were the logits made by another model?"
        )
    counts: ndarray = np.bincount(tokens, minlength=vocab)
    return counts
