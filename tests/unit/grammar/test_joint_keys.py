"""Objects of several shapes whose patterns are too many states to be counted together."""

import json
import random
from typing import Any

import numpy as np
import pytest

from backends.numba.grammar import CompiledTries
from backends.numba.grammar_constraint import compile_json_schema as fast_schema
from refimpl.errors import UnsupportedError
from refimpl.grammar import keys
from refimpl.grammar.closing import Closing
from refimpl.grammar.constraint import compile_json_schema
from refimpl.grammar.fit import Fit
from refimpl.grammar.keys import JointKeys
from refimpl.grammar.masks import Vocabulary, unpack


def shape(pattern: str, value: Any, **more: Any) -> dict[str, Any]:
    return {"type": "object", "patternProperties": {pattern: value}, **more}


LONG = [shape("a.{4}$", {"type": "integer"}), shape("b.{4}$", {"type": "null"})]
SMALL = {
    "open": {"anyOf": [shape("^a", {"const": 1}, required=["x"]),
                       shape("b$", {"const": "y"}, required=["ab"])]},
    "closed": {"anyOf": [shape("^a", {"const": 1}, additionalProperties=False),
                         shape("b$", {"const": 22}, additionalProperties=False)]},
    "few": {"anyOf": [shape("^[ab]", {"type": "integer"}), shape("b$", {"minimum": 3})],
            "maxProperties": 2},
    "counted": {"anyOf": [shape("^[ab]$", {"const": 1}, additionalProperties=False),
                          shape("^[bc]$", {"const": 2}, additionalProperties=False)],
                "minProperties": 2},
    "named": {"type": "array", "items": {"anyOf": [
        shape("^a", {"const": 1}, properties={"k": {"const": 1}}, required=["k"]),
        shape("^b", {"const": 2}, properties={"bk": {"const": 2}}, additionalProperties=False)]}},
}  # fmt: skip


@pytest.mark.parametrize("name", SMALL)
def test_keys_that_are_not_counted_together_are_read_as_if_they_were(
    name: str, vocabulary: Vocabulary, monkeypatch: pytest.MonkeyPatch
):
    counted = compile_json_schema(SMALL[name], vocabulary)
    monkeypatch.setattr(Fit, "can_count", lambda self, patterns: False)
    joint = compile_json_schema(SMALL[name], vocabulary)
    compiled = fast_schema(SMALL[name], vocabulary, CompiledTries(vocabulary))
    rnd, size, met = random.Random(name), len(vocabulary.tokens), False
    for _ in range(6):
        one, two, three = counted.start, joint.start, compiled.start
        for _ in range(25):
            mask = counted.mask(one)
            assert np.array_equal(mask, joint.mask(two))
            assert np.array_equal(mask, compiled.mask(three))
            token = rnd.choice(np.flatnonzero(unpack(mask, size)).tolist())
            if token == 0:
                break
            one, two = counted.advance(one, token), joint.advance(two, token)
            three = compiled.advance(three, token)
            key = joint.machine.locals[two.local]
            met |= isinstance(getattr(key, "automaton", None), JointKeys)
        assert len(Closing(joint.machine).rest(two) or b"") == len(
            Closing(counted.machine).rest(one) or b""
        )
    assert met, "such a key was read"


def test_patterns_too_long_to_be_counted_together_are_refused_or_read_but_never_in_between(
    vocabulary: Vocabulary, monkeypatch: pytest.MonkeyPatch
):
    """One shape with both is refused by name; two shapes with one each are read to the end."""
    monkeypatch.setattr(keys, "MAX_STATES", 100)  # each alone has 32, both have more
    with pytest.raises(UnsupportedError, match="patterns for keys"):
        compile_json_schema({"allOf": LONG}, vocabulary)
    machine = compile_json_schema({"anyOf": LONG}, vocabulary).machine
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft202012Validator({"anyOf": LONG})
    able = ["a1234", "b1234", "ab1234", "xab123", "x"]
    for key in able:
        for value in (1, None, "z"):
            for other in able:
                document = {key: value, other: None}
                text = json.dumps(document).encode()
                end = machine.advance(machine.start, text)
                assert (end is not None and machine.accepts(end)) == validator.is_valid(document)
