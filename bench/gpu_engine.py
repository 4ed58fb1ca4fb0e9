"""What the engine's own loop costs on a GPU: tokens a second beside those of its steps alone.

    python -m bench.gpu --only engine

One model of random bits, 1 and 64 greedy requests at once.  The loop that waits reads each token
before it plans the next step; the other launches a step on top of one in flight
(`refimpl.engine.overlap`).
"""

import time
from typing import Any

from backends.cupy.backend import CudaBackend, DeviceModel
from bench.gpu_models import MODELS, decode_time, random_model
from refimpl.engine.limits import Limits
from refimpl.engine.llm import LLM
from refimpl.model.forward import Model
from refimpl.sampling import SamplingParams

NAMES = ("8B Q8_0", "1B Q8_0")
PROMPT, ANSWER = 192, 128  # tokens: a context of 256 on the way, as where steps are timed alone


class Ready(CudaBackend):
    """For models that are on the device already."""

    def load(self, model: Model) -> Any:
        return model


def tokens_a_second(model: DeviceModel, act: str, n: int, overlap: bool) -> float:
    """Of the answers alone: the time for one token each is taken off."""
    backend = Ready(act=act, cache="float16")
    blocks = n * (-(-(PROMPT + ANSWER) // 16) + 1)
    limits = Limits(max_seqs=n, max_batched_tokens=n * PROMPT)
    llm = LLM(model, backend=backend, cache="none", n_blocks=blocks, limits=limits, overlap=overlap)
    prompts = [[(7 * i + j) % 32000 for j in range(PROMPT)] for i in range(n)]

    def seconds(n_tokens: int) -> float:
        params = SamplingParams(max_tokens=n_tokens, ignore_eos=True, temperature=0.7, top_p=0.95)
        began = time.perf_counter()
        results = llm.generate(prompts, params)
        took = time.perf_counter() - began
        for result in results:
            (answer,) = result.completions
            assert answer.error is None and len(answer.tokens) == n_tokens
        return took

    seconds(ANSWER)  # kernels are compiled, and graphs captured
    return n * (ANSWER - 1) / (seconds(ANSWER) - seconds(1))


def engine() -> list[dict[str, Any]]:
    """For each model and number of requests: its steps alone, and both loops."""
    rows = []
    for name in NAMES:
        size, mixture, act = MODELS[name]
        model, _ = random_model(size, mixture)
        for n in (1, 64):
            alone = n * 1e3 / decode_time(Ready(act=act, cache="float16"), model, n)
            waiting, not_waiting = (tokens_a_second(model, act, n, o) for o in (False, True))
            of = {"model": name, "sequences": n}
            rows.append({**of, "steps": alone, "waiting": waiting, "not waiting": not_waiting})
    return rows
