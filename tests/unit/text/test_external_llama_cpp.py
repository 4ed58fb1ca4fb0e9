"""Against llama.cpp itself: every named rule for cutting words, and SentencePiece vocabularies.

`pytest -m external tests/unit/text`; needs `llama-cpp-python` and `tokenizers`.
"""

import random

import numpy as np
import pytest

from refimpl.formats.gguf import write_gguf
from refimpl.text import tokenizer_from_gguf
from refimpl.text.ending import FILL_IN_TEXTS, TEXTS
from refimpl.text.pretokenizers import ROWS
from refimpl.text.vocabulary import TokenType

pytestmark = pytest.mark.external

MODEL = {
    "general.architecture": "llama",
    "llama.context_length": 128,
    "llama.embedding_length": 64,
    "llama.block_count": 1,
    "llama.feed_forward_length": 64,
    "llama.attention.head_count": 4,
    "llama.attention.layer_norm_rms_epsilon": 1e-5,
    "llama.rope.dimension_count": 16,
}
NAMES = [name for row in ROWS for name in row.names]

ASCII = (
    *("the", " cat", "It's", "I'LL", "don't", " ", "  ", "   ", "\n", "\n\n", "\r\n", "\t", " \n "),
    *("1", "123", "4567890", "3.14", "!", "...", "?!", "[x]", "a_b", "CamelCase", "HTTPServer"),
    *("/path/to", "a" * 20, "=" * 10, "$", "+", "<|", "1 2", "12,345", "'S", "'", "`", "^~"),
)
BEYOND = (
    *("é", "日本語", "🦙", "нещо", "Привет", "\u200b", "\u00a0", "ไทย", "²", "½", "Ⅷ", "€", "’s"),
    *("가나다", "《》", "、", "हिन्दी", "e\u0301", "ÀÉî"),
)

# Rows that hold the model's own expression, where llama.cpp approximates it: in o200k's shape it
# knows capitals and small letters of ASCII only, and in four rows of that shape none at all.
ONLY_ASCII = {
    *("gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2", "tekken", "granite-embed-multi-97m"),
}
ONLY_SMALL = {"tiny_aya", "cohere2moe", "kimi-k2", "youtu"}
# Numbers in groups of three from the right.  In afmoe llama.cpp leaves what precedes a number with
# its first digits; in the other two its regular expressions never see the end of a word.
DIFFERENT = {"afmoe", "tiny_aya", "cohere2moe"}


def texts(fragments, n=400):
    rng = random.Random(0)
    return ["".join(rng.choices(fragments, k=rng.randrange(1, 9))) for _ in range(n)]


@pytest.fixture(scope="module")
def byte_level(corpus):
    """Merges that cross every boundary a rule could draw, so that a missing cut shows."""
    tokenizers = pytest.importorskip("tokenizers")
    trainee = tokenizers.Tokenizer(tokenizers.models.BPE())
    byte_level = tokenizers.pre_tokenizers.ByteLevel
    trainee.pre_tokenizer = byte_level(add_prefix_space=False, use_regex=False)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=3000,
        max_token_length=12,
        initial_alphabet=byte_level.alphabet(),
        special_tokens=["<s>", "</s>"],
    )
    trainee.train_from_iterator([*texts(ASCII + BEYOND) * 20, corpus[:20_000]], trainer)
    tokens = [trainee.id_to_token(id) for id in range(trainee.get_vocab_size())]
    vocabulary = set(tokens)
    merges = [
        f"{token[:i]} {token[i:]}"
        for token in tokens[258:]
        for i in range(1, len(token))
        if token[:i] in vocabulary and token[i:] in vocabulary
    ]
    return MODEL | {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": np.array([3, 3] + [1] * (len(tokens) - 2), np.int32),
        "tokenizer.ggml.merges": merges,
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.eos_token_id": 1,
    }


def llama_cpp(path):
    return pytest.importorskip("llama_cpp").Llama(str(path), vocab_only=True, verbose=False)


