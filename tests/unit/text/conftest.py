"""Vocabularies of llama.cpp, and tokenizers trained here by another library."""

from pathlib import Path

import pytest
from hypothesis import strategies as st

from refimpl.formats.gguf import GGUF
from refimpl.text import Tokenizer, tokenizer_from_gguf

VOCABULARIES = ("gpt-2", "llama-spm", "phi-3", "falcon", "starcoder", "deepseek-llm")


@pytest.fixture(scope="session")
def ggml_vocab(shared: Path) -> Path:
    return shared / "tokenizers" / "ggml-vocab"


@pytest.fixture(scope="session")
def vocabularies(ggml_vocab: Path) -> dict[str, Tokenizer]:
    return {
        name: tokenizer_from_gguf(GGUF.open(ggml_vocab / f"ggml-vocab-{name}.gguf").metadata)
        for name in VOCABULARIES
    }


@pytest.fixture(scope="session", params=VOCABULARIES)
def vocabulary_name(request) -> str:
    return request.param


@pytest.fixture(scope="session")
def tokenizer(vocabulary_name: str, vocabularies: dict[str, Tokenizer]) -> Tokenizer:
    return vocabularies[vocabulary_name]


@pytest.fixture(scope="session")
def corpus(shared: Path) -> str:
    """A small mixture of plays and stories."""
    plays = (shared / "corpora" / "tinyshakespeare.txt").read_text()[:50_000]
    stories = (shared / "corpora" / "tinystories_merged.txt").read_text()[:50_000]
    return plays + stories


FRAGMENTS = (
    *("the", " cat", "It's", "I'LL", "don't", " ", "  ", "   ", "\n", "\n\n", "\r\n", "\t", " \n "),
    *(
        "123",
        "4567890",
        "3.14",
        "½",
        "é",
        "e\u0301",
        "ſ",
        "日本語",
        "🦙",
        "👨‍👩‍👧",
        "нещо",
        "▁",
        "▁▁",
    ),
    *("!", "...", "?!", "<s>", "</s>", "<|im_end|>", "<|endoftext|>", "[INST]", "a_b", "CamelCase"),
    *("\x00", "\x1c", "\x85", "\u00a0", "\u200b", "\u3000", "/path/to", "a" * 40, "=" * 20, "ﬁ"),
)


@pytest.fixture(scope="session")
def texts() -> st.SearchStrategy[str]:
    """Text with everything in it that tokenizers treat differently from one another."""
    # Of characters newer than this Python's Unicode, libraries know as much as their own Unicode.
    characters = st.characters(exclude_categories=["Cs", "Cn"])
    part = st.one_of(st.sampled_from(FRAGMENTS), st.text(characters, max_size=8))
    return st.lists(part, max_size=8).map("".join)
