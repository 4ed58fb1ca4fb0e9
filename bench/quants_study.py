"""The study behind docs/formats.md: is each block format right, how far off, how fast?

    python -m bench.quants_study [--json docs/formats.json] [--rounds 15]

Needs the `gguf` package, ggml's library (llama-cpp-python) and the embedded model.  Right means:
equal in every bit to ggml's C code on random and hostile input (the tests try far more).  Far off
is the error of quantising and coming back.  Fast is compared with the `gguf` package, the two
taking turns on the same bytes, so that a slow moment of the machine hits both; the ratio is the
median over the rounds.  `docs/make_formats.py` makes the page of it.
"""

import json
from pathlib import Path
from statistics import median
from time import thread_time
from typing import Any

import click
import gguf
import numpy as np
from numpy import ndarray

from golden.quants import ggml
from refimpl.formats.gguf import GGUF
from refimpl.formats.quants import BLOCK_TYPES, BlockType, Packed
from refimpl.formats.quants.dot import partner

MODEL = Path(__file__).parent.parent / "refimpl" / "data" / "tiny.gguf"
GOLDEN = Path(__file__).parent.parent / "golden" / "quants"
COLUMNS = 1024
NO_DECODER = "ggml has no function that expands it"
PLAIN = "not quantised"


def model_matrices() -> ndarray:
    """The embedded model's matrices, [rows, 256].  They come from Q8_0, and so are on its grid."""
    file = GGUF.open(MODEL)
    tensors = [file.tensor(name) for name in file.tensors]
    rows = [t[...].reshape(-1, 256) for t in tensors if isinstance(t, Packed)]
    return np.concatenate(rows)


