"""Several steps in one call: the tokens of one step after the other, and the same keys and values.

`decode_greedily` is run beside what it means (`refimpl.backend.greedy_steps`), each in a poisoned
cache of its own.  The tokens must be equal, and so must every bit of the logits of the step that
comes after them, which sees all that was stored.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from random import Random
from typing import Any

import numpy as np
from numpy import ndarray

from refimpl.backend import Backend, greedy_steps
from refimpl.kv.plan import Plan
from refimpl.oracle.comparison import ContractError, same_bits
from refimpl.oracle.memory import Poisoned
from refimpl.oracle.specimens import specimen


def decodes(
    backend: Backend,
    *,
    model: Mapping[str, Any],
    texts: Sequence[Sequence[int]],
    n: int,
    block_size: int,
    vocab_size: int,
    seed: int,
) -> float:
    """n tokens after each text: in one call, and step by step."""
    plain = specimen(**model)
    loaded = backend.load(plain)
    plan, n_blocks = with_room(texts, n, block_size, Random(seed))

    def run(decode: Callable[..., ndarray]) -> tuple[ndarray, ndarray]:
        poisoned = Poisoned(
            backend=backend, config=plain.config, n_blocks=n_blocks, block_size=block_size
        )
        chosen = np.asarray(decode(loaded, plan, poisoned.cache, n, vocab_size))
        last = plan
        for tokens in chosen.T:
            last = last.after(np.ascontiguousarray(tokens))
        return chosen, np.array(backend.host(backend.forward(loaded, last, poisoned.cache)))

    expected, their_logits = run(partial(greedy_steps, backend))
    chosen, logits = run(backend.decode_greedily)
    if not np.array_equal(chosen, expected):
        raise ContractError(
            f"decode_greedily chose {chosen.tolist()}; step by step it is {expected.tolist()}"
        )
    if not same_bits(logits, their_logits):
        raise ContractError("after decode_greedily the next step's logits have other bits")
    return 0.0


def with_room(
    texts: Sequence[Sequence[int]], n: int, block_size: int, rng: Random
) -> tuple[Plan, int]:
    """All texts at once, in permuted blocks with room for n tokens more; and how many blocks."""
    lengths = [len(text) for text in texts]
    needed = [-(-(length + n) // block_size) for length in lengths]
    free = rng.sample(range(sum(needed) + 1), sum(needed) + 1)
    tables = np.full((len(texts), max(needed)), -1, np.int32)
    for table, count in zip(tables, needed, strict=True):
        table[:count] = [free.pop() for _ in range(count)]
    positions = np.concatenate([np.arange(length) for length in lengths]).astype(np.int32)
    whose = np.repeat(np.arange(len(texts)), lengths)
    ends = np.cumsum(lengths).astype(np.int32)
    plan = Plan(
        tokens=np.array([token for text in texts for token in text], np.int32),
        positions=positions,
        slots=tables[whose, positions // block_size] * np.int32(block_size)
        + positions % np.int32(block_size),
        context_lens=np.array(lengths, np.int32),
        block_tables=tables,
        seq_starts=np.concatenate([np.zeros(1, np.int32), ends]),
        rows=ends - np.int32(1),
        block_size=block_size,
    )
    return plan, sum(needed) + 1
