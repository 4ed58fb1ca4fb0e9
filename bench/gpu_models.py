"""Models of random bits in the shapes of Llama 3.1 8B and Llama 3.2 1B, and a step of each.

The vocabulary is 32000.  A share of the bandwidth limit is the whole file's bytes for every token,
over 4583 GB/s, the read bandwidth of the H200 that the peers of docs/cuda.md were measured on.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import cupy
import numpy as np

from backends.cupy import make_backend
from backends.cupy.backend import DeviceModel
from backends.cupy.buckets import next_power
from backends.cupy.graph import DecodeGraph
from backends.cupy.launch import SPLIT
from backends.cupy.step import Linear, fuse_layer, roomy
from backends.cupy.tiles import FORMATS, TILE_BYTES, Planes, Tiles
from bench.gpu_timing import replay_time
from refimpl.kv.plan import Plan
from refimpl.model.config import Config, Rope

BITS = {
    "Q8_0": 8.5,
    "Q4_0": 4.5,
    "Q5_0": 5.5,
    "IQ4_NL": 4.5,
    "MXFP4": 4.25,
    "Q4_K": 4.5,
    "Q5_K": 5.5,
    "Q6_K": 6.5625,
    "F16": 16,
    "BF16": 16,
    "F32": 32,
}
READ_BANDWIDTH = 4583e9
SIZES = {
    "8B": {
        "dim": 4096,
        "n_layers": 32,
        "n_heads": 32,
        "n_kv_heads": 8,
        "head_dim": 128,
        "ffn_dim": 14336,
    },
    "1B": {
        "dim": 2048,
        "n_layers": 16,
        "n_heads": 32,
        "n_kv_heads": 8,
        "head_dim": 64,
        "ffn_dim": 8192,
    },
}
MODELS = {
    "8B Q8_0": ("8B", "Q8_0", "q8"),
    "8B Q4_K_M": ("8B", "Q4_K_M", "q8"),
    "8B F16": ("8B", "F16", "half"),
    "1B Q8_0": ("1B", "Q8_0", "q8"),
    "1B Q4_K_M": ("1B", "Q4_K_M", "q8"),
}
CONTEXT = 256


@dataclass(frozen=True, kw_only=True, eq=False)
class RandomTiles(Tiles):
    @property
    def file_bytes(self) -> float:
        """What GGUF takes for it."""
        return self.rows * self.columns * BITS[self.format] / 8


def random_tiles(format: str, rows: int, columns: int) -> RandomTiles:
    rng = np.random.default_rng(0)
    n = rows // 16 * (columns // 32)
    tile, group = TILE_BYTES[format]
    any_bytes = cupy.asarray(rng.integers(0, 256, 1 << 22, dtype=np.uint8))
    small = cupy.asarray(rng.integers(0x2000, 0x2400, 1 << 20).astype(np.uint16)).view(np.uint8)

    def plane(bytes_of_tile: int, source: Any) -> Any:
        return roomy([cupy.resize(source, n * bytes_of_tile)]) if bytes_of_tile else None

    high = {"Q5_0": 64, "Q5_K": 64, "Q6_K": 128}.get(format, 0)
    scales = {"MXFP4": 16, "F32": 0, "F16": 0, "BF16": 0}.get(format, 32)
    of_bytes = format in ("Q4_K", "Q5_K", "Q6_K")
    exponents = cupy.full(1 << 10, 120, np.uint8)
    few_bits = any_bytes & 15  # so that no logit overflows
    planes = Planes(
        plane(tile - high - scales, any_bytes if scales else small),
        plane(high, any_bytes),
        plane(scales, few_bits if of_bytes else exponents if format == "MXFP4" else small),
        plane(group // 8, small),
    )
    assert format in FORMATS
    return RandomTiles(
        format=format, rows=rows, columns=columns, planes=planes, block_size=256 if of_bytes else 32
    )


def copies(w: RandomTiles, n: int) -> list[RandomTiles]:
    """n of them in different places: together larger than the caches."""

    def copy() -> Planes:
        return Planes(*(None if p is None else roomy([p]) for p in w.planes))

    return [w, *(replace(w, planes=copy()) for _ in range(n - 1))]


def format_of(mixture: str, name: str, layer: int, n_layers: int) -> str:
    """llama-quantize's choice: in Q4_K_M, half of the value and down maps are Q6_K."""
    if mixture != "Q4_K_M":
        return mixture
    eighth = n_layers // 8
    more = layer < eighth or layer >= 7 * eighth or (layer - eighth) % 3 == 2
    return "Q6_K" if name == "output" or (more and name in ("attn_v", "ffn_down")) else "Q4_K"


def config_of(size: str) -> Config:
    numbers: dict[str, Any] = SIZES[size]
    layers, d = numbers["n_layers"], numbers["head_dim"]
    rope = Rope(base=500000.0, rotary_dim=d, layout="interleaved")
    return Config(
        architecture="llama",
        vocab_size=32000,
        context_length=8192,
        norm="rms",
        norm_eps=1e-5,
        activation="silu",
        gated=True,
        parallel_residual=False,
        embed_scale=1.0,
        attn_scale=d**-0.5,
        attn_soft_cap=None,
        logit_soft_cap=None,
        windows=(None,) * layers,
        ropes=(rope,) * layers,
        **numbers,
    )


