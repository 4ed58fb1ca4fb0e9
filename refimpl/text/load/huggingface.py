"""Tokenizers in a Hugging Face directory: tokenizer.json and the small files around it.

tokenizer.json has the vocabulary and the merges, the steps that prepare text (`pipeline`), and the
markers (`added`); tokenizer_config.json names the special ones and has the chat template;
generation_config.json lists more tokens that end a generation; config.json may say that the model
has more embeddings than the tokenizer has tokens, and the vocabulary is filled up to that.

Only BPE is read, on bytes or on characters; Unigram and WordPiece are other algorithms.  Markers
are matched on the text as it is.  (tokenizer.json can ask for a match after normalising;
transformers overrides that for every marker its configuration names.)

Source: Hugging Face tokenizers, `models/bpe/` and `added_vocabulary.rs`; transformers,
`tokenization_utils_base.py`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from refimpl.errors import UnsupportedError
from refimpl.text.chat import LONGEST_SOURCE
from refimpl.text.ending import end_of_generation
from refimpl.text.errors import TokenizerError
from refimpl.text.load.added import Added, added_tokens, marker_names
from refimpl.text.load.jsonfile import read_json, typed
from refimpl.text.load.pipeline import leaves, read_normalizer, read_pre_tokenizer
from refimpl.text.pretokenizers import ROWS
from refimpl.text.splitting import Split
from refimpl.text.tokenizer import Tokenizer
from refimpl.text.vocabulary import BYTE_TOKEN, ESCAPE_SPACES, TokenType, Vocabulary, named

MOST_FILLED_IN = 1 << 17
Json = dict[str, Any]


def tokenizer_from_hf(directory: Path) -> Tokenizer:
    """The tokenizer of a directory that has a tokenizer.json."""
    return Tokenizer(vocabulary_from_hf(Path(directory)))


def vocabulary_from_hf(directory: Path) -> Vocabulary:
    file = read_json(directory / "tokenizer.json")
    if file is None:
        raise TokenizerError(f"{directory} has no tokenizer.json")
    config = read_json(directory / "tokenizer_config.json") or {}
    model = bpe(file)
    added = added_tokens(file, config)
    tokens = tokens_by_id(model, added, embeddings(directory))
    ids = {text: id for id, text in enumerate(tokens)}
    markers = {token.content: id for id, token in added.items()}
    marked = ends(directory, file, config, ids)
    return Vocabulary(
        merge_by="rank",
        tokens=tokens,
        types=types_of(tokens, added, model),
        merges=merges(model),
        fuse_unknown=typed(model, "fuse_unk", bool, False),
        unknown_id=ids.get(typed(model, "unk_token", str, "")),
        lstrip=frozenset(id for id, token in added.items() if token.lstrip),
        rstrip=frozenset(id for id, token in added.items() if token.rstrip),
        whole_word=frozenset(id for id, token in added.items() if token.single_word),
        chat_template=chat_template(directory, config),
        **preparation(file, typed(model, "ignore_merges", bool, False)),
        eog_ids=end_of_generation(markers, [marked["eos_id"], *generation_ends(directory)]),
        **marked,
    )


def bpe(file: Json) -> Json:
    """The model, if it is one this project implements."""
    model: Json = typed(file, "model", dict)
    if model.get("type", "BPE") != "BPE":
        raise UnsupportedError(f"a tokenizer of type {model['type']!r}; this project reads BPE")
    for option in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(option):
            raise UnsupportedError(
                f"this tokenizer's BPE sets {option!r}, which is not implemented"
            )
    if not {int} >= set(map(type, typed(model, "vocab", dict).values())):
        raise TokenizerError("tokenizer.json: the vocabulary should map texts to integers")
    return model


def tokens_by_id(model: Json, added: Mapping[int, Added], n_embeddings: int) -> tuple[str, ...]:
    """Every id's text.  Ids that nobody named, inside the vocabulary or between its end and the
    model's last embedding, become unused tokens, as llama.cpp's converter names them."""
    texts: dict[int, str] = {id: text for text, id in model["vocab"].items()}
    if len(texts) < len(model["vocab"]):
        raise TokenizerError("tokenizer.json gives two tokens the same id")
    texts |= {id: token.content for id, token in added.items()}
    size = max([n_embeddings, *(id + 1 for id in texts)])
    if min(texts, default=0) < 0 or size > len(texts) + MOST_FILLED_IN:
        raise TokenizerError(f"tokenizer.json has {len(texts)} tokens, with ids up to {size - 1}")
    return named([texts.get(id, f"[PAD{id}]") for id in range(size)])


def types_of(tokens: tuple[str, ...], added: Mapping[int, Added], model: Json) -> tuple[int, ...]:
    vocab, types = model["vocab"], [TokenType.NORMAL.value] * len(tokens)
    for id, text in enumerate(tokens):
        if text not in vocab:
            types[id] = TokenType.UNUSED
    if model.get("byte_fallback"):
        for text, id in vocab.items():
            if BYTE_TOKEN.fullmatch(text):
                types[id] = TokenType.BYTE
    for id, token in added.items():
        types[id] = TokenType.CONTROL if token.special else TokenType.USER_DEFINED
    if (unknown := typed(model, "unk_token", str, "")) in vocab:
        types[vocab[unknown]] = TokenType.UNKNOWN
    return tuple(types)


def merges(model: Json) -> tuple[str, ...]:
    """Merges are lines, or pairs in newer files.  A line cannot hold a token with a space in it."""
    listed = typed(model, "merges", list)
    if {str} >= set(map(type, listed)):
        return tuple(listed)
    for pair in listed:
        match pair:
            case [str(left), str(right)] if " " not in left + right:
                continue
            case [str(), str()]:
                raise UnsupportedError(f"this tokenizer merges tokens that contain a space: {pair}")
        raise TokenizerError(f"tokenizer.json: {repr(pair)[:60]} is not a merge of two tokens")
    return tuple(map(" ".join, listed))


def preparation(file: Json, ignore_merges: bool) -> dict[str, Any]:
    """What happens to a text before merging.  A rule for cutting that has a name gets it."""
    normalized = read_normalizer(file.get("normalizer"))
    prepared = normalized.then(read_pre_tokenizer(file.get("pre_tokenizer"))).without_dead_splits()
    if prepared.space_prefix == "always" and ESCAPE_SPACES not in prepared.steps:
        raise UnsupportedError("this tokenizer puts U+2581 before a text but keeps other spaces")
    name = name_of(prepared.splits, ignore_merges) if prepared.byte_level else ""
    return {
        "alphabet": "bytes" if prepared.byte_level else "characters",
        "normalizer": prepared.steps,
        "splits": prepared.splits,
        "space_prefix": prepared.space_prefix,
        "ignore_merges": ignore_merges,
        "pre": name,
    }


def name_of(splits: tuple[Split, ...], ignore_merges: bool) -> str:
    """llama.cpp's name for a rule, or the empty text."""
    same = [row for row in ROWS if row.splits == splits]
    exact = [row for row in same if row.ignore_merges == ignore_merges]
    return (exact or same)[0].names[0] if same else ""


