"""llama2.c's tokenizers, sentencepiece models, and hostile files of every kind."""

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refimpl.errors import RefimplError, UnsupportedError
from refimpl.text import (
    TokenizerError,
    tokenizer_from_gguf,
    tokenizer_from_hf,
    tokenizer_from_llama2c,
    tokenizer_from_sentencepiece,
    tokenizer_to_gguf,
)
from refimpl.text.load.sentencepiece import vocabulary_from_sentencepiece


@pytest.fixture(scope="module")
def tok512(shared):
    return shared / "models" / "tok512.bin"


@pytest.fixture(scope="module")
def models(shared):
    return [shared / "models" / "tok105.model", shared / "tokenizers" / "llama2_tokenizer.model"]


def test_llama2c(tok512):
    t = tokenizer_from_llama2c(tok512, 512)
    ids = t.encode("Once upon a time, 日")
    assert ids[0] == t.bos_id == 1
    assert [t.token_text(id) for id in ids[1:4]] == ["▁Once", "▁upon", "▁a"]
    assert t.decode(ids, skip_special=True) == "Once upon a time, 日"
    assert [t.token_text(id) for id in ids[-3:]] == ["<0xE6>", "<0x97>", "<0xA5>"]
    assert tokenizer_from_gguf(tokenizer_to_gguf(t)) == t


def test_sentencepiece_on_the_same_vocabulary_as_gguf(shared, vocabularies, texts):
    """llama.cpp's file was made from this one."""
    t = tokenizer_from_sentencepiece(shared / "tokenizers" / "llama2_tokenizer.model")
    assert t == vocabularies["llama-spm"]


def test_a_character_model(models):
    t = tokenizer_from_sentencepiece(models[0])
    assert t.vocab_size == 105
    assert t.decode(t.encode("  Two  words "), skip_special=True) == "Two words"
    assert [t.token_text(id) for id in t.encode("ab日")] == ["<s>", "▁", "a", "b", "<unk>"]
    assert tokenizer_from_gguf(tokenizer_to_gguf(t)) == t


@pytest.fixture(scope="module", params=[0, 1])
def both(request, models):
    sentencepiece = pytest.importorskip("sentencepiece")
    path = models[request.param]
    theirs = sentencepiece.SentencePieceProcessor(model_file=str(path))
    return tokenizer_from_sentencepiece(path), theirs


@pytest.mark.external
@given(data=st.data())
def test_ids_equal_those_of_sentencepiece(data, texts, both):
    ours, theirs = both
    text = data.draw(texts)
    ids = theirs.encode(text)
    assert ours.encode(text, add_special=False, parse_special=False) == ids
    # Decoding, theirs also drops spaces that were written U+2581, and shows the unknown as " ⁇ ".
    if ours.vocabulary.unknown_id not in ids and "▁" not in text:
        assert ours.decode(ids) == theirs.decode(ids)


# Hostile files.


@pytest.mark.parametrize("vocab_size", [-1, 0, 2, 511, 513, 10**6, 2**62])
def test_llama2c_needs_the_right_number_of_tokens(tok512, vocab_size):
    with pytest.raises(TokenizerError, match="tok512"):
        tokenizer_from_llama2c(tok512, vocab_size)


def piece(score: float, length: int, text: bytes) -> bytes:
    return struct.pack("<fi", score, length) + text


@pytest.mark.parametrize(
    "pieces",
    [
        [piece(0, 2**31 - 1, b"x")],
        [piece(0, -5, b"x")],
        [piece(0, 1, b"\xff")],
        [piece(float("nan"), 1, b"x")],
        [piece(0, 1, b"x"), piece(0, 1, b"x")],
        [piece(0, 1, b"x")[:5]],
    ],
)
def test_llama2c_damaged(tmp_path, pieces):
    head = [struct.pack("<i", 9), *(piece(0, 3, text) for text in (b"unk", b"bos", b"eos"))]
    path = tmp_path / "tok.bin"
    path.write_bytes(b"".join(head + pieces))
    with pytest.raises(TokenizerError):
        tokenizer_from_llama2c(path, 3 + len(pieces))