def matrix_shapes(c: Config) -> dict[str, tuple[int, int]]:
    """Of a layer: rows and columns."""
    heads, kv = c.n_heads * c.head_dim, c.n_kv_heads * c.head_dim
    return {
        "attn_q": (heads, c.dim),
        "attn_k": (kv, c.dim),
        "attn_v": (kv, c.dim),
        "attn_output": (c.dim, heads),
        "ffn_gate": (c.ffn_dim, c.dim),
        "ffn_up": (c.ffn_dim, c.dim),
        "ffn_down": (c.dim, c.ffn_dim),
    }


def random_model(size: str, mixture: str) -> tuple[DeviceModel, float]:
    """The model, and the bytes of its file's matrices."""
    config, total = config_of(size), 0.0

    def matrix(name: str, rows: int, columns: int, layer: int = 0) -> Tiles:
        nonlocal total
        made = random_tiles(format_of(mixture, name, layer, config.n_layers), rows, columns)
        total += made.file_bytes
        return made

    ones, shapes = cupy.ones(config.dim, np.float32), matrix_shapes(config)
    made: list[dict[str, Any]] = []
    for i in range(config.n_layers):
        layer: dict[str, Any] = {f"{n}.weight": matrix(n, *shape, i) for n, shape in shapes.items()}
        made.append(layer | {"attn_norm.weight": ones, "ffn_norm.weight": ones})
    words = config.vocab_size, config.dim
    top = {"token_embd.weight": matrix("token_embd", *words), "output_norm.weight": ones}
    top["output.weight"] = matrix("output", *words)
    fused = tuple(fuse_layer(layer) for layer in made)
    head = Linear(parts=(top["output.weight"],), biases=(None,))
    model = DeviceModel(config=config, top=top, layers=tuple(made), head=head, fused=fused)
    return model, total


def model_times(name: str) -> dict[str, Any]:
    """Tokens a second: one sequence, 64 sequences (context 256), and a prompt of 2048."""
    size, mixture, act = MODELS[name]
    backend = make_backend(act=act, cache="float16")
    model, n_bytes = random_model(size, mixture)
    row: dict[str, Any] = {"model": name, "act": act, "GB": n_bytes / 1e9}
    for n in (1, 16, 64):
        ms = decode_time(backend, model, n)
        row[f"decode {n}: tokens/s"] = n / ms * 1e3
        if n == 1:
            row["share of bandwidth %"] = 100 * n_bytes / (ms / 1e3) / READ_BANDWIDTH
    row["prefill 2048: tokens/s"] = 2048 / prefill_time(backend, model, 2048)
    return row


def decode_time(backend: Any, model: DeviceModel, n: int) -> float:
    """Milliseconds of a captured step of n sequences, between events."""
    graph = captured_step(backend, model, n)
    ms = replay_time(graph.graph, cupy.cuda.Stream(), inner=20)
    assert bool(cupy.isfinite(graph.logits).all())
    return ms


def captured_step(backend: Any, model: DeviceModel, n: int) -> DecodeGraph:
    """A step of n sequences as one graph: each has a context of 256."""
    blocks = CONTEXT // 16
    cache = backend.new_cache(model.config, n_blocks=n * blocks, block_size=16)
    shape = backend.shape(model.config, cache)
    graph = DecodeGraph(
        backend.ops, model, cache, shape, n, next_power(-(-CONTEXT // SPLIT)), blocks
    )
    tables = np.arange(n * blocks, dtype=np.int32).reshape(n, blocks)
    last = np.full(n, CONTEXT - 1, np.int32)
    plan = Plan(
        tokens=np.arange(n, dtype=np.int32),
        positions=last,
        slots=tables[:, -1] * 16 + 15,
        block_size=16,
        context_lens=last + 1,
        block_tables=tables,
        seq_starts=np.arange(n + 1, dtype=np.int32),
        rows=np.arange(n, dtype=np.int32),
    )
    graph.put(plan)
    for _ in range(2):  # launched, then captured
        graph.replay()
    cupy.cuda.Device().synchronize()
    return graph


def prefill_time(backend: Any, model: DeviceModel, n: int) -> float:
    """Seconds from a plan to its logits, the launches from Python included."""
    forward = prompt(backend, model, n)
    return min(seconds(forward) for _ in range(4))


def prompt(backend: Any, model: DeviceModel, n: int) -> Callable[[], object]:
    """A forward pass over n new tokens of one sequence."""
    cache = backend.new_cache(model.config, n_blocks=n // 16, block_size=16)
    places = np.arange(n, dtype=np.int32)
    plan = Plan(
        tokens=places % 1000,
        positions=places,
        slots=places,
        context_lens=np.array([n], np.int32),
        block_tables=np.arange(n // 16, dtype=np.int32)[None],
        block_size=16,
        seq_starts=np.array([0, n], np.int32),
        rows=places[-1:],
    )
    return lambda: backend.forward(model, plan, cache)


def seconds(launch: Callable[[], object]) -> float:
    """From the call until the GPU is done."""
    cupy.cuda.Device().synchronize()
    start = time.perf_counter()
    launch()
    cupy.cuda.Device().synchronize()
    return time.perf_counter() - start
