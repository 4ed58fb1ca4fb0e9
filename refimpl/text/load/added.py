"""The markers of a Hugging Face tokenizer, from tokenizer.json and tokenizer_config.json.

>>> added_tokens({"added_tokens": [{"id": 7, "content": "<s>", "special": True}]}, {})
{7: Added(content='<s>', special=True, lstrip=False, rstrip=False, single_word=False)}
"""

from dataclasses import dataclass
from typing import Any

from refimpl.text.errors import TokenizerError
from refimpl.text.load.jsonfile import typed


@dataclass(frozen=True, kw_only=True)
class Added:
    """`AddedToken` of Hugging Face; what its flags do is in `refimpl.text.specials`."""

    content: str
    special: bool
    lstrip: bool
    rstrip: bool
    single_word: bool


def added_tokens(file: dict[str, Any], config: dict[str, Any]) -> dict[int, Added]:
    """By id.  What the configuration says about a token replaces what tokenizer.json says, as it
    does in transformers."""
    added = {typed(entry, "id", int): added_token(entry) for entry in entries(file)}
    for number, entry in typed(config, "added_tokens_decoder", dict, {}).items():
        if not number.isdecimal() or len(number) > 9:
            raise TokenizerError(
                f"tokenizer_config.json describes a token numbered {number[:60]!r}"
            )
        added[int(number)] = added_token(entry)
    return added


def entries(file: dict[str, Any]) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = typed(file, "added_tokens", list, [])
    if not {dict} >= set(map(type, listed)):
        raise TokenizerError("tokenizer.json: every added token should be an object")
    return listed


def added_token(entry: object) -> Added:
    if not isinstance(entry, dict):
        raise TokenizerError(f"an added token should be an object, and is {repr(entry)[:60]}")
    return Added(
        content=typed(entry, "content", str),
        **{key: typed(entry, key, bool, False) for key in FLAGS},
    )


FLAGS = ("special", "lstrip", "rstrip", "single_word")


def marker_names(config: dict[str, Any]) -> dict[str, str]:
    """bos_token, eos_token and so on, each given as a text or as an object with a "content"."""
    names = {}
    for key in ("bos_token", "eos_token", "pad_token"):
        value = config.get(key)
        value = value.get("content") if isinstance(value, dict) else value
        if isinstance(value, str):
            names[key] = value
    return names