def field(number: int, value: bytes | int) -> bytes:
    if isinstance(value, int):
        return bytes([number << 3, value])
    return bytes([number << 3 | 2, len(value)]) + value


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", UnsupportedError),
        (field(2, field(3, 1)), UnsupportedError),  # unigram
        (field(2, field(3, 2)) + field(3, field(2, b"map")), UnsupportedError),
        (field(2, field(3, 2)), TokenizerError),  # no pieces
        (field(1, 7) + field(2, field(3, 2)), TokenizerError),
        (field(2, field(3, b"2")), TokenizerError),
        (field(1, field(1, b"\xff")), TokenizerError),
        (b"\x0a\xff\xff\xff\xff\x0f", TokenizerError),  # a length of 4 GiB
        (b"\xff" * 20, TokenizerError),
        (b"\x0b", TokenizerError),  # a group, which nobody writes any more
    ],
)
def test_sentencepiece_damaged(data, error):
    with pytest.raises(error):
        vocabulary_from_sentencepiece(data)


@given(data=st.data())
def test_any_bytes_give_a_vocabulary_or_a_named_error(data, models, tok512, tmp_path_factory):
    """Real files with a few bytes changed, and cut short."""
    path = data.draw(st.sampled_from([models[0], tok512]))
    content = bytearray(path.read_bytes())
    for at, byte in data.draw(st.dictionaries(st.integers(0, 1180), st.integers(0, 255))).items():
        content[at] = byte
    cut = content[: data.draw(st.sampled_from([None, 0, 3, 4, 100, 1000]))]
    try:
        if path == tok512:
            changed = tmp_path_factory.getbasetemp() / "tok.bin"
            changed.write_bytes(cut)
            tokenizer_from_llama2c(changed, 512)
        else:
            vocabulary_from_sentencepiece(bytes(cut))
    except RefimplError as error:
        assert str(error)


# tokenizer.json of every shape.

SMALL = {
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "<s>": 3}, "merges": ["a b"]},
    "added_tokens": [{"id": 3, "content": "<s>", "special": True}],
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False},
}


def read(tmp_path, file, **others):
    (tmp_path / "tokenizer.json").write_text(file if isinstance(file, str) else json.dumps(file))
    for name, content in others.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    return tokenizer_from_hf(tmp_path)


def test_a_small_tokenizer_json(tmp_path):
    t = read(tmp_path, SMALL)
    assert t.encode("ab<s>ba") == [2, 3, 1, 0]
    pairs = {**SMALL, "model": {**SMALL["model"], "merges": [["a", "b"]]}}
    assert read(tmp_path, pairs) == t
    assert t.vocabulary.pre == "gpt-2"