@pytest.mark.parametrize("name", NAMES)
def test_every_named_rule(name, byte_level, tmp_path):
    metadata = {**byte_level, "tokenizer.ggml.pre": name}
    write_gguf(tmp_path / "v.gguf", metadata, {})
    theirs, ours = llama_cpp(tmp_path / "v.gguf"), tokenizer_from_gguf(metadata)
    fragments = ASCII if name in ONLY_ASCII | ONLY_SMALL | DIFFERENT else ASCII + BEYOND
    tried = texts(
        [f for f in fragments if name not in ONLY_SMALL or f.islower() or not f.isalpha()]
    )
    differ = [
        text
        for text in tried
        if theirs.tokenize(text.encode(), add_bos=False, special=False)
        != ours.encode(text, add_special=False, parse_special=False)
    ]
    if name in DIFFERENT:
        assert differ and all(any(c.isdigit() for c in text) for text in differ)
    else:
        assert not differ
    assert theirs.tokenize(b"the", add_bos=True) == ours.encode("the")


@pytest.mark.parametrize("special", [True, False])
def test_real_vocabularies(vocabulary_name, tokenizer, ggml_vocab, special):
    theirs = llama_cpp(ggml_vocab / f"ggml-vocab-{vocabulary_name}.gguf")
    markers = (*tokenizer.specials.control, " <s>", "<|end|>\n", "▁", "ſ")
    for text in texts(ASCII + BEYOND + markers[:20]):
        if vocabulary_name == "phi-3" and special:
            text = text.replace("\u00a0", "")  # C's isspace knows no white space beyond ASCII
        ids = theirs.tokenize(text.encode(), add_bos=True, special=special)
        assert tokenizer.encode(text, parse_special=special) == ids, text


def endings_and_markers(path):
    library = pytest.importorskip("llama_cpp")
    model = llama_cpp(path)
    vocab = library.llama_model_get_vocab(model._model.model)
    ids = range(library.llama_vocab_n_tokens(vocab))
    return (
        {id for id in ids if library.llama_vocab_is_eog(vocab, id)},
        {id for id in ids if library.llama_vocab_is_control(vocab, id)},
    )


def test_what_ends_a_generation(vocabulary_name, tokenizer, ggml_vocab):
    ending, control = endings_and_markers(ggml_vocab / f"ggml-vocab-{vocabulary_name}.gguf")
    assert tokenizer.eog_ids == ending
    types = tokenizer.vocabulary.types
    assert {id for id, type in enumerate(types) if type == TokenType.CONTROL} == control


@pytest.mark.parametrize("seed", range(20))
def test_what_ends_a_generation_by_its_text(seed, tmp_path):
    rng = random.Random(seed)
    one_of_each = [rng.choice(alternatives) for alternatives in FILL_IN_TEXTS]
    tokens = ["a", "b", "ab", *rng.sample([*TEXTS, *one_of_each, "<|fim_prefix|>", "plain"], 9)]
    metadata = MODEL | {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": np.array([1, 1, 1, *rng.choices([1, 3, 4], k=9)], np.int32),
        "tokenizer.ggml.merges": ["a b"],
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.eos_token_id": 1,
    }
    write_gguf(tmp_path / "v.gguf", metadata, {})
    assert tokenizer_from_gguf(metadata).eog_ids == endings_and_markers(tmp_path / "v.gguf")[0]


def test_llama_cpp_merges_text_into_a_control_token_and_this_does_not(tmp_path):
    """The one place where SentencePiece vocabularies differ; sentencepiece is on this side."""
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    tokens += ["▁", "<", "/", "s", ">", "</", "s>", "a"]
    metadata = MODEL | {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.scores": np.array([0] * 259 + [*range(0, -8, -1)], np.float32),
        "tokenizer.ggml.token_type": np.array([2, 3, 3] + [6] * 256 + [1] * 8, np.int32),
    }
    write_gguf(tmp_path / "v.gguf", metadata, {})
    theirs, ours = llama_cpp(tmp_path / "v.gguf"), tokenizer_from_gguf(metadata)
    their_ids = theirs.tokenize(b"a</s>", add_bos=False, special=False)
    our_ids = ours.encode("a</s>", add_special=False, parse_special=False)
    assert [tokens[id] for id in their_ids] == ["▁", "a", "</s>"]
    assert [tokens[id] for id in our_ids] == ["▁", "a", "</", "s>"]
