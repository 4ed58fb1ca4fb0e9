"""What a vocabulary says beyond the metadata that everyone reads, as one JSON text.

>>> from dataclasses import replace
>>> plain = Vocabulary(alphabet="bytes", merge_by="rank", tokens=("a",), types=(1,))
>>> rich = replace(plain, normalizer=(("nfc",),))
>>> difference(plain, rich)
'{"normalizer": [["nfc"]]}'
>>> replace(plain, **parse(difference(plain, rich))) == rich
True
"""

import json
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

from refimpl.text.errors import TokenizerError
from refimpl.text.normalizing import is_step
from refimpl.text.splitting import Behavior, Split
from refimpl.text.strangers import stranger
from refimpl.text.vocabulary import SpacePrefix, TokenType, Vocabulary

LONGEST = 1 << 24


def difference(plain: Vocabulary, rich: Vocabulary) -> str | None:
    """What turns `plain` into `rich`, as JSON; None if nothing needs to."""
    changes = {
        name: _written(name, getattr(plain, name), getattr(rich, name))
        for name in READERS
        if getattr(plain, name) != getattr(rich, name)
    }
    return json.dumps(changes, ensure_ascii=False) if changes else None


def parse(text: str) -> dict[str, Any]:
    """The fields that a difference sets, each checked.  `types` are a mapping, id to type."""
    try:
        changes = json.loads(text) if len(text) <= LONGEST else None
    except (ValueError, RecursionError):
        changes = None
    if not isinstance(changes, dict):
        raise TokenizerError("this project's own addition to the tokenizer is not a JSON object")
    return {name: _read(name, value) for name, value in changes.items()}


def with_types(types: Sequence[int], changes: dict[int, int]) -> tuple[int, ...]:
    """The types with some of them replaced."""
    return tuple(changes.get(id, type) for id, type in enumerate(types))


def _written(name: str, before: Any, value: Any) -> object:
    if name == "types":
        return {id: type for id, type in enumerate(value) if type != before[id]}
    if name == "splits":
        return [
            {"pattern": s.pattern, "behavior": s.behavior, "inverted": s.inverted} for s in value
        ]
    return sorted(value) if isinstance(value, frozenset) else value


def _read(name: str, value: Any) -> Any:
    try:
        return READERS[name](value)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise TokenizerError(
            f"this project's own addition to the tokenizer sets {name!r} to {repr(value)[:60]}"
        ) from None


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _integer(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | None):
        raise TypeError
    return value


def _one_of(choices: Any) -> Callable[[Any], Any]:
    return lambda value: get_args(choices)[get_args(choices).index(value)]


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _id_set(value: list[int]) -> frozenset[int]:
    if {int} < set(map(type, value)):
        raise TypeError
    return frozenset(map(int, value))


def _split(value: dict[str, Any]) -> Split:
    return stranger(
        _text(value["pattern"]), _one_of(Behavior)(value["behavior"]), _flag(value["inverted"])
    )


def _types(value: dict[str, int]) -> dict[int, int]:
    return {int(id): TokenType(type).value for id, type in value.items()}


def _step(value: list[str]) -> tuple[str, ...]:
    if not is_step(value):
        raise ValueError
    return tuple(value)


READERS: dict[str, Callable[[Any], Any]] = {
    "types": _types,
    "merge_by": _one_of(Literal["rank", "score"]),
    "pre": _text,
    "splits": lambda value: tuple(map(_split, value)),
    "normalizer": lambda value: tuple(map(_step, value)),
    "space_prefix": _one_of(SpacePrefix),
    "ignore_merges": _flag,
    "fuse_unknown": _flag,
    "bos_id": _integer,
    "eos_id": _integer,
    "unknown_id": _integer,
    "padding_id": _integer,
    "eog_ids": _id_set,
    "lstrip": _id_set,
    "rstrip": _id_set,
    "whole_word": _id_set,
}
"""The fields that may differ, in the order they are written."""
