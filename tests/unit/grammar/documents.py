"""For tests by enumeration: schemas of few values, and all texts that a machine takes."""

import json
from collections.abc import Iterator
from itertools import chain, combinations, permutations, product
from typing import Any

from refimpl.grammar.assertions import SchemaOptions
from refimpl.grammar.json_grammar import JsonGrammar
from refimpl.grammar.json_states import Layout
from refimpl.grammar.machine import Machine, State
from refimpl.grammar.schema import SchemaReader

UNIQUE: dict[str, Any] = {"type": "array", "uniqueItems": True}
BIT = {"type": "boolean"}
ZERO = {"const": 0}


def pair(**more: Any) -> dict[str, Any]:
    """Objects of two members."""
    return {"type": "object", "properties": {"a": BIT, "b": ZERO}, "required": ["a", "b"],
            "additionalProperties": False, **more}  # fmt: skip


def objects(values: list[Any], keys: str = "ab") -> list[Any]:
    """All objects whose members have these keys and values."""
    some = chain.from_iterable(combinations(keys, n) for n in range(len(keys) + 1))
    return [dict(zip(ks, vs, strict=True)) for ks in some for vs in product(values, repeat=len(ks))]


def arrays(values: list[Any], most: int) -> list[Any]:
    return [list(v) for n in range(most + 1) for v in product(values, repeat=n)]


def machine_of(schema: Any, **layout: Any) -> Machine:
    return Machine(JsonGrammar(SchemaReader(schema, SchemaOptions()), Layout(**layout)))


def accepts(machine: Machine, text: str) -> bool:
    state = machine.advance(machine.start, text.encode())
    return state is not None and machine.accepts(state)


def texts(machine: Machine, letters: bytes) -> Iterator[str]:
    """All texts in these letters.  None of them is given up halfway."""
    todo: list[tuple[State, bytes]] = [(machine.start, b"")]
    while todo:
        state, text = todo.pop()
        ended = machine.accepts(state)
        if ended:
            yield text.decode()
        steps = ((machine.step(state, b), text + bytes((b,))) for b in letters)
        able = [(after, longer) for after, longer in steps if after is not None]
        assert able or ended, text
        todo += able


def spelled(value: Any) -> Iterator[str]:
    """With the members in any order."""
    if isinstance(value, dict):
        for members in permutations(value.items()):
            for parts in product(*(spelled(v) for _, v in members)):
                pairs = (f"{json.dumps(k)}:{v}" for (k, _), v in zip(members, parts, strict=True))
                yield "{" + ",".join(pairs) + "}"
    elif isinstance(value, list):
        for parts in product(*map(spelled, value)):
            yield "[" + ",".join(parts) + "]"
    else:
        yield json.dumps(value)
