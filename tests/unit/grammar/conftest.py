"""A small vocabulary with every byte, so that whatever can be completed can be spelled."""

import random

import pytest

from refimpl.grammar.masks import Vocabulary

STRUCTURE = [b'{"', b'"}', b'":', b'": ', b'","', b"[]", b"{}", b"],", b"}]", b"true", b"null",
             b"1,", b"10", b"0.5", b"e+", b'\\"', b"\\u00", b'"a":', b"\xc3", b"\xa9x", b"  ",
             b'""', b"abc", b'{"a": 1', b'b"', b"-1", b"2024-", b"false]", b'1,"b"']  # fmt: skip


@pytest.fixture(scope="session")
def vocabulary() -> Vocabulary:
    rnd = random.Random(27)
    letters = b'{}[]":, \\01.e-+atrufnlsb\xc3\xa9\xf0\x9f\x98\x80d8'
    noise = [bytes(rnd.choices(letters, k=rnd.randint(2, 5))) for _ in range(150)]
    tokens = [b"</s>", *(bytes([b]) for b in range(256)), *STRUCTURE, *noise, b"", b"1"]
    return Vocabulary.of(tokens, [0])
