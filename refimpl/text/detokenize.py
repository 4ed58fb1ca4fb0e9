"""Text as it comes, token by token, and never half a character.

A token may end in the middle of a character: `é` is two bytes, an emoji four, and byte-level tokens
cut anywhere.  The decoder holds back the bytes of an unfinished character until the next token
finishes it, or shows that it never will; then they become U+FFFD, just as in a one-shot decode.

Invariant: the pieces, with the flush at the end, joined, are `tokenizer.decode` of all the ids.  A
stream that `continues` a text keeps the space of its first word, which belongs between the two.

>>> from refimpl.text.tokenizer import Tokenizer
>>> from refimpl.text.vocabulary import Vocabulary
>>> t = Tokenizer(Vocabulary(alphabet="bytes", merge_by="rank", tokens=("Ã", "©", "x"),
...                          types=(1, 1, 1)))
>>> stream = IncrementalDecoder(t)
>>> [stream.push(id) for id in (2, 0, 1, 0, 2)], stream.flush()
(['x', '', 'é', '', '�x'], '')
"""

from codecs import getincrementaldecoder

from refimpl.text.tokenizer import Tokenizer


class IncrementalDecoder:
    """`push` each id, `flush` at the end."""

    def __init__(
        self, tokenizer: Tokenizer, *, skip_special: bool = False, continues: bool = False
    ) -> None:
        self.tokenizer = tokenizer
        self.skip_special = skip_special
        self.utf8 = getincrementaldecoder("utf-8")(errors="replace")
        self.leading_space = b"" if continues else tokenizer.leading_space

    def push(self, id: int) -> str:
        """The text that this token completes; often its own, sometimes none, sometimes more."""
        data = b"".join(self.tokenizer.visible_bytes([id], skip_special=self.skip_special))
        if data:
            data = data.removeprefix(self.leading_space)
            self.leading_space = b""
        return self.utf8.decode(data)

    def flush(self) -> str:
        """What is still held back: the beginning of a character that never came."""
        return self.utf8.decode(b"", final=True)
