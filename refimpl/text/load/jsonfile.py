"""Reading a JSON object from a file that may be anything.

>>> read_json(Path("no such file")) is None
True
"""

import json
from pathlib import Path
from typing import Any

from refimpl.text.errors import TokenizerError

LARGEST_FILE = 1 << 28


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in the file; None if there is no such file."""
    if not path.is_file():
        return None
    if path.stat().st_size > LARGEST_FILE:
        raise TokenizerError(f"{path} is larger than {LARGEST_FILE >> 20} MiB; is it what it says?")
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise TokenizerError(f"{path} is not JSON: {str(error)[:200]}") from None
    if not isinstance(value, dict):
        raise TokenizerError(f"{path} should hold a JSON object")
    return value


def typed(tree: dict[str, Any], key: str, kind: type, default: Any = None) -> Any:
    """tree[key], which must be of that type; the default if it is absent or null."""
    value = tree.get(key)
    value = default if value is None else value
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise TokenizerError(
            f"{key!r} in a tokenizer's JSON should be a {kind.__name__}, and is {repr(value)[:60]}"
        )
    return value
