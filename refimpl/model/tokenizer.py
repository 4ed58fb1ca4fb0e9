"""Which tokenizer belongs to a checkpoint."""

from pathlib import Path

from refimpl.errors import FormatError, InputError
from refimpl.formats.gguf import GGUF
from refimpl.model.llama2c import read_header
from refimpl.text import (
    Tokenizer,
    tokenizer_from_gguf,
    tokenizer_from_hf,
    tokenizer_from_llama2c,
    tokenizer_from_sentencepiece,
)


def tokenizer_of(model: Path, given: Path | None = None) -> Tokenizer:
    """The one in the model's own file or folder; `given` replaces it."""
    if given is not None and given.suffix == ".model":
        return tokenizer_from_sentencepiece(given)
    if given is not None and given.suffix == ".bin":
        return tokenizer_from_llama2c(given, vocabulary_of(model))
    source = given or model
    if source.is_dir():
        return tokenizer_from_hf(source)
    if source.suffix == ".bin":
        return tokenizer_of(source, beside_llama2c(source))
    if source.suffix == ".json":
        return tokenizer_from_hf(source.parent)
    return tokenizer_from_gguf(GGUF.open(source).metadata)


def vocabulary_of(model: Path) -> int:
    """A llama2.c tokenizer does not say how many tokens it has: its model does."""
    if model.suffix != ".bin":
        raise InputError(f"a llama2.c tokenizer goes with a llama2.c model, not with {model}")
    return abs(read_header(model)[5])


def beside_llama2c(model: Path) -> Path:
    """llama2.c keeps tok512.bin (or tok512.model, or tokenizer.bin) next to its model."""
    size = vocabulary_of(model)
    names = (f"tok{size}.bin", f"tok{size}.model", "tokenizer.bin", "tokenizer.model")
    for name in names:
        if (model.parent / name).exists():
            return model.parent / name
    raise FormatError(
        f"{model} carries no tokenizer, and none of {', '.join(names)} lies beside it: "
        "give one with --tokenizer"
    )
