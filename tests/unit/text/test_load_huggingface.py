"""tokenizer.json, against the library that defines it, on tokenizers trained here."""

import json
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

tokenizers = pytest.importorskip("tokenizers")

from tokenizers import (
    AddedToken,
    Regex,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from refimpl.text import (
    tokenizer_from_gguf,
    tokenizer_from_hf,
    tokenizer_to_gguf,
)
from refimpl.text.pretokenizers import pretokenizer

ByteLevel, Sequence, Split = (
    pre_tokenizers.ByteLevel,
    pre_tokenizers.Sequence,
    pre_tokenizers.Split,
)
MARKERS = ["<unk>", "<s>", "</s>", "<|im_end|>"]
ADDED = {"<tool>": [], "<left>": ["lstrip"], "<right>": ["rstrip"], "word": ["single_word"]}


def bytes_after(*steps):
    return Sequence([*steps, ByteLevel(add_prefix_space=False, use_regex=False)])


def isolated(name):
    return [Split(Regex(p), "isolated") for p in pretokenizer(name).patterns]


PRE_TOKENIZERS = {
    "gpt-2": ByteLevel(add_prefix_space=False),
    "llama-bpe": bytes_after(*isolated("llama-bpe")),
    "qwen2": bytes_after(*isolated("qwen2")),
    "gpt-4o": bytes_after(*isolated("gpt-4o")),
    "deepseek-llm": bytes_after(*isolated("deepseek-llm")),
    "deepseek-v3": bytes_after(*isolated("deepseek-v3")),
    "starcoder": Sequence([pre_tokenizers.Digits(individual_digits=True), ByteLevel(False)]),
    "falcon": Sequence(
        [
            pre_tokenizers.Punctuation("contiguous"),
            ByteLevel(add_prefix_space=False),
            Split(Regex("[0-9][0-9][0-9]"), "isolated"),
        ]
    ),
    "prefix": ByteLevel(add_prefix_space=True),
    "digits": Sequence(
        [pre_tokenizers.Digits(False), pre_tokenizers.Punctuation(), ByteLevel(False)]
    ),
}

ESCAPE = normalizers.Replace(" ", "▁")
METASPACE = {
    f"metaspace-{scheme}-{split}": pre_tokenizers.Metaspace(prepend_scheme=scheme, split=split)
    for scheme, split in (("always", True), ("first", True), ("first", False))
}
CHARACTER_PIPELINES = {
    "llama-2": (normalizers.Sequence([normalizers.Prepend("▁"), ESCAPE]), None),
    "gemma": (ESCAPE, Split(" ", "merged_with_previous")),
    **{name: (None, metaspace) for name, metaspace in METASPACE.items()},
}


def train_bytes(corpus, name):
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = PRE_TOKENIZERS[name]
    tokenizer.decoder = decoders.ByteLevel()
    if name == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    trainer = trainers.BpeTrainer(
        vocab_size=1200, initial_alphabet=ByteLevel.alphabet(), special_tokens=MARKERS
    )
    tokenizer.train_from_iterator(corpus.split("\n\n"), trainer)
    file = json.loads(tokenizer.to_str())
    file["model"]["ignore_merges"] = name == "llama-bpe"
    if name == "llama-bpe":
        file["post_processor"] = json.loads(template("<s> $A").__getstate__())
    return file


def template(single):
    return processors.TemplateProcessing(
        single=single, pair=None, special_tokens=[("<s>", 1), ("</s>", 2)]
    )


def train_characters(corpus, name):
    """As Llama 2's: characters, with single bytes for what is not in the vocabulary."""
    tokenizer = tokenizers.Tokenizer(
        models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    )
    tokenizer.normalizer, tokenizer.pre_tokenizer = CHARACTER_PIPELINES[name]
    trainer = trainers.BpeTrainer(vocab_size=900, special_tokens=MARKERS)
    tokenizer.train_from_iterator(corpus[:30_000].split("\n"), trainer)
    file = json.loads(tokenizer.to_str())
    size = len(file["model"]["vocab"])
    file["model"]["vocab"] |= {f"<0x{byte:02X}>": size + byte for byte in range(256)}
    strip = [] if name in ("gemma",) or "never" in name else [decoders.Strip(" ", 1, 0)]
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *strip]
    file["decoder"] = json.loads(decoders.Sequence(steps).__getstate__())
    file["post_processor"] = json.loads(template("<s> $A </s>").__getstate__())
    return file


@pytest.fixture(scope="module")
def trained(corpus, tmp_path_factory):
    """Both tokenizers, this project's and the library's, from one tokenizer.json."""

    @cache
    def train(name):
        train = train_bytes if name in PRE_TOKENIZERS else train_characters
        directory = tmp_path_factory.mktemp(name)
        (directory / "tokenizer.json").write_text(json.dumps(train(corpus, name)))
        theirs = tokenizers.Tokenizer.from_file(str(directory / "tokenizer.json"))
        for text, flag in ADDED.items():
            theirs.add_tokens([AddedToken(text, normalized=False, **dict.fromkeys(flag, True))])
        theirs.save(str(directory / "tokenizer.json"))
        return tokenizer_from_hf(directory), theirs

    return train


@pytest.mark.parametrize("name", [*PRE_TOKENIZERS, *CHARACTER_PIPELINES])
@given(data=st.data())
def test_ids_and_text_equal_those_of_tokenizers(data, texts, trained, name):
    ours, theirs = trained(name)
    added = st.sampled_from(["<tool>", " <left> ", " <right> ", "a word b", "swords", "<s>", " "])
    text = "".join(data.draw(st.lists(st.one_of(texts, added), max_size=3)))
    for special in (True, False):
        ids = theirs.encode(text, add_special_tokens=special).ids
        assert ours.encode(text, add_special=special) == ids, text
    assert ours.decode(ids, skip_special=True) == theirs.decode(ids)


@pytest.mark.parametrize("name", [*PRE_TOKENIZERS, *CHARACTER_PIPELINES])
def test_gguf_gives_the_same_tokenizer_back(trained, name):
    ours, _ = trained(name)
    assert tokenizer_from_gguf(tokenizer_to_gguf(ours)) == ours
