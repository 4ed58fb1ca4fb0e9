"""SentencePiece's way of merging: any two neighbours that form a token may merge, best score first.

There is no list of pairs.  A pair's cost is minus the score of the token it would form, so `ab` +
`c` and `a` + `bc` cost the same.  (Scores are ranks in disguise: training gave the n-th learnt
piece the score -n.)  Spaces are characters of the text, written U+2581, and sentencepiece merges
over the whole text, in principle across word boundaries.  In practice no token has a space after a
letter, and then nothing can merge across the start of a word: `cut_words` cuts there, which makes
words cacheable.  Tokens that do have one are honoured: no cut is made where such a token could lie.

Control tokens are never merged into, as in sentencepiece.  (llama.cpp does: given the tokens `</`
and `s>`, plain text `</s>` becomes the end of the sequence even where markers are not parsed.)

Sources: Kudo & Richardson 2018 (arXiv:1808.06226); sentencepiece `bpe_model.cc`; llama.cpp
`llm_tokenizer_spm`.

>>> from refimpl.text.merging import merge
>>> v = Vocabulary(alphabet="characters", merge_by="score", types=(1,) * 6,
...                tokens=("a", "b", "c", "ab", "bc", "▁a"),
...                scores=(0.0, 0.0, 0.0, -2.0, -1.0, -3.0))
>>> merge("abc", cost_by_score(v))
['a', 'bc']
>>> cut_words("▁a▁▁bc", word_boundary(v.tokens))
['▁a', '▁▁bc']
"""

import re
from collections.abc import Iterable
from itertools import pairwise

from refimpl.text.merging import Cost
from refimpl.text.vocabulary import SPACE, TokenType, Vocabulary

NEVER_MERGED_INTO = (TokenType.CONTROL, TokenType.UNKNOWN, TokenType.BYTE, TokenType.UNUSED)


def cost_by_score(vocabulary: Vocabulary) -> Cost:
    """A pair costs minus the score of the token it forms."""
    barred = frozenset(NEVER_MERGED_INTO)
    entries = zip(vocabulary.tokens, vocabulary.types, vocabulary.scores, strict=True)
    costs = {text: -score for text, type, score in entries if type not in barred}
    return lambda left, right: costs.get(left + right)


def word_boundary(tokens: Iterable[str]) -> re.Pattern[str]:
    """Where text may be cut: before a space, after a character that no token has before a space."""
    joiners = {SPACE} | {
        before
        for text in tokens
        if SPACE in text[1:]
        for before, after in pairwise(text)
        if after == SPACE
    }
    listed = "".join(map(re.escape, sorted(joiners)))
    return re.compile(f"(?<=[^{listed}])(?={SPACE})")


def cut_words(text: str, boundary: re.Pattern[str]) -> list[str]:
    """Cut before each space that begins a word."""
    return boundary.split(text) if text else []
