"""llama.cpp and FlashInfer on this GPU, taking turns with our kernels.

    python -m bench.gpu --only peers

llama.cpp runs files of random bits in our shapes and types (`-ngl 99 -fa 1`): a step of one
sequence and one of 64 at a context of 256, and a prompt of 2048, each from the call until the GPU
is done, here and there.  FlashInfer's paged decode is timed as our kernels are, in a graph; the
faster of its two kernels counts.  What is not installed is left out, and said:

    CMAKE_ARGS="-DGGML_CUDA=ON" pip install --no-binary llama-cpp-python llama-cpp-python
    pip install flashinfer-python                             (with torch; compiles at first use)
"""

from collections.abc import Callable, Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import cupy
import numpy as np

from backends.cupy import make_backend
from bench.cpu_llama import Llama
from bench.cpu_models import SHAPES, write_model
from bench.gpu_attention import CONTEXTS, attention_setup
from bench.gpu_models import CONTEXT, MODELS, captured_step, prompt, random_model, seconds
from bench.gpu_timing import time_of

PHASES: dict[str, tuple[str, ...]] = {
    "8B Q8_0": ("decode 1", "decode 64", "prefill 2048"),
    "8B Q4_K_M": ("decode 1",),
    "8B F16": ("decode 1", "decode 64", "prefill 2048"),
    "1B Q8_0": ("decode 1",),
}
ROUNDS = {"decode 1": 48, "decode 64": 24, "prefill 2048": 6}
KERNELS = {"plain": False, "tensor cores": True}
"""FlashInfer's, and what `use_tensor_cores` says."""
WARM = 4  # the first turns compile, and capture graphs
Row = dict[str, Any]


def peer_rows() -> Iterator[Row]:
    """Rows of one phase each: here, there, and how many times faster here is."""
    if find_spec("llama_cpp"):
        for name in PHASES:
            yield from beside_llama(name)
            cupy.get_default_memory_pool().free_all_blocks()
    if find_spec("flashinfer"):
        for sequences, context in CONTEXTS:
            yield beside_flashinfer(sequences, context)


def beside_llama(name: str) -> Iterator[Row]:
    size, mixture, act = MODELS[name]
    backend = make_backend(act=act, cache="float16")
    model, _ = random_model(size, mixture)
    with TemporaryDirectory() as folder:
        file = Path(folder) / "model.gguf"
        write_model(file, SHAPES[size], mixture)
        llama = Llama(file, threads=8, context=CONTEXT, gpu=True)
    for phase in PHASES[name]:
        what, n = phase.split()[0], int(phase.split()[1])
        if what == "decode":
            ours, theirs = captured_step(backend, model, n).replay, llama_steps(llama, n)
        else:
            ours, theirs = prompt(backend, model, n), llama_prompts(llama, n)
        times = [(seconds(ours), next(theirs)) for _ in range(WARM + ROUNDS[phase])]
        here, there = (n / median(t) for t in zip(*times[WARM:], strict=True))
        yield {
            "peer": f"llama-cpp-python {version('llama_cpp_python')}",
            "what": name,
            "phase": phase,
            "ours: tokens/s": here,
            "theirs: tokens/s": there,
            "ratio": here / there,
        }
    llama.close()


def llama_steps(llama: Llama, n: int) -> Iterator[float]:
    """Seconds of each next step of n sequences, from a context of 256 on."""
    llama.open(context=n * 2 * CONTEXT, sequences=n)
    places, who = list(range(CONTEXT - 1)), list(range(n))
    for s in who:
        llama.run([7] * len(places), places, [s] * len(places), [len(places) - 1])
    for position in range(len(places), 2 * CONTEXT):
        llama.fill([7] * n, [position] * n, who, who)
        yield finished(llama)


def llama_prompts(llama: Llama, n: int) -> Iterator[float]:
    llama.open(context=2 * n, sequences=1)
    while True:
        llama.fill([7] * n, list(range(n)), [0] * n, [n - 1])
        yield finished(llama)


def finished(llama: Llama) -> float:
    """Seconds until llama.cpp has computed its batch."""

    def run() -> None:
        llama.decode()
        llama.api.llama_synchronize(llama.context)

    return seconds(run)


def beside_flashinfer(sequences: int, context: int) -> Row:
    launch, n_bytes = attention_setup(sequences, context, 1)
    theirs = flashinfer_graphs(sequences, context)
    times = [(time_of([launch] * 10), *(us() for us in theirs.values())) for _ in range(5)]
    ours, *others = (median(t) for t in zip(*times, strict=True))
    return {
        "peer": f"FlashInfer {version('flashinfer-python')}",
        "what": f"{sequences} x {context}",
        "ours: us": ours,
        **{f"theirs, {name}: us": us for name, us in zip(theirs, others, strict=True)},
        "ratio": min(others) / ours,
        "GB/s": n_bytes / ours / 1e3,
    }


def flashinfer_graphs(sequences: int, context: int) -> dict[str, Callable[[], float]]:
    """Microseconds a launch of each of its kernels, as our own are timed."""
    import torch
    from flashinfer import BatchDecodeWithPagedKVCacheWrapper as Wrapper

    blocks = context // 16
    shape = sequences * blocks, 2, 8, 16, 128
    cache = torch.randn(shape, dtype=torch.float16, device="cuda")
    q = torch.randn(sequences, 32, 128, dtype=torch.float16, device="cuda")
    out = torch.empty_like(q)
    order = np.random.default_rng(0).permutation(sequences * blocks).astype(np.int32)
    starts = torch.arange(0, len(order) + 1, blocks, dtype=torch.int32)
    full = torch.full((sequences,), 16, dtype=torch.int32)
    found: dict[str, Callable[[], float]] = {}
    for name, cores in KERNELS.items():
        room = torch.empty(256 << 20, dtype=torch.uint8, device="cuda")
        wrapper = Wrapper(room, kv_layout="HND", use_tensor_cores=cores)
        pages = torch.from_numpy(order).cuda()
        kinds = {"q_data_type": torch.float16, "kv_data_type": torch.float16}
        wrapper.plan(starts, pages, full, 32, 8, 128, 16, **kinds)
        launch = lambda wrapper=wrapper: wrapper.run(q, cache, out=out)
        launch()
        found[name] = TorchGraph(launch)
    return found


class TorchGraph:
    """`time_of` for what runs on torch's stream: microseconds of one of n launches in a graph."""

    def __init__(self, launch: Callable[[], object], n: int = 10) -> None:
        import torch

        self.launch, self.n = launch, n  # what was captured reads what `launch` keeps alive
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            for _ in range(n):
                launch()

    def __call__(self) -> float:
        import torch

        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        self.graph.replay()
        start.record()
        self.graph.replay()
        stop.record()
        stop.synchronize()
        return float(start.elapsed_time(stop)) * 1e3 / self.n
