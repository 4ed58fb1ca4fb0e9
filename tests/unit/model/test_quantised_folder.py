"""A quantised Hugging Face folder loads through the same `load()` as any other."""

import json
import shutil
from pathlib import Path

import ml_dtypes
import numpy as np
from safetensors.numpy import load_file

from refimpl.formats.safetensors import write_safetensors
from refimpl.model.cache import attend_to_itself
from refimpl.model.forward import forward
from refimpl.model.load import load
from refimpl.ops.numerics import F64
from refimpl.ops.reference import Reference

SOURCE = Path(__file__).parents[3] / "golden" / "families" / "qwen2"
TOKENS = np.arange(3, 12)


def logits(folder):
    model, ops = load(folder).model, Reference(to=F64)
    positions = np.arange(len(TOKENS))
    return forward(
        model, TOKENS, positions, attend_to_itself(model.config, positions, ops), ops=ops
    )


def written(folder, weights, quantization=None):
    folder.mkdir()
    write_safetensors(folder / "model.safetensors", weights)
    config = json.loads((SOURCE / "config.json").read_text())
    if quantization:
        config["quantization_config"] = quantization
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_float8_weights_with_scales_compute_what_their_values_say(tmp_path):
    stored, meant = {}, {}
    for name, w in load_file(SOURCE / "model.safetensors").items():
        stored[name] = meant[name] = w
        if name.endswith("_proj.weight"):
            scale = np.float32(np.abs(w).max() / 448)
            stored[name] = (w.astype(np.float32) / scale).astype(ml_dtypes.float8_e4m3fn)
            stored[f"{name}_scale_inv"] = scale.reshape(1, 1)
            meant[name] = stored[name].astype(np.float32) * scale
    fp8 = {"quant_method": "fp8", "weight_block_size": [128, 128]}
    quantised = written(tmp_path / "fp8", stored, fp8)
    plain = written(tmp_path / "plain", meant)
    assert np.array_equal(logits(quantised), logits(plain))
    assert not np.array_equal(logits(plain), logits(SOURCE))


def test_the_source_is_not_touched(tmp_path):
    shutil.copytree(SOURCE, tmp_path / "copy")
    assert np.array_equal(logits(tmp_path / "copy"), logits(SOURCE))
