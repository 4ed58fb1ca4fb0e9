"""A printable character for every byte, so that a vocabulary of bytes can be written as text.

Byte-level BPE works on UTF-8 bytes, but vocabulary files are lists of strings, and a byte such as
0x20 or 0x80 is either invisible or no character at all.  GPT-2 therefore writes each byte as one
printable character: the 188 printable ones of Latin-1 stand for themselves, and the other 68 take
the characters from U+0100 on, in order.  The space becomes `Ġ`, the newline `Ċ`.

Source: `bytes_to_unicode` in OpenAI's GPT-2 release (encoder.py); every `gpt2` vocabulary in GGUF
and every `ByteLevel` tokenizer.json is written this way.

>>> spell("a cat\\n".encode())
'aĠcatĊ'
>>> unspell("aĠcatĊ")
b'a cat\\n'
>>> unspell("日") is None                                        # not a character of the alphabet
True
"""

from collections.abc import Iterator


def _characters() -> Iterator[str]:
    """The character of byte 0, of byte 1, ... of byte 255."""
    substitute = 0x100
    for byte in range(256):
        if 0x21 <= byte <= 0x7E or 0xA1 <= byte <= 0xAC or byte >= 0xAE:
            yield chr(byte)
        else:
            yield chr(substitute)
            substitute += 1


CHARACTERS = "".join(_characters())
"""CHARACTERS[byte] is the character that stands for it."""

_BYTE_OF = {ord(character): byte for byte, character in enumerate(CHARACTERS)}


def spell(data: bytes) -> str:
    """Write bytes in the alphabet: Latin-1 makes byte b code point b, and the table maps that."""
    return data.decode("latin-1").translate(CHARACTERS)


def unspell(piece: str) -> bytes | None:
    """The bytes a piece stands for, or None if it is not written in the alphabet."""
    try:
        return bytes([_BYTE_OF[ord(character)] for character in piece])
    except KeyError:
        return None