def test_the_files_around_it(tmp_path):
    t = read(
        tmp_path,
        SMALL,
        tokenizer_config={
            "bos_token": {"content": "<s>"},
            "add_bos_token": True,
            "eos_token": "b",
            "added_tokens_decoder": {"5": {"content": "<x>", "special": False, "rstrip": True}},
            "chat_template": [
                {"name": "other", "template": "1"},
                {"name": "default", "template": "2"},
            ],
        },
        generation_config={"eos_token_id": [1, 3]},
        config={"vocab_size": 8, "eos_token_id": 1},
    )
    assert t.encode("a<x> b") == [3, 0, 5, 1]
    assert (t.bos_id, t.eos_id, t.eog_ids, t.chat_template) == (3, 1, {1, 3}, "2")
    assert (t.vocab_size, t.token_text(7), t.token_bytes(7)) == (8, "[PAD7]", b"")
    (tmp_path / "chat_template.jinja").write_text("from a file")
    assert tokenizer_from_hf(tmp_path).chat_template == "from a file"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": None}, "'model'"),
        ({"model": {"type": "Unigram", "vocab": []}}, "'Unigram'"),
        ({"model": {**SMALL["model"], "dropout": 0.5}}, "dropout"),
        ({"model": {**SMALL["model"], "vocab": {"a": 0, "b": 0}}}, "the same id"),
        ({"model": {**SMALL["model"], "vocab": {"a": 10**12}}}, "ids up to 1000000000000"),
        ({"model": {**SMALL["model"], "vocab": {"a": -1}}}, "ids up to"),
        ({"model": {**SMALL["model"], "vocab": {"a": "b"}}}, "to integers"),
        ({"model": {**SMALL["model"], "merges": ["a c"]}}, "'a c'"),
        ({"model": {**SMALL["model"], "merges": [["a"]]}}, "not a merge"),
        ({"model": {**SMALL["model"], "merges": [["a", " "]]}}, "contain a space"),
        ({"model": {**SMALL["model"], "merges": [1]}}, "not a merge"),
        ({"normalizer": {"type": "Lowercase"}}, "Lowercase"),
        (
            {"normalizer": {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 99}},
            "Repl",
        ),
        ({"normalizer": [1]}, "a step with a type"),
        ({"normalizer": {"type": "Prepend", "prepend": "▁"}}, "keeps other spaces"),
        ({"pre_tokenizer": {"type": "Whitespace"}}, "Whitespace"),
        ({"pre_tokenizer": {"type": "Sequence", "pretokenizers": 3}}, "pretokenizers"),
        (
            {
                "pre_tokenizer": {
                    "type": "Split",
                    "pattern": {"Regex": "(a{999}){999}"},
                    "behavior": "Isolated",
                }
            },
            "unrolls",
        ),
        ({"post_processor": {"type": "BertProcessing"}}, "BertProcessing"),
        ({"post_processor": {"type": "TemplateProcessing", "single": [1]}}, "template"),
        ({"added_tokens": [3]}, "an object"),
        ({"added_tokens": [{"id": "x", "content": "y"}]}, "'id'"),
        ({"added_tokens": [{"id": 10**9, "content": "y"}]}, "ids up to"),
        ({"added_tokens": [{"id": 4, "content": "a"}]}, "'a' twice"),
    ],
)
def test_a_tokenizer_json_of_the_wrong_shape_is_a_named_error(tmp_path, change, message):
    with pytest.raises((TokenizerError, UnsupportedError), match=message):
        read(tmp_path, {**SMALL, **change})


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "[" * 100_000, '{"model": NaN}', "\x00", '{"a": "\\ud800"}']
)
def test_what_is_not_a_tokenizer_json_is_a_named_error(tmp_path, text):
    with pytest.raises(TokenizerError):
        read(tmp_path, text)


def test_nesting_deeper_than_any_tokenizer_is_a_named_error(tmp_path):
    tree = {"type": "NFC"}
    for _ in range(50):
        tree = {"type": "Sequence", "normalizers": [tree]}
    with pytest.raises(TokenizerError, match="a step with a type"):
        read(tmp_path, {**SMALL, "normalizer": tree})


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-2, 9), st.floats(), st.text(max_size=4)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner)
    ),
    max_leaves=6,
)
PATHS = [
    *(["model"], ["model", "vocab"], ["model", "merges"], ["model", "merges", 0], ["added_tokens"]),
    *(["model", "vocab", "a"], ["model", "unk_token"], ["model", "ignore_merges"], ["normalizer"]),
    *(["added_tokens", 0], ["added_tokens", 0, "content"], ["added_tokens", 0, "id"]),
    *(["added_tokens", 0, "rstrip"], ["pre_tokenizer"], ["pre_tokenizer", "type"]),
    *(["pre_tokenizer", "use_regex"], ["post_processor"], ["model", "byte_fallback"]),
]


def replaced(tree, path, value):
    copy = tree.copy()
    copy[path[0]] = replaced(copy[path[0]], path[1:], value) if path[1:] else value
    return copy


@given(
    path=st.sampled_from(PATHS),
    value=JSON,
    config=st.dictionaries(
        st.sampled_from(["bos_token", "add_bos_token", "chat_template", "added_tokens_decoder"]),
        JSON,
    ),
)
def test_any_json_gives_a_tokenizer_or_a_named_error(tmp_path_factory, path, value, config):
    directory = tmp_path_factory.getbasetemp() / "hf"
    directory.mkdir(exist_ok=True)
    try:
        t = read(directory, replaced(SMALL, path, value), tokenizer_config=config)
        assert tokenizer_from_gguf(tokenizer_to_gguf(t)) == t
        t.decode(t.encode("ab a"))
    except RefimplError as error:
        assert str(error)
