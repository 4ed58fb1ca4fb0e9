"""Text to token ids and back: the class everything else uses.

Encoding is four steps, each in a file of its own: find the markers (`specials`), normalise what
lies between them (`normalizing`), cut that into words (`splitting`, or `spm.cut_words`), and encode
each word (`words`).  Decoding joins the tokens' bytes and reads them as UTF-8.

Invariants: `token_bytes` is a homomorphism, decode_bytes(a + b) = decode_bytes(a) +
decode_bytes(b); and where the vocabulary spells every byte and normalises nothing,
decode(encode(text)) = text.

>>> from refimpl.text.vocabulary import Vocabulary
>>> t = Tokenizer(Vocabulary(alphabet="bytes", merge_by="rank", tokens=("<s>", "Ġ", "a", "b", "Ġa"),
...                          types=(3, 1, 1, 1, 1), merges=("Ġ a",), bos_id=0, add_bos=True))
>>> t.encode("b a")
[0, 3, 4]
>>> t.decode([0, 3, 4], skip_special=True), t.token_bytes(4)
('b a', b' a')
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from re import Pattern

from refimpl.errors import InputError, UnsupportedError
from refimpl.text.alphabet import unspell
from refimpl.text.chat import ChatTemplate
from refimpl.text.defusing import Defuser, reveal
from refimpl.text.normalizing import normalize
from refimpl.text.specials import Specials
from refimpl.text.splitting import Cutter
from refimpl.text.spm import cut_words, word_boundary
from refimpl.text.vocabulary import ESCAPE_SPACES, SPACE, TokenType, Vocabulary
from refimpl.text.words import WordEncoder


class Tokenizer:
    """Made from a `Vocabulary` by one of the loaders in `refimpl.text.load`."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.vocab_size = len(vocabulary.tokens)
        self.bos_id = vocabulary.bos_id
        self.eos_id = vocabulary.eos_id
        self.eog_ids = vocabulary.eog_ids
        self.chat_template = vocabulary.chat_template

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tokenizer) and self.vocabulary == other.vocabulary

    def __hash__(self) -> int:
        return hash((self.vocab_size, self.bos_id, self.eos_id, self.eog_ids))

    # Text to ids.

    def encode(
        self, text: str, *, add_special: bool = True, parse_special: bool = True
    ) -> list[int]:
        """The ids of a text.  `add_special` adds BOS and EOS where the file says so; with
        `parse_special` off, a marker in the text is only characters."""
        require_utf8(text)
        ids = self.encode_fragments(self.specials.split(text, parse_special=parse_special))
        return self.with_ends(ids) if add_special else ids

    def with_ends(self, ids: list[int]) -> list[int]:
        """Add BOS and EOS by the file's rules."""
        bos = [self.vocabulary.bos_id] if self.vocabulary.add_bos else []
        eos = [self.vocabulary.eos_id] if self.vocabulary.add_eos else []
        return [id for id in (*bos, *ids, *eos) if id is not None]

    def encode_fragments(self, fragments: Iterable[str | int]) -> list[int]:
        """Markers are ids already; each stretch of text between them is encoded by itself."""
        ids: list[int] = []
        for place, fragment in enumerate(fragments):
            if isinstance(fragment, int):
                ids.append(fragment)
            else:
                ids += self.word_encoder(self.words(fragment, at_start=place == 0))
        return ids

    def words(self, text: str, *, at_start: bool) -> list[str]:
        """Ordinary text, normalised, with its space in front if it gets one, and cut."""
        text = self.prefixed(normalize(text, self.vocabulary.normalizer), at_start=at_start)
        if self.boundary is not None:
            return cut_words(text, self.boundary)
        return self.cutter(text)

    def prefixed(self, text: str, *, at_start: bool) -> str:
        """A space in front makes a word at the start of a text the same token as inside it."""
        rule = self.vocabulary.space_prefix
        space = SPACE if self.escapes_spaces else " "
        if not text or rule == "never" or (rule == "at_start" and not at_start):
            return text
        return text if rule != "always" and text.startswith(space) else space + text

    # Ids to text.

    def decode(self, ids: Sequence[int], *, skip_special: bool = False) -> str:
        """The text of ids; what is not UTF-8 becomes U+FFFD.  The space that encoding put in front
        of the text is taken away again."""
        data = b"".join(self.visible_bytes(ids, skip_special=skip_special))
        return data.removeprefix(self.leading_space).decode("utf-8", errors="replace")

    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        """The bytes of the ids, nothing added and nothing taken away."""
        return b"".join(map(self.token_bytes, ids))

    def visible_bytes(self, ids: Iterable[int], *, skip_special: bool) -> Iterator[bytes]:
        return (self.token_bytes(id) for id in ids if not (skip_special and self.is_special(id)))

    @property
    def leading_space(self) -> bytes:
        """What decoding removes from the very start of a text."""
        prefixed = self.vocabulary.space_prefix != "never"
        return b" " if prefixed and self.vocabulary.alphabet == "characters" else b""

    def token_bytes(self, id: int) -> bytes:
        """The bytes that a token stands for.  A marker stands for its text."""
        text, type = self.token_text(id), self.vocabulary.types[id]
        match type:
            case TokenType.CONTROL | TokenType.UNKNOWN:
                return text.encode()
            case TokenType.UNUSED:
                return b""
            case TokenType.BYTE:
                return bytes([int(text[3:5], 16)])
        if self.vocabulary.alphabet == "bytes":
            spelt = unspell(text) if type != TokenType.USER_DEFINED else None
            return text.encode() if spelt is None else spelt
        return (text.replace(SPACE, " ") if self.escapes_spaces else text).encode()

    @cached_property
    def escapes_spaces(self) -> bool:
        return ESCAPE_SPACES in self.vocabulary.normalizer

    def token_text(self, id: int) -> str:
        """The piece as the vocabulary writes it."""
        if not 0 <= id < self.vocab_size:
            raise InputError(f"there is no token {id}: this vocabulary has {self.vocab_size}")
        return self.vocabulary.tokens[id]

    def is_special(self, id: int) -> bool:
        """Is this a marker, which is not part of the text (control and unknown tokens)?"""
        self.token_text(id)
        return self.vocabulary.types[id] in (TokenType.CONTROL, TokenType.UNKNOWN)

    # Conversations.

    def encode_chat(
        self,
        messages: Sequence[Mapping[str, object]],
        *,
        add_generation_prompt: bool = True,
        clock: Callable[[], datetime] | None = None,
        **variables: object,
    ) -> list[int]:
        """The ids of a conversation in the model's own template, with at most one BOS.  Only the
        template makes markers: what looks like one in a message is ordinary text."""
        hidden: list[str] = []
        text = self.chat(clock).render(
            self.defuser.hide(messages, hidden),
            add_generation_prompt,
            **self.defuser.hide(variables, hidden),
        )
        require_utf8(text)
        ids = self.encode_fragments(self.revealed(self.specials.split(text), hidden))
        if self.vocabulary.add_bos and self.bos_id is not None and ids[:1] != [self.bos_id]:
            return [self.bos_id, *ids]
        return ids

    def revealed(self, fragments: Iterable[str | int], hidden: list[str]) -> Iterator[str | int]:
        """Stand-ins become ordinary text again, now that the template's markers are cut out."""
        for fragment in fragments:
            if isinstance(fragment, int):
                yield fragment
            else:
                yield from self.specials.split(reveal(fragment, hidden), parse_special=False)

    def chat(self, clock: Callable[[], datetime] | None = None) -> ChatTemplate:
        """The model's chat template, which not every model has."""
        if self.chat_template is None:
            raise UnsupportedError(
                "this model's file carries no chat template; pass the prompt as plain text"
            )
        template = self.compiled_chat
        return template if clock is None else template.at(clock)

    @cached_property
    def compiled_chat(self) -> ChatTemplate:
        bos, eos = ("" if id is None else self.token_text(id) for id in (self.bos_id, self.eos_id))
        return ChatTemplate(self.chat_template or "", bos, eos)

    # Made when first needed: a tokenizer that only decodes needs none of them.

    @cached_property
    def specials(self) -> Specials:
        return Specials(self.vocabulary)

    @cached_property
    def defuser(self) -> Defuser:
        return Defuser(self.specials.control)

    @cached_property
    def word_encoder(self) -> WordEncoder:
        return WordEncoder(self.vocabulary)

    @cached_property
    def cutter(self) -> Cutter:
        return Cutter(self.vocabulary.splits)

    @cached_property
    def boundary(self) -> Pattern[str] | None:
        """Where a vocabulary of characters, which cuts nowhere by rule, may be cut all the same."""
        v = self.vocabulary
        cuttable = v.alphabet == "characters" and not v.splits and not v.ignore_merges
        known = self.word_encoder.ids
        return word_boundary(known) if cuttable and SPACE in known else None


def require_utf8(text: str) -> None:
    """Half a surrogate pair is no character, and no tokenizer has ids for it."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"the text has an unpaired surrogate, U+{ord(text[error.start]):04X}, at character "
            f"{error.start}; decode your input as UTF-8"
        ) from None