def ends(directory: Path, file: Json, config: Json, ids: Mapping[str, int]) -> dict[str, Any]:
    """BOS and EOS, and whether they are added."""
    named = marker_names(read_json(directory / "special_tokens_map.json") or {}) | marker_names(
        config
    )
    first, last = template_ends(file)
    bos, eos = id_of(named.get("bos_token", first), ids), id_of(named.get("eos_token", last), ids)
    return {
        "bos_id": bos,
        "eos_id": eos,
        "padding_id": ids.get(named.get("pad_token", "")),  # often one that was never added
        "add_bos": typed(config, "add_bos_token", bool, first is not None),
        "add_eos": typed(config, "add_eos_token", bool, last is not None),
    }


def id_of(text: str | None, ids: Mapping[str, int]) -> int | None:
    if text is None:
        return None
    if text not in ids:
        raise TokenizerError(
            f"this tokenizer names {text[:60]!r} as a marker, which is not a token"
        )
    return ids[text]


def template_ends(file: Json) -> tuple[str | None, str | None]:
    """What the post-processor puts before and after a text: at most one marker each."""
    before: list[str] = []
    after: list[str] = []
    for processor in leaves(file.get("post_processor"), "processors"):
        if processor["type"] == "ByteLevel":  # moves offsets, and changes no ids
            continue
        if processor["type"] != "TemplateProcessing":
            raise UnsupportedError(f"a post-processor of type {processor['type']!r}")
        side = before
        for piece in typed(processor, "single", list):
            match piece:
                case {"Sequence": {"id": "A"}}:
                    side = after
                case {"SpecialToken": {"id": str(text)}}:
                    side.append(text)
                case _:
                    raise TokenizerError(f"tokenizer.json: {repr(piece)[:60]} in a template")
    if len(before) > 1 or len(after) > 1:
        raise UnsupportedError(f"this tokenizer adds {before} before a text and {after} after it")
    return next(iter(before), None), next(iter(after), None)


def generation_ends(directory: Path) -> list[int]:
    """`eos_token_id` of the model's configuration files: an id, or a list of them."""
    ids: list[int] = []
    for name in ("generation_config.json", "config.json"):
        given = (read_json(directory / name) or {}).get("eos_token_id")
        ids += given if isinstance(given, list) else [] if given is None else [given]
    if not {int} >= set(map(type, ids)):
        raise TokenizerError(f"eos_token_id in {directory} should be integers, and is {ids[:9]}")
    return ids


def embeddings(directory: Path) -> int:
    """How many embeddings the model has; 0 if no config.json says."""
    return int(typed(read_json(directory / "config.json") or {}, "vocab_size", int, 0))


def chat_template(directory: Path, config: Json) -> str | None:
    """A file of its own in newer models; in older ones a text, or several with names."""
    path = directory / "chat_template.jinja"
    if path.is_file():
        if path.stat().st_size > LONGEST_SOURCE:
            raise TokenizerError(f"{path} is larger than {LONGEST_SOURCE >> 20} MiB")
        return path.read_text(encoding="utf-8", errors="replace")
    given = config.get("chat_template")
    if isinstance(given, list):
        named = {t.get("name"): t.get("template") for t in given if isinstance(t, dict)}
        given = named.get("default")
    return given if isinstance(given, str) else None
