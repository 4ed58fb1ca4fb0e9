"""llama.cpp's own test vectors, and what must hold of every real vocabulary."""

from hypothesis import given
from hypothesis import strategies as st

from refimpl.text import tokenizer_from_gguf, tokenizer_to_gguf
from refimpl.text.alphabet import CHARACTERS

SEPARATOR = "\n__ggml_vocab_test__\n"


def test_every_vector_of_llama_cpp_passes_exactly(tokenizer, vocabulary_name, ggml_vocab):
    path = ggml_vocab / f"ggml-vocab-{vocabulary_name}.gguf"
    inputs = (path.parent / (path.name + ".inp")).read_bytes().decode().split(SEPARATOR)
    lines = (path.parent / (path.name + ".out")).read_text().split("\n")
    expected = [list(map(int, line.split())) for line in lines[: len(inputs)]]
    assert len(inputs) == len(expected) > 40
    for text, ids in zip(inputs, expected, strict=True):
        assert tokenizer.encode(text, add_special=False) == ids, text


def test_metadata_written_and_read_again_gives_an_equal_tokenizer(tokenizer):
    metadata = tokenizer_to_gguf(tokenizer)
    assert tokenizer_from_gguf(metadata) == tokenizer


@given(data=st.data())
def test_text_survives_encoding_and_decoding(data, texts, tokenizer):
    text = data.draw(texts)
    ids = tokenizer.encode(text, add_special=False, parse_special=False)
    if tokenizer.vocabulary.alphabet == "characters":
        kept = text.replace("▁", " ").encode()  # U+2581 is how such a vocabulary writes a space
    else:
        spelt = {CHARACTERS.index(c) for c in CHARACTERS if c in tokenizer.vocabulary.ids}
        kept = bytes(byte for byte in text.encode() if byte in spelt)
    assert tokenizer.decode(ids) == kept.decode(errors="replace")


@given(data=st.data())
def test_law_30_bytes_of_a_concatenation(data, tokenizer):
    ids = st.lists(st.integers(0, tokenizer.vocab_size - 1), max_size=20)
    a, b = data.draw(ids), data.draw(ids)
    assert tokenizer.decode_bytes(a + b) == tokenizer.decode_bytes(a) + tokenizer.decode_bytes(b)
    assert tokenizer.decode_bytes(a) == b"".join(map(tokenizer.token_bytes, a))


@given(data=st.data())
def test_plain_text_never_becomes_a_marker(data, texts, tokenizer):
    """The safety of chat rests on this."""
    markers = [text for text in tokenizer.specials.control if text]
    text = data.draw(texts) + data.draw(st.sampled_from(markers)) + data.draw(texts)
    ids = tokenizer.encode(text, add_special=False, parse_special=False)
    assert not any(map(tokenizer.is_special, ids))
    assert any(map(tokenizer.is_special, tokenizer.encode(text, add_special=False)))


def test_what_ends_a_generation(vocabularies):
    ending = {
        name: [t.token_text(id) for id in sorted(t.eog_ids)] for name, t in vocabularies.items()
    }
    assert ending["phi-3"] == ["</s>", "<|endoftext|>", "<|end|>"]
    assert ending["llama-spm"] == ["</s>"]
    assert ending["gpt-2"] == ending["falcon"] == ["<|endoftext|>"]
    assert ending["deepseek-llm"] == ["<｜end▁of▁sentence｜>"]


def test_bos_and_eos_by_the_files_rules(vocabularies):
    assert vocabularies["llama-spm"].encode("Hello") == [1, 15043]
    assert vocabularies["llama-spm"].encode("") == [1]
    assert vocabularies["gpt-2"].encode("Hello") == [15496]
    assert vocabularies["deepseek-llm"].encode("Hello")[0] == vocabularies["deepseek-llm"].bos_id


def test_phi3_markers_swallow_the_white_space_after_them(vocabularies):
    encode = vocabularies["phi-3"].encode
    assert encode("<|user|>\n  Hi") == encode("<|user|>Hi")
    assert encode("<s> Hi") != encode("<s>Hi")
