"""As much of Protocol Buffers as a sentencepiece model needs: a message as a list of fields.

A message is a run of fields, each a tag (number and wire type) and a value.  Numbers are varints,
seven bits a byte, or 4 or 8 bytes little-endian; texts and messages inside messages are a length
and bytes.

Source: protobuf.dev, "Encoding".

>>> list(fields(bytes([0x08, 0x96, 0x01, 0x12, 0x02, 0x68, 0x69])))
[(1, 150), (2, b'hi')]
>>> list(fields(bytes([0x12, 0x7F, 0x68])))
Traceback (most recent call last):
...
refimpl.text.errors.TokenizerError: the sentencepiece model is cut short or damaged
"""

import struct
from collections.abc import Iterator

from refimpl.text.errors import TokenizerError

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
LONGEST_VARINT = 10

Value = int | float | bytes


def fields(message: bytes) -> Iterator[tuple[int, Value]]:
    """(number, value) of every field: an int, a float, or bytes that may be a message again."""
    at = 0
    while at < len(message):
        tag, at = varint(message, at)
        number, wire = tag >> 3, tag & 7
        if wire == VARINT:
            value, at = varint(message, at)
            yield number, value
        elif wire == FIXED32:
            yield number, struct.unpack("<f", taken(message, at, 4))[0]
            at += 4
        elif wire == FIXED64:
            yield number, struct.unpack("<d", taken(message, at, 8))[0]
            at += 8
        elif wire == LENGTH:
            length, at = varint(message, at)
            yield number, taken(message, at, length)
            at += length
        else:
            raise damaged()


def varint(message: bytes, at: int) -> tuple[int, int]:
    """A varint that starts there, and where it ends."""
    value = 0
    for i, byte in enumerate(message[at : at + LONGEST_VARINT]):
        value |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            return value, at + i + 1
    raise damaged()


def taken(message: bytes, at: int, length: int) -> bytes:
    if length > len(message) - at:
        raise damaged()
    return message[at : at + length]


def damaged() -> TokenizerError:
    return TokenizerError("the sentencepiece model is cut short or damaged")
