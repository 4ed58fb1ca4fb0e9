"""GGUF metadata: the rules for what a file leaves out, and files that contradict themselves."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refimpl.errors import RefimplError, UnsupportedError
from refimpl.formats.gguf import GGUF, write_gguf
from refimpl.text import TokenizerError, tokenizer_from_gguf, tokenizer_to_gguf

GPT2 = {
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "gpt-2",
    "tokenizer.ggml.tokens": ["<|endoftext|>", "h", "i", "hi", "Ġ", "Ġhi"],
    "tokenizer.ggml.token_type": np.array([3, 1, 1, 1, 1, 1], np.int32),
    "tokenizer.ggml.merges": ["h i", "Ġ hi"],
    "tokenizer.ggml.bos_token_id": 0,
    "tokenizer.ggml.eos_token_id": 0,
}
LLAMA = {
    "tokenizer.ggml.model": "llama",
    "tokenizer.ggml.tokens": ["<unk>", "<s>", "</s>", "<0x0A>", "▁", "a", "▁a", "<end_of_turn>"],
    "tokenizer.ggml.scores": np.array([0, 0, 0, 0, -1, -2, -3, 0], np.float32),
    "tokenizer.ggml.token_type": np.array([2, 3, 3, 6, 1, 1, 1, 1], np.int32),
}


def without(metadata, key):
    return {k: v for k, v in metadata.items() if k != f"tokenizer.ggml.{key}"}


def changed(metadata, **changes):
    return metadata | {f"tokenizer.ggml.{key}": value for key, value in changes.items()}


def test_what_a_llama_file_leaves_out():
    t = tokenizer_from_gguf(LLAMA)
    assert (t.bos_id, t.eos_id, t.vocabulary.unknown_id) == (1, 2, 0)
    assert t.encode("a") == [1, 6]
    assert tokenizer_from_gguf(changed(LLAMA, add_bos_token=False)).encode("a") == [6]
    assert tokenizer_from_gguf(changed(LLAMA, add_eos_token=True)).encode("a") == [1, 6, 2]
    assert tokenizer_from_gguf(changed(LLAMA, add_space_prefix=False)).encode("a") == [1, 5]
    assert tokenizer_from_gguf(without(LLAMA, "token_type")).encode("\n") == [1, 4, 3]


def test_what_a_gpt2_file_leaves_out():
    assert tokenizer_from_gguf(GPT2).encode("hi hi") == [3, 5]
    bare = tokenizer_from_gguf(without(without(GPT2, "bos_token_id"), "eos_token_id"))
    assert (bare.bos_id, bare.eos_id) == (None, None)
    assert bare.eog_ids == {0}  # by its text
    llama3 = tokenizer_from_gguf(changed(GPT2, pre="llama-bpe"))
    assert llama3.encode("hi") == [0, 3]
    assert tokenizer_from_gguf(changed(GPT2, pre="llama-bpe", add_bos_token=False)).encode(
        "hi"
    ) == [3]


def test_a_word_that_is_a_token_may_skip_the_merges():
    no_merges = changed(GPT2, merges=["Ġ hi"])
    assert tokenizer_from_gguf(no_merges).encode("hi") == [1, 2]
    assert tokenizer_from_gguf(changed(no_merges, pre="tekken")).encode("hi") == [0, 3]


def test_a_marker_by_its_text_is_a_control_token_whatever_the_file_says():
    t = tokenizer_from_gguf(LLAMA)
    assert t.is_special(7) and 7 in t.eog_ids
    assert 7 not in t.encode("<end_of_turn>", parse_special=False)


def test_a_call_ends_a_turn_but_end_does_not_where_there_are_both():
    harmony = ["<|return|>", "<|call|>", "<|end|>"]
    for texts, ending in ((harmony, {1, 2}), (harmony[1:], {1, 2}), (harmony[2:], {1})):
        t = tokenizer_from_gguf(
            {
                "tokenizer.ggml.model": "gpt2",
                "tokenizer.ggml.tokens": ["a", *texts],
                "tokenizer.ggml.merges": [],
            }
        )
        assert t.eog_ids == ending


def test_tokens_without_a_text_get_one():
    t = tokenizer_from_gguf(changed(GPT2, tokens=["", "h", "i", "hi", "Ġ", "Ġhi"]))
    assert t.token_text(0) == "[EMPTY_0]"


def test_a_file_on_disk_gives_the_same_tokenizer(vocabularies, tmp_path):
    for name in ("phi-3", "gpt-2"):
        write_gguf(tmp_path / "v.gguf", tokenizer_to_gguf(vocabularies[name]), {})
        again = tokenizer_from_gguf(GGUF.open(tmp_path / "v.gguf").metadata)
        assert again == vocabularies[name]
        assert hash(again) == hash(vocabularies[name])


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({}, "None"),
        (changed(GPT2, model="bert"), "'bert'"),
        (changed(GPT2, model=7), "should be a text"),
        (changed(GPT2, pre="gpt-9"), "unknown pre-tokeniser 'gpt-9'"),
        (without(GPT2, "merges"), "list of merges is missing"),
        (without(GPT2, "tokens"), "has no tokens"),
        (changed(GPT2, tokens=["a", "a"], merges=[], token_type=[1, 1]), "'a' twice, as 0 and 1"),
        (changed(GPT2, tokens=[b"a"]), "should be a list of texts"),
        (changed(GPT2, tokens="abc"), "should be a list of texts"),
        (changed(GPT2, merges=["h x"]), "'h x', which is not of two tokens"),
        (changed(GPT2, merges=["hi hi"]), "'hi hi', which is not of two tokens"),
        (changed(GPT2, merges=["hi"]), "'hi', which is not of two tokens"),
        (changed(GPT2, merges=[["h", "i"]]), "should be a list of texts"),
        (changed(GPT2, token_type=np.array([1], np.int32)), "6 tokens but 1 token types"),
        (changed(GPT2, token_type=[1] * 7), "6 tokens but 7 token types"),
        (changed(GPT2, token_type=[9] * 6), "types outside 0..6"),
        (changed(GPT2, token_type=[1.5] * 6), "should be a list of integers"),
        (changed(GPT2, bos_token_id=6), "names 6 as its BOS token"),
        (changed(GPT2, eos_token_id=2**63), "as its EOS token"),
        (changed(GPT2, eos_token_id=-1), "as its EOS token"),
        (changed(GPT2, eot_token_id=99), "describes a token 99"),
        (changed(GPT2, bos_token_id=True), "should be an integer"),
        (changed(GPT2, bos_token_id=None), "should be an integer"),
        (changed(without(GPT2, "bos_token_id"), add_bos_token=True), "names none"),
        (changed(GPT2, add_bos_token=1), "should be true or false"),
        (changed(GPT2, tokens=["\ud800"], token_type=[1], merges=[]), "half a surrogate"),
        (without(LLAMA, "scores"), "8 tokens but 0 scores"),
        (changed(LLAMA, scores=np.zeros(3, np.float32)), "8 tokens but 3 scores"),
        (changed(LLAMA, scores=np.full(8, np.nan, np.float32)), "not a number"),
        (changed(LLAMA, scores=np.zeros((2, 4))), "should be a list of numbers"),
        (changed(LLAMA, token_type=[6] * 8), "byte token '<unk>'"),
        (
            changed(GPT2, tokens=["x" * 999, "h", "i", "hi", "Ġ", "Ġhi"]),
            "control token of 999 characters",
        ),
        ({**LLAMA, "tokenizer.chat_template": 3}, "should be a text"),
        ({**GPT2, "refimpl.tokenizer": "["}, "not a JSON object"),
        ({**GPT2, "refimpl.tokenizer": "[" * 99999}, "not a JSON object"),
        ({**GPT2, "refimpl.tokenizer": '{"tokens": []}'}, "sets 'tokens'"),
        ({**GPT2, "refimpl.tokenizer": '{"normalizer": [["rm"]]}'}, "sets 'normalizer'"),
        ({**GPT2, "refimpl.tokenizer": '{"eog_ids": [1e9]}'}, "sets 'eog_ids'"),
        ({**GPT2, "refimpl.tokenizer": '{"types": {"0": 9}}'}, "sets 'types'"),
        (
            {
                **GPT2,
                "refimpl.tokenizer": '{"splits": [{"pattern": "(", "behavior": "isolated", '
                '"inverted": false}]}',
            },
            "not a valid expression",
        ),
    ],
)
def test_a_file_that_contradicts_itself_is_a_named_error(metadata, message):
    with pytest.raises((TokenizerError, UnsupportedError), match=message):
        tokenizer_from_gguf(metadata)


SCALARS = st.one_of(
    st.integers(-3, 9),
    st.integers(),
    st.booleans(),
    st.floats(),
    st.text(max_size=6),
    st.none(),
    st.binary(max_size=3),
    st.sampled_from(["gpt2", "llama", "llama-bpe", "default"]),
)
VALUES = st.one_of(SCALARS, st.lists(SCALARS, max_size=9), st.lists(st.integers(0, 6), max_size=9))
KEYS = st.sampled_from(
    [
        *(f"tokenizer.ggml.{key}" for key in ("model", "pre", "tokens", "merges", "scores")),
        *(f"tokenizer.ggml.{key}" for key in ("token_type", "add_bos_token", "add_space_prefix")),
        *(f"tokenizer.ggml.{key}_token_id" for key in ("bos", "eos", "unknown", "eot")),
        *("tokenizer.chat_template", "general.name", "refimpl.tokenizer"),
    ]
)


@given(
    st.sampled_from([GPT2, LLAMA]), st.dictionaries(KEYS, VALUES, max_size=3), st.text(max_size=9)
)
def test_any_metadata_gives_a_tokenizer_or_a_named_error(base, changes, text):
    try:
        t = tokenizer_from_gguf({**base, **changes})
        t.decode(t.encode(text))
        assert tokenizer_from_gguf(tokenizer_to_gguf(t)) == t
    except RefimplError as error:
        assert str(error)
