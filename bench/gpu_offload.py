"""What `-ngl` is worth: a model's last layers on the GPU, the others on this machine's CPU.

    python -m bench.gpu --only offload

The shapes are Llama 3.2 1B's, in Q8_0, weights are random, and layers are counted as llama.cpp
counts them: the output is one more, so of 16 layers 17 is all, and 16 leaves the first on the CPU.
A step is timed from its plan to its logits on the host, one sequence.

>>> [plan_of(first, n).positions.tolist() for first, n in ((0, 3), (7, 1))]
[[0, 1, 2], [7]]
"""

import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from bench.cpu_models import random_weights
from refimpl.backend import Backend
from refimpl.formats.quants import block_type
from refimpl.kv.plan import Plan
from refimpl.model.forward import Model
from refimpl.offload import Offload

LAYERS = (0, 4, 8, 12, 16, 17)
PROMPT, DECODED = 512, 32
BLOCK = 16
KIND = "Q8_0"


def offload_rows() -> Iterator[dict[str, Any]]:
    """Tokens a second for each number of layers on the GPU."""
    model = host_model("1B")
    for n in LAYERS:
        backend = backend_of(n, model.config.n_layers)
        loaded = backend.load(model)
        cache = backend.new_cache(model.config, n_blocks=2 * PROMPT // BLOCK, block_size=BLOCK)
        prompt = [seconds(backend, loaded, cache, plan_of(0, PROMPT)) for _ in range(4)]
        steps = (plan_of(PROMPT + i, 1) for i in range(DECODED))
        decoded = [seconds(backend, loaded, cache, step) for step in steps]
        yield {
            "model": f"1B {KIND}",
            "gpu layers": n,
            "decode: tokens/s": 1 / float(np.median(decoded)),
            f"prefill {PROMPT}: tokens/s": PROMPT / min(prompt),
        }


def backend_of(n_gpu: int, n_layers: int) -> Backend:
    from backends.cupy import make_backend as on_gpu
    from backends.numba import make_backend as on_cpu

    if n_gpu == 0:
        return on_cpu(act="q8", cache="float16")
    gpu: Backend = on_gpu(act="q8", cache="float16")
    if n_gpu > n_layers:
        return gpu
    return Offload(on_cpu(act="q8", cache="float16"), gpu, n_gpu)


def host_model(size: str) -> Model:
    """Random blocks; layers share them, until a backend has copied them."""
    from bench.gpu_models import config_of, matrix_shapes

    config, kind = config_of(size), block_type(KIND)
    ones = np.ones(config.dim, np.float32)
    layer = {
        f"{name}.weight": random_weights(kind, shape)
        for name, shape in matrix_shapes(config).items()
    }
    words = random_weights(kind, (config.vocab_size, config.dim))
    top = {"token_embd.weight": words, "output.weight": words, "output_norm.weight": ones}
    layers = ({**layer, "attn_norm.weight": ones, "ffn_norm.weight": ones},) * config.n_layers
    return Model(config=config, top=top, layers=layers)


def plan_of(first: int, n: int) -> Plan:
    """n tokens of one sequence, from place `first` on; logits of the last."""
    places = np.arange(first, first + n, dtype=np.int32)
    return Plan(
        tokens=places % 1000,
        positions=places,
        slots=places,
        context_lens=places[-1:] + 1,
        block_tables=np.arange(-(-(first + n) // BLOCK), dtype=np.int32)[None],
        block_size=BLOCK,
        seq_starts=np.array([0, n], np.int32),
        rows=np.array([n - 1], np.int32),
    )


def seconds(backend: Backend, model: Any, cache: Any, plan: Plan) -> float:
    start = time.perf_counter()
    backend.host(backend.forward(model, plan, cache))
    return time.perf_counter() - start
