"""Tokenizers in GGUF metadata: reading them as llama.cpp does, and writing them.

`tokenizer.ggml.model` names the family:  "gpt2" is byte-level BPE, cutting words by the rule that
`tokenizer.ggml.pre` names; "llama" is SentencePiece with scores.  What the file leaves out,
llama.cpp fills in by family, and so does this, with two exceptions.  A "gpt2" file that names no
BOS and EOS has none here, while llama.cpp takes token 11.  And an id outside the vocabulary is an
error here, while llama.cpp warns and takes the default.

tokenizer.json can say things that GGUF has no key for (a normaliser, an expression of its own for
cutting words).  They are written under one key of ours, as JSON, and only where they differ from
what the other metadata says (`extension`); other engines read the file without them.

Sources: GGUF specification, "Tokenizer"; llama.cpp `llama_vocab::impl::load`.

>>> t = tokenizer_from_gguf({"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "gpt-2",
...                          "tokenizer.ggml.tokens": ["h", "i", "hi"],
...                          "tokenizer.ggml.merges": ["h i"]})
>>> t.encode("hi"), tokenizer_from_gguf(tokenizer_to_gguf(t)) == t
([2], True)
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from refimpl.errors import UnsupportedError
from refimpl.text.ending import end_of_generation, with_endings_marked
from refimpl.text.errors import TokenizerError
from refimpl.text.load.extension import difference, parse, with_types
from refimpl.text.load.fields import Fields
from refimpl.text.pretokenizers import pretokenizer
from refimpl.text.tokenizer import Tokenizer
from refimpl.text.vocabulary import BYTE_TOKEN, ESCAPE_SPACES, TokenType, Vocabulary, named

PREFIX = "tokenizer."
EXTENSION = "refimpl.tokenizer"


def tokenizer_from_gguf(metadata: Mapping[str, object]) -> Tokenizer:
    """The tokenizer of a GGUF file, from its metadata."""
    return Tokenizer(vocabulary_from_gguf(metadata))


def vocabulary_from_gguf(metadata: Mapping[str, object]) -> Vocabulary:
    fields = Fields(metadata, prefix=PREFIX)
    family = fields.text("ggml.model")
    if family not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise UnsupportedError(f"tokenizer.ggml.model is {family!r}; this project reads {known}")
    extra = parse(Fields(metadata).text(EXTENSION) or "{}")
    said = common(fields)
    said |= FAMILIES[family](fields, len(said["tokens"]))
    extra["types"] = with_types(said["types"], extra.get("types", {}))
    said |= extra
    if said["merge_by"] == "rank":
        said |= {"merges": tuple(fields.texts("ggml.merges")), "scores": ()}
    if "eog_ids" not in extra:
        said["eog_ids"] = ending_ids(fields, said)
    if "rstrip" not in extra and is_phi3(Fields(metadata).text("general.name")):
        said["rstrip"] = phi3_rstrip(said["tokens"], said["types"])
    return Vocabulary(**said)


def common(fields: Fields) -> dict[str, Any]:
    """What all families share."""
    tokens = named(fields.texts("ggml.tokens"))
    return {
        "tokens": tokens,
        "types": types_of(fields, tokens),
        "bos_id": fields.integer("ggml.bos_token_id"),
        "eos_id": fields.integer("ggml.eos_token_id"),
        "unknown_id": fields.integer("ggml.unknown_token_id"),
        "padding_id": fields.integer("ggml.padding_token_id"),
        "add_bos": bool(fields.flag("ggml.add_bos_token")),
        "add_eos": bool(fields.flag("ggml.add_eos_token")),
        "chat_template": fields.text("chat_template"),
    }


def gpt2(fields: Fields, n_tokens: int) -> dict[str, Any]:
    """Byte-level BPE."""
    if "ggml.merges" not in fields:
        raise TokenizerError("this tokenizer is byte-level BPE, and its list of merges is missing")
    pre = fields.text("ggml.pre") or "default"
    rule = pretokenizer(pre)
    add_bos = fields.flag("ggml.add_bos_token")
    return {
        "alphabet": "bytes",
        "merge_by": "rank",
        "pre": pre,
        "splits": rule.splits,
        "ignore_merges": rule.ignore_merges,
        "add_bos": rule.add_bos if add_bos is None else add_bos,
    }


def llama(fields: Fields, n_tokens: int) -> dict[str, Any]:
    """SentencePiece.  Where the file names no markers they are Llama's own."""
    squeeze = (("squeeze",),) if fields.flag("ggml.remove_extra_whitespaces") else ()
    return {
        "alphabet": "characters",
        "merge_by": "score",
        "scores": tuple(fields.numbers("ggml.scores")),
        "normalizer": (*squeeze, ESCAPE_SPACES),
        "fuse_unknown": True,
        "space_prefix": "never" if fields.flag("ggml.add_space_prefix") is False else "always",
        "add_bos": fields.flag("ggml.add_bos_token") is not False,
        "unknown_id": or_default(fields, "unknown", 0, n_tokens),
        "bos_id": or_default(fields, "bos", 1, n_tokens),
        "eos_id": or_default(fields, "eos", 2, n_tokens),
    }


