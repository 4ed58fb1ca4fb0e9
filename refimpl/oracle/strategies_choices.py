"""Hypothesis strategies for the tokens of a step: rows of logits, and what decides among them.

A draw is plain data here, `choices.draws_of` makes the `Draw`s: parameters that no filter refuses,
a history, samples, bans, masks, vocabularies padded at the end.
"""

from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
from hypothesis import strategies as st

Drawn = dict[str, Any]
DrawFn = Callable[..., Any]

PARAMS = st.fixed_dictionaries(
    {"temperature": st.sampled_from([0.0, 1.0, 0.7, 1.9]), "seed": st.integers(0, 2**40)},
    optional={
        "top_k": st.integers(1, 9),
        "top_p": st.sampled_from([0.1, 0.5, 0.9, 0.999]),
        "min_p": st.sampled_from([0.02, 0.3]),
        "typical_p": st.sampled_from([0.3, 0.9]),
        "top_n_sigma": st.sampled_from([0.5, 1.5]),
        "repetition_penalty": st.sampled_from([1.3, 0.8]),
        "frequency_penalty": st.sampled_from([0.4, -0.2]),
        "presence_penalty": st.sampled_from([0.7]),
        "xtc_probability": st.sampled_from([0.5, 1.0]),
        "dry_multiplier": st.sampled_from([0.8]),
        "logprobs": st.sampled_from([0, 3]),
    },
)


MIROSTAT = st.fixed_dictionaries(
    {
        "mirostat": st.just(2),
        "mirostat_tau": st.sampled_from([1.0, 5.0]),
        "temperature": st.sampled_from([1.0, 0.7]),
        "seed": st.integers(0, 2**40),
    }
)


@st.composite
def choices(draw: DrawFn) -> Drawn:
    """Logits [rows, vocab] and some draws, several of one row among them."""
    rng = Random(draw(st.integers(0, 2**16)))
    rows, vocab = draw(st.integers(1, 4)), draw(st.integers(2, 9) | st.sampled_from([64, 129, 300]))
    scale = draw(st.sampled_from([1.0, 5.0, 0.01, 40.0]))
    logits = np.random.default_rng(rng.getrandbits(32)).standard_normal((rows, vocab)) * scale
    if draw(st.booleans()):
        logits = np.round(logits)  # ties
    draws = [
        {
            "row": rng.randrange(rows),
            "params": draw(PARAMS | MIROSTAT),
            "mu": draw(st.none() | st.sampled_from([2.0, 9.5])),
            "history": [rng.randrange(vocab - 1) for _ in range(rng.randrange(12))],
            "sample": rng.randrange(3),
            "vocab_size": draw(st.none() | st.just(vocab - 1)),
            "banned": draw(st.lists(st.integers(1, vocab - 1), max_size=2)) if vocab > 4 else [],
            "allowed": sorted({0, *rng.sample(range(vocab), vocab // 2)}) if coin else None,
        }
        for coin in draw(st.lists(st.booleans(), min_size=1, max_size=4))
    ]
    return {"logits": logits.astype(np.float32), "draws": draws}
