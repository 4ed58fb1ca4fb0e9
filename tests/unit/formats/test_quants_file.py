"""Quantising whole files: against llama.cpp where it is installed, and on its own."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden.quants import llama
from refimpl.errors import FormatError, InputError, UnsupportedError
from refimpl.formats.gguf import GGUF, write_gguf
from refimpl.formats.quantize import facts_of, quantize_file, quantize_tensor
from refimpl.formats.quants import block_type
from refimpl.formats.quants.mixture_rules import ModelFacts
from refimpl.formats.quants.mixtures import FILE_TYPES, file_type, mixture

SLOW_IN_GGML = ("IQ1_S", "IQ1_M")
"""ggml needs twenty seconds to prepare their searches; the golden vectors cover them."""


@pytest.fixture
def model(tmp_path):
    """A two-layer model in float32, as a file and as arrays."""
    facts = {"architecture": "llama", "n_layers": 2, "heads": 4, "key_heads": 1}
    tensors = llama.weights(llama.shapes(**facts))
    path = tmp_path / "model.gguf"
    write_gguf(path, llama.metadata(**facts), tensors)
    return path, tensors


# against llama.cpp


@pytest.mark.external
@pytest.mark.parametrize(
    ("name", "with_importance"),
    [("llama-gqa", False), ("llama-gqa", True), ("falcon", False), ("odd-columns", True)],
)
def test_the_file_is_llama_cpps_byte_for_byte(tmp_path, name, with_importance):
    pytest.importorskip("llama_cpp")
    fast = [chosen for chosen in FILE_TYPES if chosen not in SLOW_IN_GGML]
    assert compared_with_llama_cpp(tmp_path, name, fast, with_importance) >= 20


@pytest.mark.external
@pytest.mark.parametrize("with_importance", [False, True])
def test_the_file_of_a_mixture_of_experts_is_llama_cpps(tmp_path, with_importance):
    pytest.importorskip("llama_cpp")
    some = ["Q4_K_M", "Q3_K_L", "IQ4_XS", "Q4_0", "MXFP4_MOE"]
    assert compared_with_llama_cpp(tmp_path, "mixtral", some, with_importance) == len(some)


def compared_with_llama_cpp(folder, name, file_types, with_importance):
    """How many of the file types llama.cpp makes; ours must be the same files."""
    facts = llama.MODELS[name]
    shapes = llama.shapes(**{**facts, "present": 2})
    source, theirs, ours = (folder / f"{part}.gguf" for part in ("source", "theirs", "ours"))
    write_gguf(source, llama.metadata(**facts), llama.weights(shapes))
    importance = llama.importance(shapes) if with_importance else None
    compared = 0
    for chosen in file_types:
        if llama.quantize(source, theirs, FILE_TYPES[chosen][0], importance):
            quantize_file(source, ours, chosen, importance=importance)
            assert ours.read_bytes() == theirs.read_bytes(), chosen
            compared += 1
    return compared


# on its own


def test_a_quantised_file_reads_back_as_the_quantised_weights(model, tmp_path):
    path, tensors = model
    seen = []
    quantize_file(path, tmp_path / "out.gguf", "q4_k_m", on_tensor=seen.append)
    out = GGUF.open(tmp_path / "out.gguf")
    assert seen == list(out.tensors) and sorted(seen) == sorted(tensors)
    assert out.metadata["general.file_type"] == FILE_TYPES["Q4_K_M"][0]
    for name, info in out.tensors.items():
        kind, x = info.type, tensors[name]
        blocks = kind.quantize(x.reshape(*x.shape[:-1], -1, kind.block_size))
        expected = kind.dequantize(blocks).reshape(x.shape)
        np.testing.assert_array_equal(np.asarray(out.tensor(name)[...], np.float32), expected)


@pytest.mark.parametrize("name", ["F32", "F16", "BF16"])
def test_plain_file_types_convert_the_matrices_only(model, tmp_path, name):
    path, tensors = model
    quantize_file(path, tmp_path / "out.gguf", name)
    out = GGUF.open(tmp_path / "out.gguf")
    kinds = {n: info.type.name for n, info in out.tensors.items()}
    assert kinds == {n: name if x.ndim > 1 else "F32" for n, x in tensors.items()}


def test_slices_of_rows_give_the_same_file_as_whole_tensors(model, tmp_path, monkeypatch):
    path, _ = model
    quantize_file(path, tmp_path / "whole.gguf", "Q5_K_M")
    monkeypatch.setattr("refimpl.formats.quantize.WEIGHTS_AT_ONCE", 1)
    quantize_file(path, tmp_path / "rows.gguf", "Q5_K_M")
    assert (tmp_path / "rows.gguf").read_bytes() == (tmp_path / "whole.gguf").read_bytes()


def test_a_quantised_file_is_not_quantised_again_unasked(model, tmp_path):
    path, _ = model
    quantize_file(path, tmp_path / "q8.gguf", "Q8_0")
    with pytest.raises(InputError, match="already quantised to Q8_0"):
        quantize_file(tmp_path / "q8.gguf", tmp_path / "q4.gguf", "Q4_0")
    assert not (tmp_path / "q4.gguf").exists()
    quantize_file(tmp_path / "q8.gguf", tmp_path / "q4.gguf", "Q4_0", requantize=True)
    assert GGUF.open(tmp_path / "q4.gguf").tensors["blk.0.attn_q.weight"].type.name == "Q4_0"


@pytest.mark.parametrize("name", ["IQ2_XXS", "IQ3_XXS", "Q2_K_S", "IQ1_M"])
def test_very_low_bits_without_an_importance_are_refused(model, tmp_path, name):
    path, _ = model
    with pytest.raises(InputError, match="needs an importance"):
        quantize_file(path, tmp_path / "out.gguf", name)
    assert not (tmp_path / "out.gguf").exists()


def test_an_importance_that_does_not_fit_is_refused(model, tmp_path):
    path, _ = model
    name = "blk.0.attn_q.weight"
    for bad, message in (
        (np.ones(255, np.float32), "255 numbers"),
        (np.full(256, np.nan, np.float32), "not finite"),
    ):
        with pytest.raises(InputError, match=message):
            quantize_file(path, tmp_path / "out.gguf", "Q4_K_S", importance={name: bad})


def test_weights_beyond_float16_scales_are_refused(tmp_path):
    facts = {"architecture": "llama", "n_layers": 1, "heads": 1, "key_heads": 1}
    tensors = llama.weights(llama.shapes(**facts))
    tensors["blk.0.attn_q.weight"] *= np.float32(1e9)
    write_gguf(tmp_path / "model.gguf", llama.metadata(**facts), tensors)
    with pytest.raises(InputError, match="too large for the float16 scales"):
        quantize_file(tmp_path / "model.gguf", tmp_path / "out.gguf", "Q8_0")


@pytest.mark.parametrize("name", ["Q4_K_X", "", "Q9_0"])
def test_unknown_file_types_are_named(name):
    with pytest.raises(UnsupportedError, match="no file type"):
        file_type(name)


def test_a_mixture_of_a_model_with_rules_of_its_own_is_refused():
    facts = ModelFacts(architecture="glm5-next", n_layers=1, gqa=1, n_experts=0)
    with pytest.raises(UnsupportedError, match="glm5-next"):
        mixture("Q4_K_M", {}, facts)


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"general.architecture": 3},
        {"general.architecture": "llama"},
        {"general.architecture": "llama", "llama.block_count": "many"},
        {"general.architecture": "llama", "llama.block_count": -1},
        {"general.architecture": "llama", "llama.block_count": 1.5},
    ],
)
def test_metadata_that_does_not_say_enough_is_refused(metadata):
    with pytest.raises(InputError):
        facts_of(metadata)


@given(cut=st.integers(0, 2000))
def test_a_truncated_file_is_refused(cut):
    facts = {"architecture": "llama", "n_layers": 1, "heads": 1, "key_heads": 1}
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "a.gguf", Path(folder) / "b.gguf"
        write_gguf(source, llama.metadata(**facts), llama.weights(llama.shapes(**facts)))
        source.write_bytes(source.read_bytes()[:cut])
        with pytest.raises(FormatError):
            quantize_file(source, out, "Q4_0")
        assert not out.exists()


def test_experts_are_weighed_each_by_its_own_importance():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 3, 256)).astype(np.float32)
    importance = rng.random((2, 256)).astype(np.float32)
    kind = block_type("Q4_K")
    together = quantize_tensor("x", x, kind, importance).blocks
    for expert in range(2):
        alone = quantize_tensor("x", x[expert], kind, importance[expert : expert + 1]).blocks
        np.testing.assert_array_equal(together[expert], alone)