def random_blocks(t: BlockType, n: int) -> ndarray:
    """uint8 [n, bytes]: half random, half hostile (subnormal, infinite and NaN scales)."""
    raw = np.random.default_rng(t.id).integers(0, 256, (n, t.dtype.itemsize), dtype=np.uint8)
    hostile = raw[: n // 2]
    hostile[hostile < 80], hostile[hostile > 176] = 0, 255
    return raw


def decodes_like_ggml(t: BlockType) -> str:
    if t.name == "Q8_1":
        return NO_DECODER
    if t.name in ("F32", "F64") or t.dtype.kind == "i":
        return "a plain number"
    n = 65536 if t.block_size == 1 else 4096
    raw = (
        np.arange(n, dtype="<u2").view("u1").reshape(n, 2)
        if t.block_size == 1
        else random_blocks(t, n)
    )
    theirs = ggml.dequantize(t.name, raw, n * t.block_size).reshape(n, -1)
    ours = t.dequantize(raw.view(t.dtype)[:, 0])
    same = ours.view(np.uint32) == theirs.view(np.uint32)
    return "yes" if (same | (np.isnan(ours) & np.isnan(theirs))).all() else "NO"


def test_weights() -> ndarray:
    """[rows, COLUMNS]: ordinary, sparse, integers, zeros, signed zeros, wide, subnormal."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((8, COLUMNS))
    x[1] *= 0.02
    x[2][rng.random(COLUMNS) < 0.8] = 0
    x[3] = rng.integers(-3, 4, COLUMNS)
    x[4] = np.where(rng.random(COLUMNS) < 0.5, 0.0, -0.0)
    x[5] *= np.exp2(rng.integers(-25, 25, COLUMNS))
    x[6] *= 1e-40
    x[7, ::64] = 0
    return x.astype(np.float32)


def encodes_like_ggml(t: BlockType, with_importance: bool) -> str:
    if t.name in ("F32", "F64") or t.dtype.kind == "i":
        return "a plain number"
    if with_importance and t.block_size == 1:
        return "has no use for it"
    assert t.quantize is not None
    if t.needs_importance and not with_importance:
        return "needs an importance"
    if t.name in ("Q8_1", "Q8_K") and with_importance:
        return "for activations"
    x = test_weights()
    importance = np.random.default_rng(2).random(COLUMNS).astype(np.float32)
    blocks = x.reshape(len(x), -1, t.block_size)
    by = importance if with_importance else None
    if t.name in ("Q8_1", "Q8_K"):
        theirs = ggml.quantize_row_ref(t.name, x, len(x) * t.row_bytes(COLUMNS))
    else:
        theirs = ggml.quantize_chunk(t.id, x, t.row_bytes(COLUMNS), by)
    ours = t.quantize(blocks, None if by is None else by.reshape(-1, t.block_size))
    return "yes" if np.array_equal(ours.view(np.uint8).ravel(), theirs.ravel()) else "NO"


def dot_mode(t: BlockType) -> str:
    return PLAIN if t.split is None else partner(t)


def golden(t: BlockType) -> str:
    if t.name in ("F32", "F64") or t.dtype.kind == "i":
        return "a plain number"
    return "yes" if (GOLDEN / f"{t.name}.safetensors").is_file() else "NO"


def seconds(work: Any) -> float:
    """Of this thread's time, not the clock's: what other programs take does not count."""
    start = thread_time()
    work()
    return thread_time() - start


def speeds(t: BlockType, rounds: int) -> dict[str, float | str]:
    if t.dtype.kind == "i":
        return {"decode": PLAIN, "ratio": PLAIN}
    if t.name == "F32":
        return {"decode": "nothing to do", "ratio": "a view in both"}
    return decode_speed(t, rounds)


def decode_speed(t: BlockType, rounds: int) -> dict[str, float | str]:
    """Millions of weights a second at best, here and in the gguf package; the median ratio."""
    n = 1 << 20
    raw = random_blocks(t, 2 * n // t.block_size)[n // t.block_size :]  # none of the hostile
    blocks, rows = raw.view(t.dtype)[:, 0], raw.reshape(256, -1)
    known = t.id in gguf.quants._type_traits or t.name in ("F16", "F32")
    kind = gguf.GGMLQuantizationType(t.id) if known else None
    ours, theirs = [], []
    with np.errstate(all="ignore"):
        for _ in range(rounds + 1):
            ours.append(seconds(lambda: t.dequantize(blocks)))
            if kind is not None:
                theirs.append(seconds(lambda: gguf.quants.dequantize(rows, kind)))
    decode = n / min(ours) / 1e6
    if not theirs:
        return {"decode": decode, "ratio": "the gguf package has no decoder for it"}
    ratio = median(b / a for a, b in zip(ours[1:], theirs[1:], strict=True))
    return {"decode": decode, "gguf": n / min(theirs) / 1e6, "ratio": ratio}


def encode_speed(t: BlockType) -> float | str:
    """Millions of weights a second, without an importance where it can be."""
    if t.quantize is None:
        return "not made"
    n = 1 << 16 if t.name.startswith("IQ") else 1 << 19
    x = (
        np.random.default_rng(3)
        .standard_normal((n // t.block_size, t.block_size))
        .astype(np.float32)
    )
    by = np.ones((1, t.block_size), np.float32) if t.needs_importance else None
    t.quantize(x[:8], by)
    return n / seconds(lambda: t.quantize(x, by)) / 1e6


def errors(t: BlockType, x: ndarray) -> dict[str, float | str]:
    """Root mean square and largest error, in standard deviations of the weights."""
    if t.block_size == 1 and t.name not in ("F16", "BF16"):
        return {"rmse": "no error" if t.dtype.kind == "f" else "not for weights", "max": ""}
    blocks = x.reshape(-1, 256 // t.block_size, t.block_size)
    with_codebook = t.name.startswith(("IQ1", "IQ2", "IQ3"))
    by = np.ones(blocks.shape[1:], np.float32) if with_codebook else None
    assert t.quantize is not None
    off = t.dequantize(t.quantize(blocks, by)).astype(np.float64) - blocks
    deviation = float(x.std(dtype=np.float64))
    return {
        "rmse": float(np.sqrt((off**2).mean())) / deviation,
        "max": float(np.abs(off).max()) / deviation,
    }


def study(t: BlockType, rounds: int, gaussian: ndarray, real: ndarray) -> dict[str, Any]:
    return {
        "id": t.id,
        "bits": t.bits_per_weight,
        "block": t.block_size,
        "bytes": t.dtype.itemsize,
        "fields": [f"{n}{list(t.dtype[n].shape) or ''}" for n in t.dtype.names or ()],
        "formula": t.formula,
        "decodes": decodes_like_ggml(t),
        "encodes": encodes_like_ggml(t, False),
        "encodes with importance": encodes_like_ggml(t, True),
        "dot": dot_mode(t),
        "golden": golden(t),
        **speeds(t, rounds),
        "encode": encode_speed(t),
        "gaussian": errors(t, gaussian),
        "model": errors(t, real),
    }


@click.command()
@click.option("--json", "path", default="docs/formats.json", show_default=True)
@click.option("--rounds", default=15, show_default=True)
def main(path: str, rounds: int) -> None:
    gaussian = np.random.default_rng(0).standard_normal((512, 256)).astype(np.float32)
    real = model_matrices()
    real = real[np.random.default_rng(0).permutation(len(real))[:1024]]
    types = {}
    for t in BLOCK_TYPES.values():
        types[t.name] = study(t, rounds, gaussian, real)
        click.echo(f"{t.name:8} {types[t.name]['decode']} {types[t.name]['ratio']}")
    facts = {"authority": f"ggml {ggml.version()}", "numpy": np.__version__, "types": types}
    Path(path).write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
