"""A GGUF file's metadata as a mapping that decodes a value when it is asked for.

Opening a file only finds out where each value begins.  Nothing is kept after decoding: who needs a
vocabulary twice holds on to it.

>>> from pathlib import Path
>>> stored = b"\\4\\0\\0\\0\\0\\0\\0\\0size" b"\\4\\0\\0\\0" b"\\7\\0\\0\\0"      # a key, UINT32, 7
>>> source = Source(path=Path("x.gguf"), data=stored, byte_order="little")
>>> metadata = read_metadata(Cursor(source), 1)
>>> dict(metadata), metadata.exact("size"), metadata.describe("size")
({'size': 7}, np.uint32(7), 'UINT32')
"""

from collections.abc import Iterator, Mapping
from typing import Any

from refimpl.formats.gguf.cursor import Cursor, GGUFError, Source
from refimpl.formats.gguf.values import (
    Exact,
    ValueType,
    describe,
    plain,
    read,
    read_type,
    skip,
)


class Metadata(Mapping[str, Any]):
    """Key -> value (`values.Value`), in the order of the file."""

    def __init__(self, source: Source, entries: Mapping[str, tuple[ValueType, int]]) -> None:
        self._source = source
        self._entries = entries  # key -> type, where the value begins

    def __getitem__(self, key: str) -> Any:
        return plain(self.exact(key))

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: object) -> bool:  # Mapping's own would decode the value
        return key in self._entries

    def exact(self, key: str) -> Exact:
        """The value with its type: a number is a NumPy scalar."""
        kind, start = self._entries[key]
        return read(Cursor(self._source, start), kind)

    def all_exact(self) -> dict[str, Exact]:
        """Every value with its type: `write_gguf` makes the same metadata of it."""
        return {key: self.exact(key) for key in self}

    def describe(self, key: str) -> str:
        """The type, and the length of an array, without reading it: `STRING[128256]`."""
        kind, start = self._entries[key]
        return describe(Cursor(self._source, start), kind)

    def error(self, key: str, found: str) -> GGUFError:
        """What is wrong with a value."""
        return self._source.error(self._entries[key][1], f"{key} is {found}")


def read_metadata(cursor: Cursor, n_keys: int) -> Metadata:
    """Walk over `n_keys` keys and values and note where each value begins."""
    entries: dict[str, tuple[ValueType, int]] = {}
    for _ in range(n_keys):
        start = cursor.pos
        key = cursor.name()
        if key in entries:
            raise cursor.source.error(start, f"the key {key!r} appears twice")
        kind = read_type(cursor)
        entries[key] = kind, cursor.pos
        skip(cursor, kind)
    return Metadata(cursor.source, entries)
