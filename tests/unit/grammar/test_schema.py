"""JSON Schema: what is generated validates, what validates is accepted, the rest is named."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from refimpl.errors import InputError, UnsupportedError
from refimpl.grammar.assertions import SchemaOptions
from refimpl.grammar.constraint import Constraint, compile_json_schema
from refimpl.grammar.formats import format_language
from refimpl.grammar.json_grammar import JsonGrammar
from refimpl.grammar.json_states import Layout, UnsatisfiableError
from refimpl.grammar.machine import Machine
from refimpl.grammar.masks import Vocabulary, unpack
from refimpl.grammar.regex import Regexes
from refimpl.grammar.schema import SchemaReader

CASES = json.loads(Path(__file__).with_name("schemas.json").read_text())
SCHEMAS, UNSATISFIABLE = CASES["SCHEMAS"], CASES["UNSATISFIABLE"]
REFUSED, MALFORMED = CASES["REFUSED"], CASES["MALFORMED"]


def machine(schema: Any, **options: Any) -> Machine:
    return Machine(JsonGrammar(SchemaReader(schema, SchemaOptions(**options)), Layout()))


def accepts(m: Machine, text: str) -> bool:
    state = m.advance(m.start, text.encode())
    return state is not None and m.accepts(state)


def generate(c: Constraint, rnd: random.Random, limit: int = 300) -> bytes | None:
    """A random walk that prefers to stop; None if it grew too long."""
    state, out = c.start, b""
    for _ in range(limit):
        allowed = np.flatnonzero(unpack(c.mask(state), len(c.vocabulary.tokens)))
        assert allowed.size, f"dead end after {out!r}"
        if allowed[0] == 0 and (rnd.random() < 0.8 or allowed.size == 1):
            return out
        likely = [t for t in allowed if c.vocabulary.tokens[t] in LIKELY]
        choice = likely if likely and rnd.random() < 0.8 else [t for t in allowed if t]
        token = int(rnd.choice(choice))
        state, out = c.advance(state, token), out + c.vocabulary.tokens[token]
    return None


LIKELY = {bytes([b]) for b in b'{}[]":,0123456789abcxy-.'} | {b"true", b"null", b'": '}


@pytest.mark.parametrize("name", SCHEMAS)
def test_generated_documents_validate(name: str, vocabulary: Vocabulary):
    jsonschema = pytest.importorskip("jsonschema")
    schema = SCHEMAS[name]
    validator = jsonschema.Draft202012Validator(
        schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
    )
    c = compile_json_schema(schema, vocabulary, layout=Layout(white_space=1))
    rnd, finished = random.Random(name), 0
    for _ in range(5):
        out = generate(c, rnd)
        if out is not None:
            finished += 1
            document = json.loads(out)
            assert validator.is_valid(document), out
    assert finished


@pytest.mark.parametrize("name", UNSATISFIABLE)
def test_a_contradiction_is_found_before_anything_is_generated(name: str):
    with pytest.raises(UnsatisfiableError):
        machine(UNSATISFIABLE[name])


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_decided_is_refused_by_name(name: str):
    schema, word = REFUSED[name]
    with pytest.raises(UnsupportedError, match=word):
        machine(schema)


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_schema_is_an_input_error(name: str):
    with pytest.raises(InputError):
        machine(MALFORMED[name])


INTEGER_A = {"type": "object", "properties": {"a": {"type": "integer"}}}


@pytest.mark.parametrize(
    ("schema", "text", "valid"),
    [
        ({"type": "integer"}, "1.0", True),
        ({"type": "integer"}, "1e2", True),
        ({"type": "integer"}, "1.5e1", True),
        ({"type": "integer"}, "1.5", False),
        ({"type": "integer"}, "1.55e1", False),
        ({"type": "integer"}, "1.12345e5", True),
        ({"type": "integer"}, "1.12345e4", False),
        ({"enum": [1]}, "1.00", True),
        ({"const": 0.1}, "1e-1", True),
        ({"const": False}, "0", False),
        ({"multipleOf": 0.01}, "0.07", True),
        ({"multipleOf": 0.01}, "0.075", False),
        ({"enum": [1e400, 2]}, "3e400", False),  # an exponent has three digits, to 300
        ({"enum": [1e400, 2]}, "1" + 310 * "0" + ".0", True),  # both are read as infinite
        ({"enum": [1e400, 2]}, "2", True),
        ({"const": 9007199254740993}, "9007199254740993", True),
        ({"const": 9007199254740993}, "9007199254740992", False),
        (INTEGER_A, '{"a": 1}', True),
        (INTEGER_A, '{"\\u0061": "x"}', False),  # an escaped key is the same key
        (INTEGER_A, '{"b": "x", "a": 2}', True),  # any order
        (INTEGER_A, '{"a": 1, "a": 2}', False),
        (INTEGER_A, '{"a": 1, "\\u0061": 2}', False),
        (INTEGER_A, '{"a":1,}', False),
        (INTEGER_A, '{"a" :\t1 }', True),
        (INTEGER_A, "[]", False),
        ({"pattern": "^é$"}, '"\\u00e9"', True),
        ({"pattern": "^é$"}, '"é"', True),
        ({"pattern": '^"$'}, '"\\""', True),
        ({"pattern": "b"}, '"abc"', True),
        ({"maxLength": 1}, '"\\ud83d\\ude00"', True),
        ({"maxLength": 1}, '"😀"', True),
        ({"minLength": 2}, '"😀"', False),
        ({"type": "string"}, '"\\ud83d"', False),
        ({"type": "string"}, '"\\/\x7f"', True),
        ({"type": "string"}, '"\n"', False),
        ({"format": "date"}, '"2024-02-30"', False),
        ({"format": "unheard-of"}, '"x"', True),
        (True, " 1", False),
    ],
)
def test_semantics(schema: Any, text: str, valid: bool):
    assert accepts(machine(schema), text) is valid


def test_draft_4_integers_have_no_fraction_and_ref_hides_its_siblings():
    draft = "http://json-schema.org/draft-04/schema#"
    assert not accepts(machine({"$schema": draft, "type": "integer"}), "1.0")
    schema = {"$schema": draft, "definitions": {"n": {}}, "$ref": "#/definitions/n", "type": "null"}
    assert accepts(machine(schema), "1")


def test_formats_can_be_annotations():
    assert accepts(machine({"format": "date"}, formats=False), '"x"')


def test_a_referenced_document_can_be_given():
    schema = {"$ref": "https://x.example/n#/$defs/n"}
    other = {"$id": "https://x.example/n", "$defs": {"n": {"type": "null"}}}
    m = machine(schema, resources={"https://x.example/n": other})
    assert accepts(m, "null") and not accepts(m, "1")


def test_the_test_suite_of_json_schema(shared: Any):
    """Every group is right in every instance, or refused by name."""
    wrong, right, refused = [], 0, 0
    for path in sorted((shared / "jsonschema" / "draft2020-12").glob("*.json")):
        for n, group in enumerate(json.loads(path.read_text())):
            try:
                m = machine(group["schema"], formats=False)
            except UnsatisfiableError:
                right += not any(t["valid"] for t in group["tests"])
                continue
            except UnsupportedError:
                refused += 1
                continue
            texts = [json.dumps(t["data"], ensure_ascii=False) for t in group["tests"]]
            verdicts = [accepts(m, t) for t in texts]
            if verdicts != [t["valid"] for t in group["tests"]]:
                wrong.append(f"{path.stem}#{n}")
            else:
                right += 1
    assert not wrong
    assert right >= 359 and refused <= 24


@pytest.mark.parametrize(("local", "valid"), [("a" * 64, True), ("a" * 65, False), ("a.b", True)])
def test_the_local_part_of_an_email_has_at_most_64_characters(local: str, valid: bool):
    regexes = Regexes()
    language = format_language(regexes, "email")
    assert language is not None
    assert regexes.matches(language, f"{local}@example.org") is valid
