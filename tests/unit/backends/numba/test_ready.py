"""The masks' code is compiled once for a machine, all of it, and whoever waits is told."""

from pathlib import Path

import pytest

pytest.importorskip("numba")

from backends.numba import compile, grammar_ready
from backends.numba.grammar_constraint import compile_json_schema
from backends.numba.grammar_vocabulary import CompiledTries
from refimpl.grammar.masks import Vocabulary

VOCABULARY = Vocabulary.of([b"</s>", *(bytes([b]) for b in range(256))], [0])
BY_THE_MACHINE = {"type": "array", "items": {"type": "integer"}, "uniqueItems": True}


def test_the_first_time_is_announced_and_no_other(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    compiled: list[str] = []
    monkeypatch.setattr(grammar_ready, "called_by_python", dict)
    monkeypatch.setattr(grammar_ready, "directory", lambda sources: tmp_path)
    monkeypatch.setattr(compile, "reports", lambda: [compile.say_once])
    monkeypatch.setattr(compile, "said_so_far", lambda: compiled)
    for _ in range(2):
        grammar_ready.compile_masks.__wrapped__()
    assert compiled == ["masks"]
    assert (
        capsys.readouterr().err == f"numba: compiling for this machine, once (kept in {tmp_path})\n"
    )


@pytest.mark.parametrize("schema", [{"required": ["a"]}, BY_THE_MACHINE])
def test_nothing_is_left_to_be_compiled_by_a_request(schema):
    tries = CompiledTries(VOCABULARY)
    constraint = compile_json_schema(schema, VOCABULARY, tries)
    state = constraint.start
    for byte in b'{"a":1}' if schema is not BY_THE_MACHINE else b"[1,2]":
        constraint.mask(state)
        state = constraint.advance(state, 1 + byte)
    assert constraint.accepts(state)
    assert [len(f.signatures) for f in grammar_ready.called_by_python()] == [1] * 10
