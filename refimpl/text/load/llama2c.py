"""llama2.c's tokenizer file: a list of pieces and their scores, and nothing else.

    int32   length of the longest piece
    then for each token: float32 score, int32 length, that many bytes of UTF-8

How many tokens there are is written in the model's file, so it has to be given.  The first three
are the unknown token, BOS and EOS, the next 256 are the bytes if there is room for them, and a
space is written as a space.

Source: Karpathy, llama2.c, `tokenizer.py` (`export`) and `run.c` (`build_tokenizer`, `encode`).
"""

import struct
from collections.abc import Iterator
from pathlib import Path

from refimpl.text.ending import end_of_generation
from refimpl.text.errors import TokenizerError
from refimpl.text.tokenizer import Tokenizer
from refimpl.text.vocabulary import BYTE_TOKEN, ESCAPE_SPACES, SPACE, TokenType, Vocabulary, named

MARKERS = ("<unk>", "<s>", "</s>")
MARKER_TYPES = (TokenType.UNKNOWN, TokenType.CONTROL, TokenType.CONTROL)


def tokenizer_from_llama2c(path_to_tok_bin: Path, vocab_size: int) -> Tokenizer:
    """The tokenizer of a llama2.c model with that many tokens."""
    path = Path(path_to_tok_bin)
    pieces = read_pieces(path, vocab_size)
    texts = named([*MARKERS, *(text.replace(" ", SPACE) for text, _ in pieces[3:])])
    types = [TokenType.BYTE if BYTE_TOKEN.fullmatch(t) else TokenType.NORMAL for t in texts[3:]]
    vocabulary = Vocabulary(
        alphabet="characters",
        merge_by="score",
        tokens=texts,
        types=(*MARKER_TYPES, *types),
        scores=tuple(score for _, score in pieces),
        normalizer=(ESCAPE_SPACES,),
        space_prefix="always",
        fuse_unknown=True,
        unknown_id=0,
        bos_id=1,
        eos_id=2,
        add_bos=True,
        eog_ids=end_of_generation(dict(zip(texts, range(len(texts)), strict=True)), [2]),
    )
    return Tokenizer(vocabulary)


def read_pieces(path: Path, vocab_size: int) -> list[tuple[str, float]]:
    """Every piece and its score; the file must hold exactly that many."""
    size = path.stat().st_size
    if not len(MARKERS) <= vocab_size <= (size - 4) // 8:
        raise TokenizerError(f"{path} has {size} bytes, which cannot be {vocab_size} tokens")
    data = path.read_bytes()
    pieces = list(pieces_of(data, vocab_size, path))
    used = 4 + sum(8 + len(text.encode()) for text, _ in pieces)
    if used != len(data):
        raise TokenizerError(
            f"{path} holds more than {vocab_size} tokens: {len(data) - used} bytes"
        )
    return pieces


def pieces_of(data: bytes, vocab_size: int, path: Path) -> Iterator[tuple[str, float]]:
    offset = 4
    for id in range(vocab_size):
        if offset + 8 > len(data):
            raise TokenizerError(f"{path} ends before token {id} of {vocab_size}")
        score, length = struct.unpack_from("<fi", data, offset)
        offset += 8
        if not 0 <= length <= len(data) - offset:
            raise TokenizerError(f"{path}: token {id} claims to be {length} bytes long")
        yield decoded(data[offset : offset + length], id, path), score
        offset += length


def decoded(piece: bytes, id: int, path: Path) -> str:
    try:
        return piece.decode()
    except UnicodeDecodeError:
        raise TokenizerError(f"{path}: token {id} is not UTF-8: {piece[:20]!r}") from None
