"""GGUF files we wrote, run by llama.cpp on the CPU.

With flash attention off and a float32 cache, what is left between the two is float32 arithmetic,
and the yardstick is one too: our own forward pass with every boundary rounded to float32 at random,
against the same pass in float64.  Two things llama.cpp rounds to float16 even then or by default;
each is modelled here as a named mode, and the agreement that results shows it is all there is:

- GELU is read from a table indexed by the float16 of its argument, with float16 entries;
- with its default float16 cache, keys, values, queries and attention weights are float16.
"""

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the `peers` extra")
llama_cpp = pytest.importorskip("llama_cpp", reason="needs the `peers` extra")

from golden.family_configs import FAMILIES
from golden.float64_transformers import random_model
from refimpl.model.cache import attend_to_itself
from refimpl.model.convert import convert
from refimpl.model.forward import forward
from refimpl.model.load import load, open_checkpoint
from refimpl.ops.activation import gelu_tanh, softmax
from refimpl.ops.numerics import F16, F32, F64, exact
from refimpl.ops.reference import Reference

pytestmark = pytest.mark.external

N_TOKENS = 24
N_RUNS = 24
RATIO = 2  # of that noise: float32 inside operations, where ours is exact; measured 0.5 to 1.3

# What llama.cpp defines differently, or does not have.
DIFFERENT = {
    "mistral-window": "llama.cpp ignores a llama model's sliding window",
    "qwen2-window": "llama.cpp has no windows in qwen2",
    "phi3": "llama.cpp has switched Phi-3's window off",
    "phi3-longrope": "llama.cpp chooses the table by its context parameter",
    "gemma2": "llama.cpp fixes the query scale by model size, ours comes from the config",
    "qwen3-moe-mixed": "llama.cpp expects experts in every layer and renormalises",
}


class Float16Gelu(Reference):
    """ggml's GELU: a table from float16 to float16 (ggml-cpu/vec.h), always of the tanh form."""

    def activate(self, x, kind):
        if kind == "silu":
            return super().activate(x, kind)
        wide = x.astype(np.float64)
        table = F16(gelu_tanh(F16(wide).astype(np.float64))).astype(np.float64)
        return self.to(np.where(wide <= -10, 0.0, np.where(wide >= 10, wide, table)))

    def glu(self, gate, up, kind):
        return self.to(exact(self.activate(gate, kind)) * exact(up))


class Float16Cache(Reference):
    """Attention as ggml computes it over a float16 cache, without flash attention."""

    def attend(self, q, k, v, positions, *, scale, **others):
        half = lambda x: exact(F16(exact(x)))
        g = q.shape[1] // k.shape[1]
        keys, values = (np.repeat(half(x), g, axis=1) for x in (k, v))
        scores = np.einsum("thd,jhd->htj", half(q), keys)
        hidden = positions[:, None] < np.arange(len(k))
        weights = softmax(np.where(hidden, -np.inf, scores * scale), to=F32)
        return self.to(np.einsum("htj,jhd->thd", half(weights), values))


def llama_cpp_logits(path, tokens, **context):
    llama = llama_cpp.Llama(
        str(path), n_ctx=64, n_threads=1, logits_all=True, verbose=False, **context
    )
    llama.eval(tokens)
    rows = np.array(llama.scores[: len(tokens)], dtype=np.float64)
    llama.close()
    return rows


def written(name, folder):
    model = random_model(FAMILIES[name](), sum(name.encode()))
    model.save_pretrained(folder)
    checkpoint = open_checkpoint(folder)
    architecture = checkpoint.metadata["general.architecture"]
    vocabulary = {"tokenizer.ggml.model": "no_vocab", f"{architecture}.vocab_size": 97}
    convert(checkpoint, vocabulary, folder / "model.gguf", "F32")
    return folder / "model.gguf"


def ours(path, tokens, ops):
    model = load(path).model
    positions = np.arange(len(tokens))
    attend = attend_to_itself(model.config, positions, ops)
    return forward(model, np.array(tokens), positions, attend, ops=ops).astype(np.float64)


def compare(name, path, theirs, tokens, mode):
    """llama.cpp's deviation, and float32's noise, both from our float64 run in the same mode.

    The noise is the largest of some runs in which every boundary is rounded at random (Monte Carlo
    arithmetic, Parker 1997): a table indexed by a rounded number jumps where its index tips over.
    """
    exactly = ours(path, tokens, mode(to=F64))
    rng = np.random.default_rng(0)
    jiggled = lambda x: F32(x * (1 + F32.unit_roundoff * rng.uniform(-1, 1, x.shape)))
    runs = [ours(path, tokens, mode(to=jiggled)) for _ in range(N_RUNS)]
    noise = max(np.abs(run - exactly).max() for run in runs)
    deviation = np.abs(theirs - exactly).max()
    print(f"{name}: llama.cpp {deviation:.1e}, float32 {noise:.1e}, ratio {deviation / noise:.1f}")
    return deviation, noise, exactly


TOKENS = np.random.default_rng(0).integers(3, 97, N_TOKENS).tolist()


@pytest.mark.parametrize("name", FAMILIES)
def test_llama_cpp_agrees_within_float32_noise(name, tmp_path):
    if name in DIFFERENT:
        pytest.skip(DIFFERENT[name])
    path = written(name, tmp_path)
    theirs = llama_cpp_logits(path, TOKENS, flash_attn=False, type_k=0, type_v=0)
    deviation, noise, exactly = compare(name, path, theirs, TOKENS, Float16Gelu)
    assert deviation <= RATIO * noise
    assert (theirs.argmax(1) == exactly.argmax(1)).all()


@pytest.mark.parametrize("name", ["llama2-gqa", "qwen2", "mistral"])
def test_the_float16_cache_is_the_whole_difference(name, tmp_path):
    path = written(name, tmp_path)
    theirs = llama_cpp_logits(path, TOKENS, flash_attn=False)
    plain, _, _ = compare(name, path, theirs, TOKENS, Reference)
    modelled, noise, _ = compare(name, path, theirs, TOKENS, Float16Cache)
    assert plain > 50 * modelled  # without the model of the cache, nothing fits
    assert modelled <= RATIO * noise
