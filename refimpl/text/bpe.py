"""Byte-pair encoding: the pair learnt first merges first.

Training repeatedly joined the most frequent pair of a corpus; the file lists those pairs in order.
Encoding replays them: a pair's cost is its place in the list (Sennrich et al. 2016; on bytes,
Radford et al. 2019).  Whether the symbols are bytes (GPT-2) or characters (Gemma) makes no
difference here.

>>> from refimpl.text.merging import merge
>>> hug = Vocabulary(alphabet="bytes", merge_by="rank", tokens=("h", "u", "g", "hu", "ug", "hug"),
...                  types=(1,) * 6, merges=("u g", "h u", "h ug"))
>>> merge("hughu", cost_by_rank(hug))
['hug', 'hu']
"""

from refimpl.text.merging import Cost
from refimpl.text.vocabulary import TokenType, Vocabulary


def cost_by_rank(vocabulary: Vocabulary) -> Cost:
    """A pair costs its rank.  Of a pair listed twice the first counts, as in llama.cpp."""
    merges = vocabulary.merges
    ranks = dict(zip(reversed(merges), range(len(merges) - 1, -1, -1), strict=True))
    for text in vocabulary.texts_of(TokenType.CONTROL, TokenType.UNKNOWN):
        for i in range(1, len(text)):  # text never merges into a marker
            ranks.pop(f"{text[:i]} {text[i:]}", None)
    return lambda left, right: ranks.get(f"{left} {right}")
