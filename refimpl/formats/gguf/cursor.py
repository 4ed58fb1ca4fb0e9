"""Reading numbers and strings from a mapped GGUF file without ever leaving it.

A cursor moves by `take`, which checks the bound, and by the two loops over strings, which say how
they do it.  So a count or a length from the file may be as absurd as it likes: it meets the size of
the file before it meets an allocation.

Source: the GGUF specification (ggml, docs/gguf.md): a string is a u64 length and that many bytes of
UTF-8, without a terminator.

>>> source = Source(path=Path("x.gguf"), data=b"\\2\\0\\0\\0\\0\\0\\0\\0hi!", byte_order="little")
>>> Cursor(source).name()
'hi'
>>> Cursor(source, 4).u64()
Traceback (most recent call last):
refimpl.formats.gguf.cursor.GGUFError: x.gguf: at byte 4: needs 8 bytes, but 7 are left. ...
"""

import struct
from dataclasses import dataclass
from mmap import mmap
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Shaped
from numpy import ndarray

from refimpl.errors import FormatError

ByteOrder = Literal["little", "big"]

MAX_NAME = 65535  # bytes of a key, by the specification

PREFIX = {"little": "<", "big": ">"}  # of a format of the module `struct`


class GGUFError(FormatError):
    """A GGUF file is truncated, inconsistent or hostile."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Source:
    """The bytes of one file and the order of the bytes of its numbers."""

    path: Path
    data: mmap | bytes
    byte_order: ByteOrder

    def error(self, offset: int, found: str) -> GGUFError:
        """What is wrong with this file, and where."""
        return GGUFError(
            f"{self.path}: at byte {offset}: {found}. "
            "The file is truncated or damaged: download it again, or convert the model anew"
        )


@dataclass
class Cursor:
    """A place in a file, and the reads that move it on."""

    source: Source
    pos: int = 0

    def error(self, found: str) -> GGUFError:
        return self.source.error(self.pos, found)

    @property
    def left(self) -> int:
        return len(self.source.data) - self.pos

    def take(self, n_bytes: int) -> int:
        """Step over `n_bytes` and return where they begin."""
        if n_bytes > self.left:
            raise self.error(f"needs {n_bytes} bytes, but {self.left} are left")
        start = self.pos
        self.pos += n_bytes
        return start

    def u32(self) -> int:
        return self._integer("I", 4)

    def u64(self) -> int:
        return self._integer("Q", 8)

    def _integer(self, code: str, n_bytes: int) -> int:
        layout = PREFIX[self.source.byte_order] + code
        value: int = struct.unpack_from(layout, self.source.data, self.take(n_bytes))[0]
        return value

    def count(self, things: str, min_bytes: int) -> int:
        """A u64 that says how many `things` follow, each of at least `min_bytes`."""
        n = self.u64()
        if n * min_bytes > self.left:
            raise self.error(f"{n} {things} cannot fit in the {self.left} bytes that are left")
        return n

    def numbers(self, dtype: np.dtype, n: int) -> Shaped[ndarray, "n"]:
        """`n` numbers, copied into memory in this machine's byte order."""
        stored = dtype.newbyteorder(self.source.byte_order)
        start = self.take(n * dtype.itemsize)
        return np.frombuffer(self.source.data, stored, n, start).astype(dtype)

    def name(self) -> str:
        """A key or the name of a tensor: a short string."""
        length = Cursor(self.source, self.pos).u64()
        if length > MAX_NAME:
            raise self.error(f"a name of {length} bytes; the format allows {MAX_NAME}")
        return self.strings(1)[0]

    def skip_strings(self, n: int) -> None:
        """Step over `n` strings, looking at nothing but their lengths.

        A vocabulary and its merges are 400,000 strings, so this loop is most of what opening a file
        takes (some 40 ms).  It needs no bound inside: after a length that leads out of the file the
        next `unpack` fails, and the last one is caught by `_land`.
        """
        length_at = struct.Struct(PREFIX[self.source.byte_order] + "Q").unpack_from
        data, pos = self.source.data, self.pos
        try:
            for _ in range(n):
                pos += 8 + length_at(data, pos)[0]
        except (struct.error, OverflowError):
            pos = len(data) + 1
        self._land(pos, n)

    def strings(self, n: int) -> list[str]:
        """The next `n` strings: the same walk, decoding on its way.

        Unless a walk before has seen that they end, let `n` and the first length be small: a slice
        is cut short at the end of the file, but that may be far away.
        """
        length_at = struct.Struct(PREFIX[self.source.byte_order] + "Q").unpack_from
        data, pos = self.source.data, self.pos
        texts: list[str] = []
        try:
            for _ in range(n):
                start = pos + 8
                pos = start + length_at(data, pos)[0]
                texts.append(data[start:pos].decode())
        except (struct.error, OverflowError):
            pos = len(data) + 1
        except UnicodeDecodeError as cause:
            raise self.source.error(start, f"a string is not UTF-8 ({cause})") from None
        self._land(pos, n)
        return texts

    def _land(self, pos: int, n: int) -> None:
        if pos > len(self.source.data):
            raise self.error(f"{n} string(s) from here on run past the end of the file")
        self.pos = pos
