"""sentencepiece's `.model` file: a protocol buffer with pieces, scores, and how it was trained.

Only its BPE models (and character models, which are BPE without merges) are read: a unigram model
searches for the likeliest segmentation, which is another algorithm.  Nor is a model read that comes
with a table of character replacements (`nmt_nfkc`): those of language models have none.

Source: `sentencepiece_model.proto`; the numbers below are its field numbers.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from refimpl.errors import UnsupportedError
from refimpl.text.ending import end_of_generation, with_endings_marked
from refimpl.text.errors import TokenizerError
from refimpl.text.load.protobuf import Value, fields
from refimpl.text.tokenizer import Tokenizer
from refimpl.text.vocabulary import ESCAPE_SPACES, SPACE, TokenType, Vocabulary, named

LARGEST_FILE = 1 << 28
PIECES, TRAINER, NORMALIZER = 1, 2, 3
TEXT, SCORE, TYPE = 1, 2, 3
MODEL_TYPE, WHITESPACE_AS_SUFFIX, UNK_ID, BOS_ID, EOS_ID, PAD_ID = 3, 24, 40, 41, 42, 43
CHARSMAP, ADD_DUMMY_PREFIX, REMOVE_EXTRA_WHITESPACES, ESCAPE_WHITESPACES = 2, 3, 4, 5
UNIGRAM, BPE, CHAR = 1, 2, 4

T = TypeVar("T", int, float, bytes)
Message = dict[int, Value]


@dataclass(frozen=True, kw_only=True)
class Piece:
    text: str
    score: float
    type: int


def tokenizer_from_sentencepiece(path_to_model: Path) -> Tokenizer:
    """The tokenizer of a sentencepiece model, with BOS added as language models use it."""
    path = Path(path_to_model)
    if path.stat().st_size > LARGEST_FILE:
        raise TokenizerError(f"{path} is larger than {LARGEST_FILE >> 20} MiB; is it what it says?")
    return Tokenizer(vocabulary_from_sentencepiece(path.read_bytes()))


def vocabulary_from_sentencepiece(data: bytes) -> Vocabulary:
    model = list(fields(data))
    pieces = [piece(value) for number, value in model if number == PIECES]
    trainer = message(value for number, value in model if number == TRAINER)
    normalizer = message(value for number, value in model if number == NORMALIZER)
    check_supported(trainer, normalizer)
    texts = named([piece.text for piece in pieces])
    ids = {text: id for id, text in enumerate(texts)}
    bos, eos = marker_id(trainer, BOS_ID, 1), marker_id(trainer, EOS_ID, 2)
    squeezes = get(normalizer, REMOVE_EXTRA_WHITESPACES, 1)
    escapes = get(normalizer, ESCAPE_WHITESPACES, 1)
    return Vocabulary(
        alphabet="characters",
        merge_by="score",
        tokens=texts,
        types=with_endings_marked(texts, [piece.type for piece in pieces]),
        scores=tuple(piece.score for piece in pieces),
        normalizer=(("squeeze",),) * bool(squeezes) + (ESCAPE_SPACES,) * bool(escapes),
        space_prefix="always" if get(normalizer, ADD_DUMMY_PREFIX, 1) else "never",
        fuse_unknown=True,
        unknown_id=marker_id(trainer, UNK_ID, 0),
        bos_id=bos,
        eos_id=eos,
        padding_id=marker_id(trainer, PAD_ID, -1),
        eog_ids=end_of_generation(ids, [eos]),
        add_bos=bos is not None,
    )


def piece(value: Value) -> Piece:
    """Spaces in a user-defined piece are spaces: it is looked for in the text as it is."""
    given = message([value])
    type = get(given, TYPE, TokenType.NORMAL.value)
    try:
        text = get(given, TEXT, b"").decode()
    except UnicodeDecodeError:
        raise TokenizerError(f"a piece is not UTF-8: {get(given, TEXT, b'')[:20]!r}") from None
    if type == TokenType.USER_DEFINED:
        text = text.replace(SPACE, " ")
    return Piece(text=text, score=get(given, SCORE, 0.0), type=type)


def message(parts: Iterable[Value]) -> Message:
    """The fields of a message, of which the last of each number counts; parts of one are joined."""
    joined: Message = {}
    for part in parts:
        if not isinstance(part, bytes):
            raise TokenizerError("the sentencepiece model has a number where a message belongs")
        joined |= dict(fields(part))
    return joined


def get(given: Message, number: int, default: T) -> T:
    """A field, which must be of the type of its default."""
    value = given.get(number, default)
    if not isinstance(value, type(default)):
        raise TokenizerError(f"field {number} of the sentencepiece model has the wrong type")
    return value


def marker_id(trainer: Message, number: int, default: int) -> int | None:
    """An int32, of which -1 (written as a 64-bit varint) means that there is no such token."""
    value = get(trainer, number, default)
    return None if value < 0 or value >> 31 else value


def check_supported(trainer: Message, normalizer: Message) -> None:
    kind = get(trainer, MODEL_TYPE, UNIGRAM)
    if kind not in (BPE, CHAR):
        raise UnsupportedError(
            f"sentencepiece model type {kind}; this project reads {BPE} (BPE) and {CHAR} (CHAR)"
        )
    if get(normalizer, CHARSMAP, b""):
        raise UnsupportedError("a sentencepiece model with a table of character replacements")
    if get(trainer, WHITESPACE_AS_SUFFIX, 0):
        raise UnsupportedError("a sentencepiece model that writes the space after a word")
