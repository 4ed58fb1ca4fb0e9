"""Jump-forward: text that the constraint leaves no choice about, written without asking the model.

In `{"name": "..."` everything up to the value is known.  SGLang appends such text at once and
tokenises it anew (Zheng et al., "SGLang", 2024, section 4); done carelessly that changes what the
model says, for the token at the seam might have reached further, or the text been cut otherwise.

Here forced text is a *draft*.  It is cut greedily: of the allowed tokens that lie inside the forced
text the longest, and nothing more as soon as an allowed token reaches beyond it.  `Forced` proposes
it to the speculative loop, which computes all of it in one step and keeps what the model, under the
same masks, chooses too.  So the tokens are those of step-by-step decoding, each chosen by the model
among those the mask allows (law 12), and the text is the forced one (law 28).

Where every character may also be spelled as an escape, hardly anything is forced:
`Layout(escapes=False)` leaves one spelling to a key.

>>> from refimpl.grammar.constraint import compile_json_schema
>>> from refimpl.grammar.json_states import Layout
>>> from refimpl.grammar.masks import Vocabulary
>>> vocabulary = Vocabulary.of([b"</s>", *(bytes([b]) for b in range(256)), b'{"', b"id"], [0])
>>> c = compile_json_schema({"type": "object", "properties": {"id": {"type": "integer"}},
...                          "required": ["id"], "additionalProperties": False}, vocabulary,
...                         layout=Layout(white_space=0, escapes=False))
>>> forced_text(c.machine, c.start)
b'{"id":'
>>> [vocabulary.tokens[t] for t in forced_tokens(c, c.start)]
[b'{"', b'id', b'"', b':']
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from refimpl.grammar.constraint import Constraint
from refimpl.grammar.machine import DEAD, Machine, State
from refimpl.grammar.masks import unpack
from refimpl.sampling.verify import Draft

LONGEST = 4096  # a text forced for ever would be a grammar without an end


def forced_text(machine: Machine, state: State) -> bytes:
    """The bytes that must follow, as far as there is no choice (ending is a choice)."""
    out = bytearray()
    while len(out) < LONGEST and not machine.accepts(state):
        byte, after = _only(machine, state)
        if after is None:
            break
        out.append(byte)
        state = after
    return bytes(out)


def _only(machine: Machine, state: State) -> tuple[int, State | None]:
    """The one byte that may follow, and where it leads."""
    machine.code(state.local, 0)
    found: tuple[int, State | None] = (0, None)
    for byte in np.flatnonzero(machine.table[state.local] != DEAD).tolist():
        after = machine.step(state, byte)
        if after is not None:
            if found[1] is not None:
                return 0, None
            found = (byte, after)
    return found


def forced_tokens(constraint: Constraint, state: Any) -> list[int]:
    """The forced text as tokens; empty where the model has a choice of text."""
    text = forced_text(constraint.machine, state)
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
        if guide is None or not isinstance(guide.constraint, Constraint):
            return None
        tokens = forced_tokens(guide.constraint, guide.state(request.output))[:n]
        return Draft(tokens=tuple(tokens)) if tokens else None

    def forget_the_gone(self) -> None:
        """Everything is in the guides."""
