"""From a word to its token ids: merge, look up, and spell out what is no token.

What no token covers is spelt byte by byte (`<0xE6>`) or becomes the unknown token.

>>> v = Vocabulary(alphabet="characters", merge_by="score", fuse_unknown=True, unknown_id=0,
...                tokens=("<unk>", "a", "b", "ab"), types=(2, 1, 1, 1), scores=(0.0,) * 4)
>>> WordEncoder(v)(["ab", "aéè"])
[3, 1, 0]
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import chain, groupby

from refimpl.errors import InputError
from refimpl.text.alphabet import spell
from refimpl.text.bpe import cost_by_rank
from refimpl.text.memory import Memory
from refimpl.text.merging import Cost, merge
from refimpl.text.spm import cost_by_score
from refimpl.text.vocabulary import TokenType, Vocabulary

MARKERS = (TokenType.CONTROL, TokenType.UNKNOWN, TokenType.UNUSED, TokenType.BYTE)
"""Types that text never becomes by its spelling; `refimpl.text.specials` is where markers come
from."""


class WordEncoder:
    """Called with words, gives the ids of their tokens, all in one list."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.cost: Cost = COSTS[vocabulary.merge_by](vocabulary)
        self.ids = dict(vocabulary.ids)
        for marker in vocabulary.texts_of(*MARKERS):
            del self.ids[marker]
        bytes_ = vocabulary.texts_of(TokenType.BYTE)
        self.byte_ids = [bytes_.get(f"<0x{byte:02X}>") for byte in range(256)]
        self.memory: Memory[int] = Memory(self.encode_word)

    def __call__(self, words: Iterable[str]) -> list[int]:
        return list(chain.from_iterable(map(self.memory.__getitem__, words)))

    def encode_word(self, word: str) -> Iterable[int]:
        spelt = spell(word.encode()) if self.vocabulary.alphabet == "bytes" else word
        if self.vocabulary.ignore_merges and spelt in self.ids:
            return [self.ids[spelt]]
        pieces = merge(spelt, self.cost)
        ids = chain.from_iterable(map(self.encode_piece, pieces))
        return self.fused(ids) if self.vocabulary.fuse_unknown else ids

    def encode_piece(self, piece: str) -> list[int]:
        """A piece that is no token is a single character, since merging only makes tokens."""
        if piece in self.ids:
            return [self.ids[piece]]
        by_bytes = [id for byte in piece.encode() if (id := self.byte_ids[byte]) is not None]
        if len(by_bytes) == len(piece.encode()):
            return by_bytes
        return self.encode_unknown(piece)

    def encode_unknown(self, piece: str) -> list[int]:
        """What nothing spells is the unknown token.  A vocabulary of bytes rarely has one; some
        lack a byte that no text they were trained on has (Falcon: the vertical tab), and then the
        byte is dropped.  So do llama.cpp and tokenizers; the model never saw it either."""
        unknown, types = self.vocabulary.unknown_id, self.vocabulary.types
        in_bytes = self.vocabulary.alphabet == "bytes"
        if unknown is not None and not (in_bytes and types[unknown] != TokenType.UNKNOWN):
            return [unknown]
        if in_bytes:
            return []
        raise InputError(
            f"no tokens of this vocabulary spell {piece!r}, and it has none for unknown"
        )

    def fused(self, ids: Iterable[int]) -> Iterator[int]:
        """A run of unknown characters is one unknown token."""
        for id, run in groupby(ids):
            if id == self.vocabulary.unknown_id:
                yield id
            else:
                yield from run


COSTS: dict[str, Callable[[Vocabulary], Cost]] = {"rank": cost_by_rank, "score": cost_by_score}
