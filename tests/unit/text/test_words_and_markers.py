"""Words to ids, and the markers between them."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refimpl.errors import InputError
from refimpl.text import Tokenizer
from refimpl.text.alphabet import CHARACTERS, spell, unspell
from refimpl.text.memory import Memory
from refimpl.text.spm import cut_words, word_boundary
from refimpl.text.vocabulary import ESCAPE_SPACES, SPACE, TokenType, Vocabulary
from refimpl.text.words import WordEncoder

C, N, U, D = TokenType.CONTROL, TokenType.NORMAL, TokenType.UNKNOWN, TokenType.USER_DEFINED


@given(st.binary())
def test_the_byte_alphabet_spells_every_byte(data):
    assert unspell(spell(data)) == data
    assert len(set(CHARACTERS)) == 256 and CHARACTERS.isprintable() and " " not in CHARACTERS


# SentencePiece merges over a whole text; cutting it into words first must change nothing.


def scored(scores: dict[str, int]) -> Vocabulary:
    tokens = ("<unk>", "▁", "a", *scores)
    return Vocabulary(
        alphabet="characters",
        merge_by="score",
        tokens=tokens,
        types=(U, *[N] * (len(tokens) - 1)),
        scores=(0.0, 0.0, 0.0, *map(float, scores.values())),
        normalizer=(ESCAPE_SPACES,),
        unknown_id=0,
        fuse_unknown=True,
    )


PIECES = st.dictionaries(st.text("ab▁", min_size=2, max_size=4), st.integers(-5, 0), max_size=12)


@given(PIECES, st.text("ab▁", max_size=20))
def test_words_one_by_one_equal_the_whole_text(scores, text):
    vocabulary = scored(scores)  # b, and every byte, is unknown
    encoder = WordEncoder(vocabulary)
    cut = cut_words(text, word_boundary(encoder.ids))
    assert "".join(cut) == text
    whole = list(encoder.encode_word(text))
    assert encoder(cut) == whole == Tokenizer(vocabulary).encode(text)


def test_a_token_with_a_space_after_a_letter_prevents_the_cut():
    boundary = word_boundary(["▁", "a", "b", "a▁b"])
    assert cut_words("▁a▁b▁a", boundary) == ["▁a▁b", "▁a"]


# What nothing spells.


def test_bytes_stand_in_for_what_has_no_token(vocabularies):
    llama = vocabularies["llama-spm"]
    assert [llama.token_text(id) for id in llama.encode("☃")[2:]] == ["<0xE2>", "<0x98>", "<0x83>"]


def test_unknown_characters_are_fused_or_not():
    v = Vocabulary(
        alphabet="characters",
        merge_by="score",
        tokens=("<unk>", "a"),
        types=(U, N),
        scores=(0.0, 0.0),
        unknown_id=0,
    )
    assert Tokenizer(v).encode("aéèa") == [1, 0, 0, 1]
    assert Tokenizer(replace(v, fuse_unknown=True)).encode("aéèa") == [1, 0, 1]
    with pytest.raises(InputError, match="no tokens of this vocabulary spell 'é'"):
        Tokenizer(replace(v, unknown_id=None)).encode("é")


def test_an_unspellable_byte_never_becomes_a_control_token(vocabularies):
    """StarCoder names its end-of-text token as the unknown one, and has no token for 0xF1."""
    starcoder = vocabularies["starcoder"]
    assert starcoder.vocabulary.unknown_id == starcoder.eos_id
    assert starcoder.eos_id not in starcoder.encode("\U00040000")


def test_words_are_remembered_within_bounds():
    encoded = []
    memory = Memory(lambda word: encoded.append(word) or [len(word)])
    memory.CAPACITY, memory.LONGEST = 3, 4
    for word in ["a", "a", "long word", "long word", "b", "c", "d", "a"]:
        assert memory[word] == (len(word),)
        assert len(memory) <= 3
    assert encoded == ["a", "long word", "long word", "b", "c", "d", "a"]


@pytest.mark.parametrize("half", ["\ud83d", "a\udc00b"])
def test_half_a_surrogate_pair_is_an_error(vocabularies, half):
    with pytest.raises(InputError, match="unpaired surrogate"):
        vocabularies["gpt-2"].encode(half)


def test_an_id_outside_the_vocabulary_is_an_error(vocabularies):
    for id in (-1, vocabularies["gpt-2"].vocab_size):
        for use in ("token_bytes", "token_text", "is_special"):
            with pytest.raises(InputError, match="there is no token"):
                getattr(vocabularies["gpt-2"], use)(id)


# Markers.


def marked(markers: dict[str, int], **flags) -> Tokenizer:
    tokens = ("a", "b", " ", *markers)
    v = Vocabulary(
        alphabet="characters",
        merge_by="rank",
        tokens=tokens,
        types=(N, N, N, *markers.values()),
        unknown_id=0,
        **flags,
    )
    return Tokenizer(v)


def test_of_markers_at_one_place_the_longest_is_taken():
    t = marked({"<x": C, "<x>": C, "x>": C})
    assert t.specials.split("a<x>b") == ["a", 4, "b"]
    assert t.specials.split("<x><x") == [4, 3]


def test_user_defined_tokens_are_found_in_plain_text_too():
    t = marked({"<c>": C, "<d>": D})
    assert t.specials.split("<c><d>", parse_special=True) == [3, 4]
    assert t.specials.split("<c><d>", parse_special=False) == ["<c>", 4]


def test_markers_swallow_white_space():
    t = marked({"<l>": C, "<r>": C}, lstrip=frozenset({3}), rstrip=frozenset({4}))
    assert t.specials.split("a \u3000<l> b") == ["a", 3, " b"]
    assert t.specials.split("a <r> \n\u00a0b") == ["a ", 4, "b"]
    assert t.specials.split(" <l><r> ") == [3, 4]


def test_whole_word_markers():
    t = marked({"ab": D}, whole_word=frozenset({3}))
    assert t.specials.split("ab aab (ab)") == [3, " aab (", 3, ")"]


def test_text_is_never_merged_into_a_marker():
    """In llama.cpp the plain text `</s>` becomes the end-of-sequence token here."""
    tokens = ("<unk>", "<s>", "</s>", "<", "/", "s", ">", "</", "s>")
    v = Vocabulary(
        alphabet="characters",
        merge_by="score",
        tokens=tokens,
        types=(U, C, C, *[N] * 6),
        scores=(0.0,) * 9,
    )
    ranked = replace(v, merge_by="rank", merges=("< /", "s >", "</ s>"), scores=())
    for vocabulary in (v, ranked):
        ids = Tokenizer(vocabulary).encode("</s>", parse_special=False)
        assert [tokens[id] for id in ids] == ["</", "s>"]
        assert Tokenizer(vocabulary).encode("</s>") == [2]


# The space in front.


@pytest.mark.parametrize(
    ("rule", "pieces"),
    [
        ("never", ["a", SPACE, "b", "<c>", SPACE, "a"]),
        ("always", [SPACE, "a", SPACE, "b", "<c>", SPACE, SPACE, "a"]),
        ("unless_space", [SPACE, "a", SPACE, "b", "<c>", SPACE, "a"]),
        ("at_start", [SPACE, "a", SPACE, "b", "<c>", SPACE, "a"]),
    ],
)
def test_where_a_space_is_put_in_front(rule, pieces):
    v = Vocabulary(
        alphabet="characters",
        merge_by="rank",
        tokens=(SPACE, "a", "b", "<c>"),
        types=(N, N, N, C),
        normalizer=(ESCAPE_SPACES,),
        space_prefix=rule,
    )
    tokenizer = Tokenizer(v)
    ids = tokenizer.encode("a b<c> a")
    assert [tokenizer.token_text(id) for id in ids] == pieces
    assert tokenizer.decode(ids) == ("a b<c>  a" if rule == "always" else "a b<c> a")