FAMILIES = {"gpt2": gpt2, "llama": llama}


def or_default(fields: Fields, marker: str, default: int, n_tokens: int) -> int | None:
    """The id the file gives a marker, or else the default if there is such a token."""
    id = fields.integer(f"ggml.{marker}_token_id")
    return default if id is None and default < n_tokens else id


def types_of(fields: Fields, tokens: Sequence[str]) -> tuple[int, ...]:
    if "ggml.token_type" in fields:
        return with_endings_marked(tokens, fields.integers("ggml.token_type"))
    types = [TokenType.BYTE if BYTE_TOKEN.fullmatch(t) else TokenType.NORMAL for t in tokens]
    return with_endings_marked(tokens, types)


def ending_ids(fields: Fields, said: Mapping[str, Any]) -> frozenset[int]:
    named_ids = [fields.integer(f"ggml.{name}_token_id") for name in ("eot", "eom")]
    named_ids += [fields.integer(f"ggml.fim_{name}_token_id") for name in ("pad", "rep", "sep")]
    ids = {text: id for id, text in enumerate(said["tokens"])}
    return end_of_generation(ids, [said["eos_id"], *named_ids])


def is_phi3(name: str | None) -> bool:
    return name is not None and re.search("phi-?3", name.lower()) is not None


def phi3_rstrip(tokens: Sequence[str], types: Sequence[int]) -> frozenset[int]:
    """GGUF cannot say that Phi-3's markers swallow the white space after them; llama.cpp knows it
    from the model's name."""
    plain = ("<unk>", "<s>", "<|endoftext|>")
    markers = (TokenType.CONTROL, TokenType.UNKNOWN, TokenType.USER_DEFINED)
    return frozenset(
        id
        for id, (text, type) in enumerate(zip(tokens, types, strict=False))
        if text not in plain and (type in markers or text == "</s>")
    )


def tokenizer_to_gguf(tokenizer: Tokenizer) -> dict[str, object]:
    """Metadata from which `tokenizer_from_gguf` makes an equal tokenizer."""
    import numpy as np

    v = tokenizer.vocabulary
    metadata: dict[str, object] = {
        f"{PREFIX}ggml.model": "gpt2" if v.alphabet == "bytes" else "llama",
        f"{PREFIX}ggml.pre": v.pre or "default",
        f"{PREFIX}ggml.tokens": list(v.tokens),
        f"{PREFIX}ggml.token_type": np.array(v.types, np.int32),
        f"{PREFIX}ggml.add_bos_token": v.add_bos,
        f"{PREFIX}ggml.add_eos_token": v.add_eos,
    }
    for name, id in (
        ("bos", v.bos_id),
        ("eos", v.eos_id),
        ("unknown", v.unknown_id),
        ("padding", v.padding_id),
    ):
        if id is not None:
            metadata[f"{PREFIX}ggml.{name}_token_id"] = id
    if v.chat_template is not None:
        metadata[f"{PREFIX}chat_template"] = v.chat_template
    if v.merge_by == "rank":
        metadata[f"{PREFIX}ggml.merges"] = list(v.merges)
    if v.alphabet == "characters":
        metadata[f"{PREFIX}ggml.scores"] = np.array(v.scores or scores_by_rank(v), np.float32)
        metadata[f"{PREFIX}ggml.add_space_prefix"] = v.space_prefix != "never"
        metadata[f"{PREFIX}ggml.remove_extra_whitespaces"] = ("squeeze",) in v.normalizer
    return metadata | extension_of(metadata, v)


def extension_of(metadata: Mapping[str, object], vocabulary: Vocabulary) -> dict[str, object]:
    """What the metadata so far does not say, under our own key."""
    extra = difference(vocabulary_from_gguf(metadata), vocabulary)
    return {} if extra is None else {EXTENSION: extra}


def scores_by_rank(vocabulary: Vocabulary) -> list[float]:
    """For engines that go by scores: minus the rank of the first merge that makes a token.  Close
    to the merges themselves, not the same; this project reads the merges."""
    ranks: dict[str, int] = {}
    for rank, merge in enumerate(vocabulary.merges):
        ranks.setdefault(merge.replace(" ", "", 1), rank)
    return [-float(ranks.get(text, 0)) for text in vocabulary.tokens]
