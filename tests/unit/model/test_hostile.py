"""Checkpoints that lie: a named error, before anything large is allocated."""

import json
import shutil
import struct
import tracemalloc
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refimpl.errors import FormatError, RefimplError, UnsupportedError
from refimpl.model.checkpoint import Checkpoint, LazyTensor
from refimpl.model.huggingface import read_huggingface
from refimpl.model.llama2c import read_llama2c
from refimpl.model.load import build_model, load
from refimpl.oracle.models import random_checkpoint

FAMILIES = Path(__file__).parents[3] / "golden" / "families"

LIES = st.sampled_from(
    [
        0,
        -1,
        1,
        2**31,
        2**63,
        2**64 - 1,
        1.5,
        float("nan"),
        float("inf"),
        "x",
        None,
        True,
        [1, 2],
        {},
    ]
)


def refuses_or_builds(checkpoint):
    """A model, or one of our errors; and never 100 MB on the way."""
    tracemalloc.start()
    with suppress(RefimplError):
        build_model(checkpoint)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100e6


@given(st.sampled_from(["llama", "qwen3moe", "gemma3", "gpt2"]), st.data())
def test_any_lie_in_the_metadata_is_refused_by_name(family, data):
    honest = random_checkpoint(family, 0)
    key = data.draw(st.sampled_from(sorted(honest.metadata)))
    metadata = {**honest.metadata, key: data.draw(LIES)}
    refuses_or_builds(Checkpoint(metadata=metadata, tensors=honest.tensors))


@given(st.sampled_from(["llama", "qwen3moe", "gemma3", "gpt2"]), st.data())
def test_a_missing_or_misshapen_tensor_is_refused_by_name(family, data):
    honest = random_checkpoint(family, 0)
    name = data.draw(st.sampled_from(sorted(honest.tensors)))
    shape = data.draw(st.none() | st.lists(st.integers(0, 50), max_size=3).map(tuple))
    tensors = dict(honest.tensors)
    if shape is None:
        del tensors[name]
    else:
        tensors[name] = LazyTensor(shape=shape, load=lambda: np.zeros(shape))
    refuses_or_builds(Checkpoint(metadata=honest.metadata, tensors=tensors))


def test_a_missing_tensor_is_named():
    honest = random_checkpoint("llama", 0)
    tensors = {k: t for k, t in honest.tensors.items() if k != "blk.1.ffn_down.weight"}
    with pytest.raises(FormatError, match=r"lacks tensor 'blk\.1\.ffn_down\.weight'"):
        build_model(Checkpoint(metadata=honest.metadata, tensors=tensors))


@given(st.data())
def test_any_lie_in_config_json_is_refused_by_name(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("model")
    family = data.draw(st.sampled_from(["mixtral", "qwen2-window", "gemma3", "gpt2", "qwen2-yarn"]))
    shutil.copy(FAMILIES / family / "model.safetensors", folder)
    config = json.loads((FAMILIES / family / "config.json").read_text())
    key = data.draw(st.sampled_from(sorted(config)))
    config[key] = data.draw(LIES)
    (folder / "config.json").write_text(json.dumps(config))
    with suppress(RefimplError):
        load(folder)


@pytest.mark.parametrize(
    "text", ["", "[1]", "{", "[" * 100_000, "\ud800".encode("utf-8", "ignore")]
)
def test_config_json_that_is_no_object(tmp_path, text):
    (tmp_path / "config.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(FormatError):
        read_huggingface(tmp_path)


def test_an_unknown_model_type_lists_the_known_ones(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "rwkv"}')
    with pytest.raises(UnsupportedError, match="llama, mistral"):
        read_huggingface(tmp_path)


header = st.lists(
    st.sampled_from([0, 1, 2, 4, 8, 64, -1, -512, 2**31 - 1, -(2**31)]) | st.integers(0, 600),
    min_size=7,
    max_size=7,
)


@given(header, st.integers(0, 5000))
def test_any_llama2c_header_is_refused_by_name(tmp_path_factory, numbers, n_bytes):
    path = tmp_path_factory.mktemp("model") / "model.bin"
    path.write_bytes(struct.pack("<7i", *numbers) + bytes(n_bytes))
    tracemalloc.start()
    with suppress(RefimplError):
        read_llama2c(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 50e6


@pytest.mark.parametrize("size", [0, 3, 27, 28, 40])
def test_a_truncated_llama2c_file(tmp_path, size):
    whole = struct.pack("<7i", 8, 8, 1, 2, 1, 4, 4) + bytes(10_000)
    path = tmp_path / "model.bin"
    path.write_bytes(whole[:size])
    with pytest.raises(FormatError):
        read_llama2c(path)


def test_what_is_no_model_says_what_would_be(tmp_path):
    path = tmp_path / "model.pt"
    path.write_bytes(b"PK\3\4 a pickle")
    with pytest.raises(UnsupportedError, match=r"give a \.gguf file"):
        load(path)
