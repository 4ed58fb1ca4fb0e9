"""Open a checkpoint of any kind: GGUF, a Hugging Face directory, or a llama2.c file.

What a path is, is decided by what it holds.  The configuration is read first and says which
tensors must be there and in which shapes; only then are weights touched.  Matrices stay as they lie
in the mapped file (packed, half or single precision) unless the whole model is small: then they are
widened to float64 once, which is exact and spares every step the work.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from refimpl.errors import FormatError, InputError, UnsupportedError
from refimpl.formats.gguf import GGUF
from refimpl.formats.quants.block import Tensor, widen
from refimpl.model.checkpoint import Checkpoint, LazyTensor
from refimpl.model.config import Config, config_from_metadata
from refimpl.model.forward import Model
from refimpl.model.shapes import check_shapes

if TYPE_CHECKING:
    from refimpl.text.tokenizer import Tokenizer

WIDEN_BELOW = 1 << 26
"""Models with fewer weights than this are held in float64 (at most 512 MiB)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Loaded:
    """A model and the words that belong to it."""

    path: Path
    model: Model
    metadata: Mapping[str, Any]
    tokenizer_path: Path | None = None

    @property
    def config(self) -> Config:
        return self.model.config

    @cached_property
    def tokenizer(self) -> "Tokenizer":
        from refimpl.model.tokenizer import tokenizer_of

        tokenizer = tokenizer_of(self.path, self.tokenizer_path)
        if tokenizer.vocab_size > self.config.vocab_size:
            raise FormatError(
                f"the tokenizer has {tokenizer.vocab_size} tokens, and {self.path} has embeddings "
                f"for {self.config.vocab_size}: they do not belong together"
            )
        return tokenizer


def load(
    path: str | Path,
    *,
    context_length: int | None = None,
    tokenizer: str | Path | None = None,
    packed: bool = False,
) -> Loaded:
    """Open a model.  `context_length` caps the context (and chooses LongRoPE's table).

    `packed` leaves every matrix as it is stored, for a backend that multiplies packed blocks.
    """
    path = Path(path)
    checkpoint = open_checkpoint(path)
    model = build_model(checkpoint, context_length, packed=packed)
    return Loaded(
        path=path,
        model=model,
        metadata=checkpoint.metadata,
        tokenizer_path=None if tokenizer is None else Path(tokenizer),
    )


def open_checkpoint(path: Path) -> Checkpoint:
    """Names, shapes and metadata of whatever `path` is."""
    if path.is_dir():
        from refimpl.model.huggingface import read_huggingface

        return read_huggingface(path)
    if not path.exists():
        raise InputError(f"{path} does not exist")
    with path.open("rb") as file:
        magic = file.read(4)
    if magic in (b"GGUF", b"FUGG"):
        return read_gguf(path)
    if path.suffix == ".bin":
        from refimpl.model.llama2c import read_llama2c

        return read_llama2c(path)
    if path.suffix == ".safetensors" and (path.parent / "config.json").exists():
        return open_checkpoint(path.parent)
    raise UnsupportedError(
        f"{path} is not a model this program knows: give a .gguf file, a Hugging Face folder "
        "(config.json and .safetensors), or a llama2.c .bin file"
    )


def read_gguf(path: Path) -> Checkpoint:
    file = GGUF.open(path)

    def lazy(name: str) -> LazyTensor:
        return LazyTensor(shape=file.tensors[name].shape, load=lambda: file.tensor(name))

    return Checkpoint(metadata=file.metadata, tensors={name: lazy(name) for name in file.tensors})


def build_model(
    checkpoint: Checkpoint, context_length: int | None = None, *, packed: bool = False
) -> Model:
    """Check that every tensor is there in its shape, then load them."""
    tensors = checkpoint.tensors
    config = read_config(checkpoint, context_length)
    check_shapes(config, tensors)
    small = is_small(checkpoint) and not packed
    top, layers = split_layers(config, tensors)
    return Model(
        config=config,
        top={name: prepare(t.load(), small) for name, t in top.items()},
        layers=tuple({n: prepare(t.load(), small) for n, t in layer.items()} for layer in layers),
    )


def is_small(checkpoint: Checkpoint) -> bool:
    return sum(int(np.prod(t.shape)) for t in checkpoint.tensors.values()) < WIDEN_BELOW


def read_config(checkpoint: Checkpoint, context_length: int | None = None) -> Config:
    """The configuration; of the tensors, only the vocabulary's size and RoPE's tables are read."""
    embeddings = checkpoint.tensors.get("token_embd.weight")
    if embeddings is None or len(embeddings.shape) != 2:
        raise FormatError("the checkpoint has no token embeddings: a vocabulary without a model?")
    return config_from_metadata(
        checkpoint.metadata,
        vocab_size=embeddings.shape[0],
        rope_tables=rope_tables(checkpoint.tensors),
        context_length=context_length,
    )


def rope_tables(tensors: Mapping[str, LazyTensor]) -> dict[str, Float64[ndarray, " pairs"]]:
    names = ("rope_freqs", "rope_factors_long", "rope_factors_short")
    present = [name for name in names if f"{name}.weight" in tensors]
    return {name: widen(tensors[f"{name}.weight"].load()) for name in present}


def prepare(tensor: Tensor, small: bool) -> Tensor:
    """Vectors are always widened, matrices only in a small model."""
    return widen(tensor) if small or tensor.ndim == 1 else tensor


def split_layers(
    config: Config, tensors: Mapping[str, LazyTensor]
) -> tuple[dict[str, LazyTensor], list[dict[str, LazyTensor]]]:
    """Tensors outside the layers, and each layer's under their short names."""
    top: dict[str, LazyTensor] = {}
    layers: list[dict[str, LazyTensor]] = [{} for _ in range(config.n_layers)]
    for name, tensor in tensors.items():
        if not name.startswith("blk."):
            top[name] = tensor
            continue
        _, number, short = name.split(".", 2)
        if not number.isdecimal() or int(number) >= config.n_layers:
            raise FormatError(
                f"tensor {name!r} belongs to no layer of a {config.n_layers}-layer model"
            )
        layers[int(number)][short] = tensor
    return top, layers
