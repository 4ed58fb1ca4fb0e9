"""Jump-forward: text that the constraint leaves no choice about, written without asking the model.

In `{"name": "..."` everything up to the value is known.  SGLang appends such text at once and
tokenises it anew (Zheng et al., "SGLang", 2024, section 4); done carelessly that changes what the
model says, for the token at the seam might have reached further, or the text been cut otherwise.

Here forced text is a *draft*.  It is cut greedily: of the allowed tokens that lie inside the forced
text the longest, and nothing more as soon as an allowed token reaches beyond it.  `Forced` proposes
it to the speculative loop, which computes all of it in one step and keeps what the model, under the
same masks, chooses too.  So the tokens are those of step-by-step decoding, each chosen by the model
among those the mask allows (law 12), and the text is the forced one (law 28).

It asks for masks alone, so it works for every kind of constraint, compiled ones and those that end
in time included; a byte that is no token ends what is known to be forced.

Where every character may also be spelled as an escape, hardly anything is forced:
`Layout(escapes=False)` leaves one spelling to a key.

>>> from refimpl.grammar.constraint import compile_json_schema
>>> from refimpl.grammar.json_states import Layout
>>> from refimpl.grammar.masks import Vocabulary
>>> vocabulary = Vocabulary.of([b"</s>", *(bytes([b]) for b in range(256)), b'{"', b"id"], [0])
>>> c = compile_json_schema({"type": "object", "properties": {"id": {"type": "integer"}},
...                          "required": ["id"], "additionalProperties": False}, vocabulary,
...                         layout=Layout(white_space=0, escapes=False))
>>> forced_text(c, c.start)
b'{"id":'
>>> [vocabulary.tokens[t] for t in forced_tokens(c, c.start)]
[b'{"', b'id', b'"', b':']
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from refimpl.grammar.masks import Mask, Vocabulary, unpack
from refimpl.sampling.verify import Draft

LONGEST = 4096  # a text forced for ever would be a grammar without an end


def forced_text(constraint: Any, state: Any) -> bytes:
    """The bytes that must follow, as far as there is no choice (ending is a choice)."""
    vocabulary: Vocabulary = constraint.vocabulary
    out = bytearray()
    while len(out) < LONGEST:
        byte = only_byte(vocabulary, constraint.mask(state))
        if byte is None:
            break
        out.append(byte)
        state = constraint.advance(state, vocabulary.byte_tokens[byte])
    return bytes(out)


def only_byte(vocabulary: Vocabulary, mask: Mask) -> int | None:
    """The one byte that all allowed tokens begin with; None if there are others, or it may end."""
    first = vocabulary.first_bytes[unpack(mask, len(vocabulary.tokens))]
    alone = first.size and (first == first[0]).all()
    return int(first[0]) if alone and int(first[0]) in vocabulary.byte_tokens else None


def forced_tokens(constraint: Any, state: Any) -> list[int]:
    """The forced text as tokens; empty where the model has a choice of text."""
    text = forced_text(constraint, state)
    out: list[int] = []
    while text:
        tokens = constraint.vocabulary.tokens
        allowed = np.flatnonzero(unpack(constraint.mask(state), len(tokens))).tolist()
        if not all(text.startswith(tokens[t]) and tokens[t] for t in allowed):
            break
        token = max(allowed, key=lambda t: (len(tokens[t]), -t))
        out.append(token)
        state = constraint.advance(state, token)
        text = text[len(tokens[token]) :]
    return out


class Forced:
    """A proposer for the speculative loop (`refimpl.engine.speculative.proposer`)."""

    def propose(self, asks: Sequence[Any]) -> list[Draft | None]:
        return [self.draft(request, n) for request, n in asks]

    def draft(self, request: Any, n: int) -> Draft | None:
        guide = request.guide
        if guide is None:
            return None
        tokens = forced_tokens(guide.constraint, guide.state(request.output))[:n]
        return Draft(tokens=tuple(tokens)) if tokens else None

    def forget_the_gone(self) -> None:
        """Everything is in the guides."""
