"""Cutting text into words: the five behaviours, the named rules, and patterns of strangers."""

import unicodedata
from dataclasses import replace
from sys import maxunicode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refimpl.errors import UnsupportedError
from refimpl.text import TokenizerError
from refimpl.text.pretokenizers import ROWS, pretokenizer
from refimpl.text.splitting import ARRANGEMENTS, Cutter, Split, compiled, cut
from refimpl.text.strangers import stranger

PATTERNS = [r"\s+", r"[ab]", r" ?\p{L}+", r"(?=\d)", r"(a)(b)?", r"\p{N}{1,3}", r"x"]


@pytest.mark.parametrize("behavior", ARRANGEMENTS)
@pytest.mark.parametrize("inverted", [False, True])
@given(data=st.data())
def test_each_behaviour_is_that_of_tokenizers(data, texts, behavior, inverted):
    tokenizers = pytest.importorskip("tokenizers")
    pattern = data.draw(st.sampled_from(PATTERNS))
    text = data.draw(texts)
    theirs = tokenizers.pre_tokenizers.Split(tokenizers.Regex(pattern), behavior, inverted)
    expected = [piece for piece, _ in theirs.pre_tokenize_str(text)]
    assert Split(pattern=pattern, behavior=behavior, inverted=inverted)(text) == expected


@given(data=st.data())
def test_isolate_equals_matches_and_gaps_one_by_one(data, texts):
    text, pattern = data.draw(texts), data.draw(st.sampled_from(PATTERNS))
    split = Split(pattern=pattern)
    assert split.isolate(text) == [text[a:b] for a, b, _ in split.spans(text) if b > a]


@given(data=st.data(), row=st.sampled_from(ROWS))
def test_cutter_equals_cut_and_the_words_joined_are_the_text(data, texts, row):
    cutter = Cutter(row.splits)
    for text in data.draw(st.lists(texts, max_size=3)):
        assert cutter(text) == cut(text, row.splits)
        assert "".join(cutter(text)) == text


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.names[0])
def test_no_rule_loses_a_character(row, corpus):
    assert "".join(cut(corpus[:5000], row.splits)) == corpus[:5000]
    strange = "a1½²ǅſ日本語\u3000\u0301 \n\t\x00'S <sentinel:7>IMGIMGABZ \U0001f999\r\n  "
    assert "".join(cut(strange, row.splits)) == strange


def test_every_name_has_one_meaning():
    names = [name for row in ROWS for name in row.names]
    assert len(names) == len(set(names)) > 60


def test_an_unknown_name_is_an_error_that_lists_the_known():
    with pytest.raises(UnsupportedError, match=r"'gpt-9'.*deepseek-llm, .*tekken"):
        pretokenizer("gpt-9")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("gpt-2", ["I", "'ll", " pay", " 12345", "!!", "\n\n", " OK"]),
        ("llama-bpe", ["I", "'ll", " pay", " ", "123", "45", "!!\n\n", " OK"]),
        ("qwen2", ["I", "'ll", " pay", " ", *"12345", "!!\n\n", " OK"]),
        ("starcoder", ["I", "'ll", " pay", " ", *"12345", "!!", "\n\n", " OK"]),
        ("gpt-4o", ["I'll", " pay", " ", "123", "45", "!!\n\n", " OK"]),
        ("deepseek-coder", ["I", "'", "ll", " pay", " ", *"12345", "!!", "\n", "\n", " OK"]),
        ("afmoe", ["I", "'ll", " pay", " ", "12", "345", "!!\n\n", " OK"]),
    ],
)
def test_the_rules_differ_where_they_should(name, words):
    assert cut("I'll pay 12345!!\n\n OK", pretokenizer(name).splits) == words


@pytest.mark.parametrize("name", [r"\s", r"\p{L}", r"\p{N}", r"\p{P}", r"\p{S}", r"\p{M}"])
def test_character_classes_are_those_of_tokenizers(name):
    """They agree on every character that Python's Unicode tables know; newer ones depend on which
    version of Unicode a library was built with."""
    tokenizers = pytest.importorskip("tokenizers")
    everything = [chr(i) for i in range(maxunicode + 1) if not 0xD800 <= i < 0xE000]
    known = "".join(c for c in everything if unicodedata.category(c) not in ("Cn", "Co"))
    theirs = tokenizers.pre_tokenizers.Split(tokenizers.Regex(f"{name}+"), "removed", invert=True)
    expected = "".join(piece for piece, _ in theirs.pre_tokenize_str(known))
    assert "".join(compiled(name).findall(known)) == expected


# Patterns that came with a file.


@pytest.mark.parametrize(
    "pattern",
    [
        "a{1000000000}",
        "(((a{1000}){1000}){1000})",
        "(?R)|a",
        "(?:a(?1))",
        "(" * 5000,
        "[a",
        r"\p{Nonsense}",
        "(a|" * 3000 + "b" + ")" * 3000,
        "a" * 30_000,
    ],
    ids=lambda pattern: pattern[:20],
)
def test_a_pattern_that_cannot_be_compiled_safely_is_refused(pattern):
    with pytest.raises(TokenizerError, match="the pre-tokeniser pattern"):
        stranger(pattern)


def test_a_pattern_that_backtracks_is_stopped():
    split = replace(stranger(r"(?:a|aa)+\Z"), patience=0.2)
    with pytest.raises(TokenizerError, match="did not finish within"):
        split("a" * 60 + "b")


def test_patience_is_no_part_of_what_a_split_means():
    assert stranger("a+") == Split(pattern="a+")
    assert stranger("a+")("baab") == Split(pattern="a+")("baab")
