"""What a tokenizer's file says: its tokens, and the rules for using them.  Data only.

The four kinds of file (GGUF, tokenizer.json, sentencepiece .model, llama2.c tok.bin) all come down
to this one record; `refimpl.text.load` fills it in and `refimpl.text.tokenizer` acts on it.  Two
tokenizers are equal when their vocabularies are.

Two choices make the families:

- `alphabet`: tokens spell "bytes" (GPT-2, Llama 3, Qwen: see `refimpl.text.alphabet`), or
  "characters", with the space written U+2581 and single bytes written `<0x41>` for what no token
  spells (Llama 2, Gemma);
- `merge_by`: the "rank" of a pair in the list of merges, or the "score" of the merged token.

Glossary: a *control* token (`<s>`, `<|im_end|>`) marks structure and is never made from ordinary
text; a *user-defined* one (`<tool_call>`) is ordinary text that is always one token.

Sources: GGUF specification, "Tokenizer" (ggml/docs/gguf.md); token types as in sentencepiece's
`ModelProto.SentencePiece.Type`.

>>> letters = Vocabulary(alphabet="characters", merge_by="score", tokens=("<s>", "a", "b"),
...                      types=(3, 1, 1), scores=(0.0, -1.0, -2.0), bos_id=0)
>>> letters.ids["b"], letters.texts_of(TokenType.CONTROL)
(2, {'<s>': 0})
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import Literal

from refimpl.text.errors import TokenizerError
from refimpl.text.splitting import Split

SPACE = "▁"
"""U+2581, LOWER ONE EIGHTH BLOCK: how a vocabulary of characters writes a space."""
ESCAPE_SPACES = ("replace", " ", SPACE)


class TokenType(IntEnum):
    """The numbers are those of GGUF and sentencepiece."""

    UNDEFINED = 0
    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


LONGEST_MARKER = 256
BYTE_TOKEN = re.compile("<0x[0-9A-F]{2}>")

SpacePrefix = Literal["never", "always", "unless_space", "at_start"]
"""Which stretches of text between special tokens get a space in front: all of them ("always"),
those that do not begin with one ("unless_space"), or of those only what begins the text
("at_start")."""


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """Everything a file says.  Loaders fill it in; making one checks it (`faults`).

    `merges`: two tokens each, with a space between them, the pair learnt first coming first.
    `lstrip`, `rstrip`: special tokens that swallow the white space on their left, right.
    `whole_word`: special tokens that count only where no letter or digit touches them.
    """

    alphabet: Literal["bytes", "characters"]
    merge_by: Literal["rank", "score"]
    tokens: tuple[str, ...]
    types: tuple[int, ...]
    scores: tuple[float, ...] = ()
    merges: tuple[str, ...] = ()

    pre: str = ""
    splits: tuple[Split, ...] = ()
    normalizer: tuple[tuple[str, ...], ...] = ()
    space_prefix: SpacePrefix = "never"
    ignore_merges: bool = False
    fuse_unknown: bool = False

    bos_id: int | None = None
    eos_id: int | None = None
    unknown_id: int | None = None
    padding_id: int | None = None
    eog_ids: frozenset[int] = frozenset()
    add_bos: bool = False
    add_eos: bool = False

    lstrip: frozenset[int] = frozenset()
    rstrip: frozenset[int] = frozenset()
    whole_word: frozenset[int] = frozenset()
    chat_template: str | None = None

    def __post_init__(self) -> None:
        for fault in faults(self):
            raise TokenizerError(f"this tokenizer {fault}")

    @cached_property
    def ids(self) -> dict[str, int]:
        """From a token's text to its number."""
        return dict(zip(self.tokens, range(len(self.tokens)), strict=True))

    def texts_of(self, *types: TokenType) -> dict[str, int]:
        """The tokens of the given types, text to number."""
        wanted = frozenset(types)
        entries = zip(self.tokens, self.types, range(len(self.tokens)), strict=False)
        return {text: id for text, type, id in entries if type in wanted}


def named(tokens: Sequence[str]) -> tuple[str, ...]:
    """Tokens without a text get one, as in llama.cpp, so that they are not each other's duplicates.

    >>> named(["a", "", ""])
    ('a', '[EMPTY_1]', '[EMPTY_2]')
    """
    return tuple(text or f"[EMPTY_{id}]" for id, text in enumerate(tokens))


def faults(vocabulary: Vocabulary) -> Iterator[str]:
    """What a file may get wrong, each as the end of a sentence; nothing if it is sound."""
    yield from _faults_of_lengths(vocabulary)
    yield from _faults_of_ids(vocabulary)
    yield from _faults_of_merges(vocabulary)


def is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _faults_of_lengths(v: Vocabulary) -> Iterator[str]:
    n = len(v.tokens)
    if n == 0 or "" in v.ids:
        yield "has no tokens" if n == 0 else f"has a token without a text, {v.ids['']}"
    if len(v.ids) != n:
        first = next(text for id, text in enumerate(v.tokens) if v.ids[text] != id)
        yield f"has the token {first!r} twice, as {v.tokens.index(first)} and {v.ids[first]}"
    if len(v.types) != n:
        yield f"has {n} tokens but {len(v.types)} token types"
    if not frozenset(v.types) <= frozenset(TokenType):
        yield f"has token types outside 0..6: {sorted(frozenset(v.types))[:9]}"
    for text in v.texts_of(TokenType.BYTE):
        if not BYTE_TOKEN.fullmatch(text):
            yield f"has the byte token {text[:60]!r}, which is not of the form <0x41>"
    for text in v.texts_of(TokenType.CONTROL, TokenType.UNKNOWN):
        if len(text) > LONGEST_MARKER:
            yield f"has a control token of {len(text)} characters, {text[:60]!r}..."
    if not is_utf8("".join(v.tokens)):
        yield "has a token with half a surrogate pair in it"
    if v.merge_by == "score" and len(v.scores) != n:
        yield f"has {n} tokens but {len(v.scores)} scores"
    if any(score != score for score in v.scores):
        yield "has a score that is not a number"


def _faults_of_ids(v: Vocabulary) -> Iterator[str]:
    named = {"BOS": v.bos_id, "EOS": v.eos_id, "unknown": v.unknown_id, "padding": v.padding_id}
    for name, id in named.items():
        if id is not None and not 0 <= id < len(v.tokens):
            yield f"names {id} as its {name} token, but has only {len(v.tokens)} tokens"
    for id in sorted(v.eog_ids | v.lstrip | v.rstrip | v.whole_word):
        if not 0 <= id < len(v.tokens):
            yield f"describes a token {id}, but has only {len(v.tokens)} tokens"
    if v.add_bos and v.bos_id is None:
        yield "wants a BOS token added but names none"
    if v.add_eos and v.eos_id is None:
        yield "wants an EOS token added but names none"


def _faults_of_merges(v: Vocabulary) -> Iterator[str]:
    """Every merge joins two tokens into a third.  A large file has 280,000, so the loop is
    plain."""
    known = v.ids
    for merge in v.merges:
        left, _, right = merge.partition(" ")
        if not (left in known and right in known and left + right in known):
            yield f"has the merge {merge[:60]!r}, which is not of two tokens into a third"
            return
