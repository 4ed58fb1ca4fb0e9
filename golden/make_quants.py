"""Write the golden vectors of the block formats: python -m golden.make_quants

The authority is ggml's C code (`golden/quants/ggml.py`); nothing of refimpl computes what is
stored.  One safetensors file per format, a few to a few dozen KiB each:

    blocks          U8  [n, bytes of a block]        adversarial (random, special scales)
    weights         F32 [n, weights of a block]      dequantize_row_* of them (NaN: any NaN)
    quantized       U8  [rows, bytes of a row]       ggml_quantize_chunk of `inputs.safetensors`' x
    quantized_with_importance                        the same with its importance

`mixtures.json` says which types llama.cpp's llama_model_quantize gives the tensors of a few models.
F16 and BF16 have only the first two; Q8_1, which ggml never expands, has only the third, and Q8_K
too is made by quantize_row_q8_K_ref.  IQ2_XXS, IQ2_XS and IQ1_S have no `quantized`: they need an
importance.
"""

import json
from importlib.metadata import version
from pathlib import Path
from string import ascii_letters
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from golden.quants import ggml, llama
from refimpl.formats.gguf import GGUF, write_gguf
from refimpl.formats.quants import BLOCK_TYPES, BlockType
from refimpl.formats.quants.mixtures import FILE_TYPES

HERE = Path(__file__).resolve().parent / "quants"
ROWS, COLUMNS = 20, 512
NEEDS_IMPORTANCE = ("IQ2_XXS", "IQ2_XS", "IQ1_S")
ACTIVATIONS = ("Q8_1", "Q8_K")
SPECIAL_F16 = (0x7E00, 0xFC01, 0x7C00, 0xFC00, 0x0000, 0x8000, 0x0001, 0x83FF, 0x7BFF, 0x3C00)
SPECIAL_F32 = (0x7FC00000, 0xFF800001, 0x7F800000, 0xFF800000, 0, 0x80000000, 1, 0x807FFFFF)


def adversarial_blocks(t: BlockType, n: int) -> np.ndarray:
    """uint8 [n, bytes]: random, two constant ones, every special value in every scale field."""
    rng = np.random.default_rng(t.id)
    raw = rng.integers(0, 256, (n, t.dtype.itemsize), dtype=np.uint8)
    raw[0], raw[1] = 0, 255
    blocks = raw.view(t.dtype)[:, 0]
    row = 2
    for name in t.dtype.names or ():
        kind = t.dtype[name].base.str
        special = {"<f2": SPECIAL_F16, "<f4": SPECIAL_F32}.get(kind, ())
        for bits in special:
            blocks[name][row : row + 1].view(f"<u{kind[2:]}")[:] = bits
            row += 1
    return raw


def inputs() -> tuple[np.ndarray, np.ndarray]:
    """x float32 [ROWS, COLUMNS] and importance float32 [COLUMNS]."""
    rng = np.random.default_rng(2024)
    normal = rng.standard_normal((ROWS, COLUMNS))
    x = normal.copy()
    x[1] *= 1e-2
    x[2] = rng.laplace(size=COLUMNS)
    x[3] = np.abs(x[3])
    x[4] = -np.abs(x[4])
    x[5][rng.random(COLUMNS) < 0.8] = 0
    x[6] = rng.integers(-3, 4, COLUMNS)
    x[7] = normal[7, 0]
    x[8] = 0
    x[9] = -0.0
    x[10] *= np.exp2(rng.integers(-20, 20, COLUMNS))
    x[11] *= 1e-20
    x[12] *= 1e-40
    x[13] = rng.integers(-1, 2, COLUMNS) * 0.37
    x[14, :256], x[14, 256:] = 0, np.linspace(-1, 1, 256)
    x[15] = np.where(np.arange(COLUMNS) % 64 < 32, 0, normal[15])
    x[16] *= 1e12
    x[17] = np.tile([1.5, -1.5, 0.5, -0.5], COLUMNS // 4)
    importance = rng.random(COLUMNS) ** 3 + 1e-4
    return x.astype(np.float32), importance.astype(np.float32)


def tensors(t: BlockType, x: np.ndarray, importance: np.ndarray) -> dict[str, np.ndarray]:
    made: dict[str, np.ndarray] = {}
    if t.name != "Q8_1":
        n = 24 if t.block_size >= 128 else 48
        made["blocks"] = adversarial_blocks(t, 256 if t.block_size == 1 else n)
        weights = ggml.dequantize(t.name, made["blocks"], made["blocks"].shape[0] * t.block_size)
        made["weights"] = weights.reshape(-1, t.block_size)
    row_bytes = t.row_bytes(COLUMNS)
    if t.name in ACTIVATIONS:
        made["quantized"] = ggml.quantize_row_ref(t.name, x, row_bytes * ROWS).reshape(ROWS, -1)
    elif t.block_size > 1:
        if t.name not in NEEDS_IMPORTANCE:
            made["quantized"] = ggml.quantize_chunk(t.id, x, row_bytes)
        with_it = ggml.quantize_chunk(t.id, x, row_bytes, importance)
        made["quantized_with_importance"] = with_it
    return made


def mixtures() -> dict[str, Any]:
    """What types llama.cpp gives the tensors of `llama.MODELS` for every file type.

    Each type is a letter, each model a list of tensors and, for each file type without and with an
    importance, a string with the letter of each tensor's type; null where llama.cpp refuses.
    """
    letters = dict(zip(BLOCK_TYPES, ascii_letters, strict=False))
    cases: list[dict[str, Any]] = []
    authority = f"llama_model_quantize, by llama-cpp-python {version('llama-cpp-python')}"
    with TemporaryDirectory() as folder:
        source, target = Path(folder) / "source.gguf", Path(folder) / "target.gguf"
        for name, facts in llama.MODELS.items():
            shapes = llama.shapes(**facts)
            write_gguf(source, llama.metadata(**facts), llama.weights(shapes))
            runs: dict[str, Any] = {"name": name, "authority": authority, "facts": facts}
            cases.append(runs)
            for file_type, (number, _) in FILE_TYPES.items():
                for importance in (None, llama.importance(shapes)):
                    key = file_type + (" with importance" if importance else "")
                    runs[key] = None
                    if llama.quantize(source, target, number, importance):
                        tensors = GGUF.open(target).tensors
                        runs["tensors"] = list(tensors)
                        runs[key] = "".join(letters[info.type_id] for info in tensors.values())
    types = {c: BLOCK_TYPES[id].name for id, c in letters.items()}
    return {"schema": "refimpl/quants/mixtures/1", "letters": types, "cases": cases}


def main() -> None:
    (HERE / "mixtures.json").write_text(json.dumps(mixtures(), indent=0) + "\n")
    x, importance = inputs()
    authority = f"ggml {ggml.version()}, libggml-base (x86-64, no fused multiply-add), glibc qsort"
    save_file({"x": x, "importance": importance}, HERE / "inputs.safetensors")
    for t in BLOCK_TYPES.values():
        if t.name in ("F32", "F64") or t.dtype.kind == "i":
            continue
        facts = {"authority": authority, "type": t.name, "id": str(t.id)}
        save_file(tensors(t, x, importance), HERE / f"{t.name}.safetensors", metadata=facts)


if __name__ == "__main__":
    main()
