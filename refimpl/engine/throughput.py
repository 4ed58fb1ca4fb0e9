"""How many tokens a second the engine gives when many prompts come at once.

Prompts are random tokens of which the first `n_shared` are common to all, so that a prefix cache
has something to find.  Time is an argument: any function that returns seconds.

>>> from itertools import count
>>> from refimpl.oracle.models import random_model
>>> llm = LLM(random_model("llama", seed=0), block_size=4, n_blocks=32)
>>> ticks = count()
>>> table = throughput(llm, clock=lambda: next(ticks), n_prompts=3, n_prompt=8, n_output=4)
>>> dict(table.rows)["tokens out"], dict(table.rows)["seconds"]
(12, 1)
"""

from collections.abc import Callable
from random import Random

from refimpl.engine.llm import LLM
from refimpl.engine.simulate.table import Table
from refimpl.errors import InputError
from refimpl.sampling import SamplingParams


def throughput(
    llm: LLM,
    *,
    clock: Callable[[], float],
    n_prompts: int = 32,
    n_prompt: int = 64,
    n_output: int = 32,
    n_shared: int = 0,
    seed: int = 0,
) -> Table:
    """Serve them all and count."""
    config = llm.model.config
    if not 0 <= n_shared <= n_prompt or n_prompt + n_output > config.context_length:
        raise InputError(
            f"{n_shared} shared of {n_prompt} prompt tokens and {n_output} more do not fit a "
            f"context of {config.context_length}"
        )
    rng = Random(seed)
    shared = [rng.randrange(config.vocab_size) for _ in range(n_shared)]
    prompts = [
        [*shared, *(rng.randrange(config.vocab_size) for _ in range(n_prompt - n_shared))]
        for _ in range(n_prompts)
    ]
    params = SamplingParams(max_tokens=n_output, ignore_eos=True, temperature=0.0)
    began = clock()
    completions = [result.completions[0] for result in llm.generate(prompts, params)]
    seconds = clock() - began
    failed = [completion.error for completion in completions if completion.error]
    if failed:
        raise failed[0]
    n_out = sum(len(completion.tokens) for completion in completions)
    n_cached = sum(completion.n_cached for completion in completions)
    return Table(
        title="Throughput",
        columns=("what", "value"),
        rows=[
            ("prompts", n_prompts),
            ("prompt tokens", n_prompts * n_prompt),
            ("of those, cached", n_cached),
            ("tokens out", n_out),
            ("seconds", seconds),
            ("tokens out a second", n_out / seconds),
            ("all tokens a second", (n_out + n_prompts * n_prompt) / seconds),
        ],
        x="what",
        y="value",
        options={"n_shared": n_shared, "seed": seed},
    )
