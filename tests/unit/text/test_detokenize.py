"""Laws 18 and 30 as far as they concern text: a stream's pieces are the whole."""

from hypothesis import given
from hypothesis import strategies as st

from refimpl.text import IncrementalDecoder


def pieces(tokenizer, ids, **options):
    stream = IncrementalDecoder(tokenizer, **options)
    return [*map(stream.push, ids), stream.flush()]


def ids_of(tokenizer):
    return st.lists(st.integers(0, tokenizer.vocab_size - 1), max_size=30)


@given(data=st.data(), skip=st.booleans())
def test_law_18_the_concatenation_of_the_stream_is_the_whole_text(data, skip, tokenizer):
    ids = data.draw(ids_of(tokenizer))
    whole = tokenizer.decode(ids, skip_special=skip)
    assert "".join(pieces(tokenizer, ids, skip_special=skip)) == whole


@given(data=st.data())
def test_law_18_for_text_cut_into_single_bytes(data, texts, vocabularies):
    """Every character that is more than a byte is cut in every place, and invalid bytes are mixed
    in."""
    llama = vocabularies["llama-spm"]
    parts = st.lists(st.one_of(texts.map(str.encode), st.binary(max_size=4)), max_size=5)
    text = b"".join(data.draw(parts))
    ids = [llama.vocabulary.ids[f"<0x{byte:02X}>"] for byte in text]
    streamed = pieces(llama, ids, continues=True)
    assert "".join(streamed) == text.decode(errors="replace")
    assert llama.decode_bytes(ids) == text


@given(data=st.data())
def test_a_valid_text_never_shows_half_a_character(data, texts, tokenizer):
    ids = tokenizer.encode(data.draw(texts), add_special=False, parse_special=False)
    whole = tokenizer.decode(ids)
    seen = ""
    for piece in pieces(tokenizer, ids):
        seen += piece
        assert whole.startswith(seen)


@given(data=st.data(), cut=st.integers(0, 10))
def test_a_continuation_continues(data, cut, texts, tokenizer):
    """Prompt and continuation are decoded apart; together they are the text."""
    ids = tokenizer.encode(data.draw(texts), add_special=False, parse_special=False)
    prompt, rest = tokenizer.decode_bytes(ids[:cut]), ids[cut:]
    if prompt.decode(errors="ignore").encode() == prompt:  # the cut is not inside a character
        text = prompt.decode() + "".join(pieces(tokenizer, rest, continues=True))
        assert text == tokenizer.decode_bytes(ids).decode(errors="replace")


def test_the_leading_space(vocabularies):
    llama = vocabularies["llama-spm"]
    ids = llama.encode("Hello you")
    assert llama.decode(ids, skip_special=True) == "Hello you"
    assert llama.decode(ids) == "<s> Hello you"
    assert pieces(llama, ids, skip_special=True) == ["", "Hello", " you", ""]
    assert pieces(llama, ids[1:], continues=True) == [" Hello", " you", ""]
    assert llama.decode_bytes(ids) == b"<s> Hello you"
