"""A constraint a request can carry: from a schema, a pattern, a grammar or a list of choices.

A constraint is compiled for one vocabulary and shared by any number of requests; each request keeps
a `State`.  States are values: keep one to roll back to it, copy it to fork.

>>> from refimpl.grammar.masks import Vocabulary, unpack
>>> vocabulary = Vocabulary.of([b"</s>", b"1", b"2", b"[", b"]", b",", b"true"], [0])
>>> c = compile_json_schema({"type": "array", "items": {"const": 2}, "maxItems": 1}, vocabulary)
>>> state = c.start
>>> for token in (3, 2):
...     state = c.advance(state, token)
>>> unpack(c.mask(state), 7).nonzero()[0].tolist()
[4]
"""

from collections.abc import Callable, Sequence
from typing import Any

from refimpl.errors import InputError
from refimpl.grammar.assertions import SchemaOptions
from refimpl.grammar.json_grammar import JsonGrammar
from refimpl.grammar.json_states import Layout
from refimpl.grammar.machine import Grammar, Machine, State
from refimpl.grammar.masks import Mask, Masks, Vocabulary
from refimpl.grammar.schema import SchemaReader

MaskMaker = Callable[[Machine, Vocabulary], Masks]


class Constraint:
    """A machine and a vocabulary.  `masks` makes the object that finds masks."""

    def __init__(self, grammar: Grammar, vocabulary: Vocabulary, masks: MaskMaker = Masks):
        self.machine, self.vocabulary = Machine(grammar), vocabulary
        self.masks = masks(self.machine, vocabulary)
        self.start = self.machine.start

    def mask(self, state: State) -> Mask:
        """The tokens allowed now, packed.  Read only."""
        return self.masks.mask(state)

    def advance(self, state: State, token: int) -> State:
        """The state after a token that the mask allows.  A stop token leaves the state as it is."""
        if token in self.vocabulary.stops and self.machine.accepts(state):
            return state
        data = self.vocabulary.tokens[token]
        after = self.machine.advance(state, data) if data else None
        if after is None:
            raise InputError(f"token {token} ({data!r}) is not allowed here; ask the mask first")
        return after

    def accepts(self, state: State) -> bool:
        return self.machine.accepts(state)

    def state_after(self, tokens: Sequence[int]) -> State:
        state = self.start
        for token in tokens:
            state = self.advance(state, token)
        return state


def compile_json_schema(
    schema: Any,
    vocabulary: Vocabulary,
    *,
    options: SchemaOptions | None = None,
    layout: Layout | None = None,
    masks: MaskMaker = Masks,
) -> Constraint:
    """Text that is one JSON document valid under the schema."""
    reader = SchemaReader(schema, options or SchemaOptions())
    return Constraint(JsonGrammar(reader, layout or Layout()), vocabulary, masks)
