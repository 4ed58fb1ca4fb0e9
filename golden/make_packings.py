"""Write the golden vectors of quantised safetensors: python golden/make_packings.py

Needs torch, transformers, compressed-tensors and bitsandbytes (all run on a CPU).  Nothing of
refimpl computes what is stored.  Where a format's library does not run on a CPU (GPTQ, AWQ, the FP8
of DeepSeek and FBGEMM), the packing is written down here a second time, from the published
definition, in Python's integers and fractions; a weight is stored only if float32 holds it exactly
or the fraction was rounded once.

One JSON and one safetensors file for each scheme.  A case has

    quantization_config    as in config.json
    stored                 name -> tensor: what a checkpoint's file has
    weights                name -> tensor: the float32 weights that result (NaN: any NaN)
"""

import json
from collections.abc import Callable, Sequence
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

FOLDER = Path(__file__).resolve().parent / "packings"
EXACT = "exact arithmetic on the published definition"
M = "model.layers.0.mlp.up_proj"


class Document:
    """The cases of one scheme, and their tensors."""

    def __init__(self) -> None:
        self.cases: list[dict[str, Any]] = []
        self.tensors: dict[str, torch.Tensor] = {}

    def add(
        self,
        name: str,
        authority: str,
        config: dict[str, Any],
        stored: dict[str, torch.Tensor],
        weights: dict[str, torch.Tensor],
    ) -> None:
        case = {"name": name, "authority": authority, "quantization_config": config}
        for part, tensors in (("stored", stored), ("weights", weights)):
            case[part] = {}
            for key, tensor in tensors.items():
                where = f"{name}/{part}/{key}"
                self.tensors[where] = tensor.clone().contiguous()
                case[part][key] = {"tensor": where}
        self.cases.append(case)

    def write(self, name: str) -> None:
        document = {"schema": f"refimpl/packings/{name}/1", "cases": self.cases}
        (FOLDER / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n")
        save_file(self.tensors, FOLDER / f"{name}.safetensors")


# Exact arithmetic


def words(values: Sequence[int], bits: int) -> list[int]:
    """One string of bits, the first value lowest, cut into signed 32-bit words."""
    string = sum(v << (bits * i) for i, v in enumerate(values))
    cut = [string >> (32 * i) & 0xFFFFFFFF for i in range(len(values) * bits // 32)]
    return [w - (1 << 32) if w >> 31 else w for w in cut]


def transposed(rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]


def int32(rows: Sequence[Sequence[int]]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.int32)


def rounded(x: Fraction) -> float:
    """To float32, once: the float64 in between must be exact."""
    assert Fraction(float(x)) == x
    return float(np.float32(float(x)))


def table(n_out: int, n_in: int, value: Callable[[int, int], Fraction]) -> torch.Tensor:
    return torch.tensor([[rounded(value(o, i)) for i in range(n_in)] for o in range(n_out)])


def fractions(tensor: torch.Tensor) -> list[list[Fraction]]:
    return [[Fraction(x) for x in row] for row in tensor.double().tolist()]


def float8(byte: int, exponent_bits: int) -> Fraction:
    """OFP8 1.0, table 1; only finite codes are asked for."""
    mantissa_bits = 7 - exponent_bits
    bias = (1 << (exponent_bits - 1)) - 1
    exponent = byte >> mantissa_bits & ((1 << exponent_bits) - 1)
    mantissa = Fraction(byte & ((1 << mantissa_bits) - 1), 1 << mantissa_bits)
    size = (1 + mantissa if exponent else mantissa) * Fraction(2) ** (max(exponent, 1) - bias)
    return -size if byte >> 7 else size


# The schemes


def gptq() -> Document:
    document = Document()
    rng = np.random.default_rng(1)
    plans = [
        (
            f"{bits} bits",
            {"bits": bits, "group_size": 16, "desc_act": False, "sym": False},
            torch.float16,
        )
        for bits in (2, 3, 4, 8)
    ]
    v2 = {"checkpoint_format": "gptq_v2", "sym": False}
    plans += [
        ("v2", dict(bits=4, group_size=8, desc_act=False, **v2), torch.float16),
        ("v2, 3 bits, bfloat16", dict(bits=3, group_size=16, **v2), torch.bfloat16),
        ("act-order", {"bits": 4, "group_size": 8, "desc_act": True, "sym": False}, torch.float16),
        ("one group", {"bits": 4, "group_size": -1, "checkpoint_format": "gptq"}, torch.float16),
        ("symmetric", {"bits": 8, "group_size": 16, "sym": True, "desc_act": False}, torch.float32),
    ]
    for name, settings, dtype in plans:
        add_gptq(document, rng, name, settings, dtype)
    return document


def add_gptq(
    document: Document,
    rng: np.random.Generator,
    name: str,
    settings: dict[str, Any],
    dtype: torch.dtype,
) -> None:
    n_in, n_out, bits = 32, 32, settings["bits"]
    size = n_in if settings["group_size"] == -1 else settings["group_size"]
    groups = n_in // size
    g_idx = [i // size for i in range(n_in)]
    if settings.get("desc_act"):
        g_idx = rng.permutation(g_idx).tolist()
    q = rng.integers(0, 1 << bits, (n_in, n_out)).tolist()
    zero = rng.integers(0, 1 << bits, (groups, n_out)).tolist()
    zero[0][:2] = 0, (1 << bits) - 1
    if settings.get("sym"):
        zero = [[1 << (bits - 1)] * n_out] * groups
    less = 0 if settings.get("checkpoint_format") == "gptq_v2" else 1
    stored_zero = [[(z - less) % (1 << bits) for z in row] for row in zero]
    scale = torch.from_numpy(rng.uniform(1e-3, 1e-1, (groups, n_out))).to(dtype)
    s = fractions(scale)
    stored = {
        f"{M}.qweight": int32(transposed([words(column, bits) for column in transposed(q)])),
        f"{M}.qzeros": int32([words(row, bits) for row in stored_zero]),
        f"{M}.scales": scale,
    }
    if settings.get("desc_act"):
        stored[f"{M}.g_idx"] = torch.tensor(g_idx, dtype=torch.int32)
    weights = table(n_out, n_in, lambda o, i: (q[i][o] - zero[g_idx[i]][o]) * s[g_idx[i]][o])
    config = {"quant_method": "gptq", **settings}
    document.add(name, EXACT, config, stored, {f"{M}.weight": weights})


def awq() -> Document:
    document = Document()
    rng = np.random.default_rng(2)
    for name, group_size in (("groups", 16), ("one group", -1)):
        n_in, n_out = 48, 16
        size = n_in if group_size == -1 else group_size
        q = rng.integers(0, 16, (n_in, n_out)).tolist()
        zero = rng.integers(0, 16, (n_in // size, n_out)).tolist()
        scale = torch.from_numpy(rng.uniform(1e-3, 1e-1, (n_in // size, n_out))).half()
        s = fractions(scale)
        stored = {
            f"{M}.qweight": int32([gemm_words(row) for row in q]),
            f"{M}.qzeros": int32([gemm_words(row) for row in zero]),
            f"{M}.scales": scale,
        }
        weights = awq_weights(q, zero, s, size)
        config = {"quant_method": "awq", "bits": 4, "group_size": group_size, "version": "gemm"}
        document.add(name, EXACT, {**config, "zero_point": True}, stored, {f"{M}.weight": weights})
    return document


def gemm_words(row: list[int]) -> list[int]:
    ordered = [row[c + k] for c in range(0, len(row), 8) for k in (0, 2, 4, 6, 1, 3, 5, 7)]
    return words(ordered, 4)


def awq_weights(
    q: list[list[int]], zero: list[list[int]], s: list[list[Fraction]], size: int
) -> torch.Tensor:
    return table(len(q[0]), len(q), lambda o, i: (q[i][o] - zero[i // size][o]) * s[i // size][o])


def every_byte(dtype: torch.dtype) -> torch.Tensor:
    return torch.arange(256, dtype=torch.int32).to(torch.uint8).reshape(16, 16).view(dtype)


def fp8() -> Document:
    from transformers.integrations.finegrained_fp8 import Fp8Dequantize

    document = Document()
    generator = torch.Generator().manual_seed(3)
    dequantize = Fp8Dequantize(None)._dequantize_one
    library = f"transformers {version('transformers')}, Fp8Dequantize, in float32"
    for name, dtype in (("E4M3", torch.float8_e4m3fn), ("E5M2", torch.float8_e5m2)):
        weight = every_byte(dtype)
        for kind, shape, extra in (
            ("tensor", (1, 1), {}),
            ("rows", (16, 1), {}),
            ("blocks", (2, 4), {"weight_block_size": [8, 4]}),
        ):
            scale = torch.rand(shape, generator=generator)
            stored = {f"{M}.weight": weight, f"{M}.weight_scale_inv": scale}
            config = {"quant_method": "fp8", "activation_scheme": "dynamic", **extra}
            result = dequantize(weight, scale, torch.float32)
            document.add(f"{name}, {kind}", library, config, stored, {f"{M}.weight": result})
    add_exact_fp8(document, generator)
    return document


def add_exact_fp8(document: Document, generator: torch.Generator) -> None:
    """What transformers does not expand: blocks cut short at the edges, and FBGEMM's rows."""
    n_out, n_in = 20, 24
    # No zeros: a fraction does not know their sign.  `every_byte` has both.
    codes = torch.randint(1, 0x7F, (n_out, n_in), generator=generator, dtype=torch.uint8)
    codes |= torch.randint(0, 2, codes.shape, generator=generator, dtype=torch.uint8) << 7
    values = [[float8(byte, 4) for byte in row] for row in codes.tolist()]
    weight = codes.view(torch.float8_e4m3fn)
    blocks = torch.rand((3, 2), generator=generator)
    b = fractions(blocks)
    document.add(
        "blocks cut short",
        EXACT,
        {"quant_method": "fp8", "weight_block_size": [8, 16]},
        {f"{M}.weight": weight, f"{M}.weight_scale_inv": blocks},
        {f"{M}.weight": table(n_out, n_in, lambda o, i: values[o][i] * b[o // 8][i // 16])},
    )
    rows = torch.rand((n_out, 1), generator=generator)
    r = fractions(rows)
    document.add(
        "fbgemm",
        EXACT,
        {"quant_method": "fbgemm_fp8", "activation_scale_ub": 1200.0},
        {
            f"{M}.weight": weight,
            f"{M}.weight_scale": rows,
            f"{M}.input_scale_ub": torch.tensor([1200.0]),
        },
        {f"{M}.weight": table(n_out, n_in, lambda o, i: values[o][i] * r[o][0])},
    )


def compressed_tensors() -> Document:
    document = Document()
    generator = torch.Generator().manual_seed(4)
    int8 = {"num_bits": 8, "type": "int"}
    float_8 = {"num_bits": 8, "type": "float"}
    int4 = {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 16}
    plans = [
        ("int8, rows", "int-quantized", {**int8, "strategy": "channel"}, (24, 1)),
        ("int8, tensor", "int-quantized", {**int8, "strategy": "tensor", "symmetric": False}, (1,)),
        (
            "int8, groups",
            "naive-quantized",
            {**int8, "strategy": "group", "group_size": 8},
            (24, 6),
        ),
        ("float8, tensor", "float-quantized", {**float_8, "strategy": "tensor"}, (1,)),
        ("float8, rows", "float-quantized", {**float_8, "strategy": "channel"}, (24, 1)),
        (
            "float8, blocks",
            "float-quantized",
            {**float_8, "strategy": "block", "block_structure": [8, 16]},
            (3, 3),
        ),
        ("int4, groups", "pack-quantized", int4, (24, 3)),
        ("int4, zero points", "pack-quantized", {**int4, "symmetric": False}, (24, 3)),
        ("2 bits, groups", "pack-quantized", {**int4, "num_bits": 2}, (24, 3)),
        (
            "int8 packed, rows, zero points",
            "pack-quantized",
            {**int8, "strategy": "channel", "symmetric": False},
            (24, 1),
        ),
    ]
    for name, stored_as, weights, scale_shape in plans:
        add_compressed(document, generator, name, stored_as, weights, scale_shape)
    add_group_index(document, generator)
    return document


def config_of(stored_as: str, weights: dict[str, Any]) -> dict[str, Any]:
    return {
        "quant_method": "compressed-tensors",
        "format": stored_as,
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}},
        "ignore": ["lm_head"],
        "quantization_status": "compressed",
    }


def add_compressed(
    document: Document,
    generator: torch.Generator,
    name: str,
    stored_as: str,
    weights: dict[str, Any],
    scale_shape: tuple[int, ...],
) -> None:
    """Compress with the library, then let it decompress with the scales widened to float32."""
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationScheme

    scheme = QuantizationScheme(targets=["Linear"], weights=weights)
    compressor = BaseCompressor.get_value_from_registry(stored_as)
    span = 1 << (weights["num_bits"] - 1)
    scale = (torch.rand(scale_shape, generator=generator) / span + 0.5 / span).bfloat16()
    state = {"weight": torch.randn((24, 48), generator=generator), "weight_scale": scale}
    if not weights.get("symmetric", True):
        low = torch.randint(-span, span, scale_shape, generator=generator)
        state["weight_zero_point"] = low.to(torch.int8)
    stored = compressor.compress(state, scheme)
    wide = {**stored, "weight_scale": scale.float()}
    result = compressor.decompress(wide, scheme)["weight"]
    assert result.dtype == torch.float32
    authority = f"compressed-tensors {version('compressed-tensors')}, scales widened to float32"
    tensors = {f"{M}.{part}": tensor for part, tensor in stored.items()}
    document.add(name, authority, config_of(stored_as, weights), tensors, {f"{M}.weight": result})


def add_group_index(document: Document, generator: torch.Generator) -> None:
    """actorder "group", which version 0.20 of the library no longer expands."""
    n_out, n_in, size = 8, 32, 8
    q = torch.randint(-8, 8, (n_out, n_in), generator=generator).tolist()
    g_idx = (torch.randperm(n_in, generator=generator) // size).tolist()
    scale = torch.rand((n_out, n_in // size), generator=generator)
    s = fractions(scale)
    stored = {
        f"{M}.weight_packed": int32([words([v + 8 for v in row], 4) for row in q]),
        f"{M}.weight_scale": scale,
        f"{M}.weight_shape": torch.tensor([n_out, n_in]),
        f"{M}.weight_g_idx": torch.tensor(g_idx, dtype=torch.int32),
    }
    weights = {
        "num_bits": 4,
        "type": "int",
        "strategy": "group",
        "group_size": size,
        "actorder": "group",
    }
    result = table(n_out, n_in, lambda o, i: q[o][i] * s[o][g_idx[i]])
    config = config_of("pack-quantized", weights)
    document.add("int4, act-order", EXACT, config, stored, {f"{M}.weight": result})


def mxfp4() -> Document:
    from transformers.integrations.mxfp4 import convert_moe_packed_tensors

    document = Document()
    generator = torch.Generator().manual_seed(5)
    name = "model.layers.0.mlp.experts.gate_up_proj"
    scales = (torch.arange(256) % 255).to(torch.uint8).reshape(2, 16, 8)  # every scale but NaN
    blocks = torch.randint(0, 256, (2, 16, 8, 16), generator=generator, dtype=torch.uint8)
    result = convert_moe_packed_tensors(blocks, scales, dtype=torch.float32)
    document.add(
        "experts",
        f"transformers {version('transformers')}, convert_moe_packed_tensors in float32",
        {"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]},
        {f"{name}_blocks": blocks, f"{name}_scales": scales},
        {name: result},
    )
    document.add(
        "a scale of 255",
        "OCP Microscaling Formats (MX) 1.0, section 5.4.1: E8M0 0xFF is NaN",
        {"quant_method": "mxfp4"},
        {
            f"{name}_blocks": blocks[:1, :1, :1],
            f"{name}_scales": torch.full((1, 1, 1), 255, dtype=torch.uint8),
        },
        {name: torch.full((1, 32, 1), torch.nan)},
    )
    return document


def bitsandbytes() -> Document:
    document = Document()
    generator = torch.Generator().manual_seed(6)
    for name, kind, shape, blocksize, nested in (
        ("nf4", "nf4", (16, 64), 64, False),
        ("nf4, double quantisation", "nf4", (90, 96), 32, True),
        ("nf4, a last block cut short, an odd size", "nf4", (5, 15), 64, False),
        ("fp4", "fp4", (16, 64), 64, False),
        ("fp4, double quantisation", "fp4", (16, 64), 64, True),
    ):
        add_4bit(document, torch.randn(shape, generator=generator), name, kind, blocksize, nested)
    add_int8(document, torch.randn((16, 40), generator=generator))
    return document


def add_4bit(
    document: Document, x: torch.Tensor, name: str, kind: str, blocksize: int, nested: bool
) -> None:
    import bitsandbytes.functional as bnb

    x = x.bfloat16()
    packed, state = bnb.quantize_4bit(
        x, blocksize=blocksize, quant_type=kind, compress_statistics=nested
    )
    stored = {f"{M}.weight": packed}
    stored |= {f"{M}.weight.{part}": t for part, t in state.as_dict(packed=True).items()}
    state.dtype = torch.float32
    result = bnb.dequantize_4bit(packed, state)
    config = {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": kind}
    authority = f"bitsandbytes {version('bitsandbytes')}, dequantize_4bit in float32 (CPU)"
    document.add(name, authority, config, stored, {f"{M}.weight": result})


def add_int8(document: Document, x: torch.Tensor) -> None:
    import bitsandbytes.functional as bnb

    packed, scb, _ = bnb.int8_vectorwise_quant(x.half())
    stored = {
        f"{M}.weight": packed,
        f"{M}.SCB": scb,
        f"{M}.weight_format": torch.tensor(0, dtype=torch.uint8),
    }
    result = bnb.int8_vectorwise_dequant(packed, scb)
    authority = f"bitsandbytes {version('bitsandbytes')}, int8_vectorwise_dequant (CPU)"
    config = {"quant_method": "bitsandbytes", "load_in_8bit": True}
    document.add("int8", authority, config, stored, {f"{M}.weight": result})


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for scheme in (gptq, awq, fp8, compressed_tensors, mxfp4, bitsandbytes):
        scheme().write(scheme.__name__)


if __name__ == "__main__":
    main()
