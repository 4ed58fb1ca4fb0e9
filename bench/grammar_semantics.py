"""Sixteen questions of meaning, put to several constrained-decoding engines; prints a table.

    python bench/grammar_semantics.py path/to/maskbench.py > FILE
    python docs/make_grammar.py --semantics FILE

The first argument is the MaskBench harness, whose engines are asked (`ENGINE` adds ours, as there).
A cell says what an engine does with the text: accepts, rejects, or refuses the schema.
"""

import importlib.util
import json
import sys
from importlib.metadata import version

PROBES = [
    ("1.0 is an integer", {"type": "integer"}, "1.0", True),
    ("1e2 is an integer", {"type": "integer"}, "1e2", True),
    ("enum [1] admits 1.0", {"enum": [1]}, "1.0", True),
    ("0.07 is a multiple of 0.01", {"type": "number", "multipleOf": 0.01}, "0.07", True),
    ("0.075 is not", {"type": "number", "multipleOf": 0.01}, "0.075", False),
    ("any key order", {"type": "object", "properties": {"a": {"type": "null"}, "b": {
        "type": "null"}}, "required": ["a", "b"]}, '{"b": null, "a": null}', True),
    ("an escaped key is the key", {"type": "object", "properties": {"a": {"type": "integer"}}},
     '{"\\u0061": "x"}', False),
    ("a key only once", {"type": "object", "properties": {"a": {"type": "integer"}}},
     '{"a": 1, "a": 2}', False),
    ("patterns search", {"type": "string", "pattern": "b"}, '"abc"', True),
    ("a pattern sees decoded text", {"type": "string", "pattern": '^"$'}, '"\\""', True),
    ("\\d is ASCII", {"type": "string", "pattern": "^\\d$"}, '"٣"', False),
    ("lookahead", {"type": "string", "pattern": "^(?!a)[a-z]$"}, '"a"', False),
    ("pattern and maxLength", {"type": "string", "pattern": "^a+$", "maxLength": 2}, '"aaa"',
     False),
    ("a surrogate pair is one character", {"type": "string", "maxLength": 1},
     '"\\ud83d\\ude00"', True),
    ("oneOf is exactly one", {"oneOf": [{"type": "integer"}, {"minimum": 2}]}, "3", False),
    ("uniqueItems", {"type": "array", "uniqueItems": True}, "[1, 1.0]", False),
]  # fmt: skip


def verdict(engine, vocabulary, schema, text):
    """accepts, rejects or refuses."""
    try:
        engine.compile(schema)
        engine.reset()
        for token in [*vocabulary.encode(text), vocabulary.eos]:
            mask = engine.mask()
            if not (int(mask[token >> 5]) >> (token & 31)) & 1:
                return "rejects"
            if token != vocabulary.eos:
                engine.advance(token)
    except Exception:
        return "refuses"
    return "accepts"


def harness_at(path):
    """The MaskBench harness as a module."""
    spec = importlib.util.spec_from_file_location("maskbench", path)
    harness = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(harness)
    return harness


def main(path):
    harness = harness_at(path)
    vocabulary = harness.Vocab("llama2")
    names = [n for n in ("refimpl", "xgr_compliant", "xgr", "llg") if n in harness.ENGINES]
    engines = [harness.ENGINES[n](vocabulary) for n in names]
    peers = ", ".join(f"{name} {version(name)}" for name in ("xgrammar", "llguidance"))
    print(f"Made by `bench/grammar_semantics.py` ({peers}). Bold is wrong.\n")
    print("| question | schema | text | right | " + " | ".join(names) + " |")
    print("|---" * (4 + len(names)) + "|")
    for question, schema, text, valid in PROBES:
        right = "accepts" if valid else "rejects"
        cells = [verdict(e, vocabulary, schema, text) for e in engines]
        marked = [c if c in (right, "refuses") else f"**{c}**" for c in cells]
        row = [question, f"`{json.dumps(schema)}`", f"`{text}`", right, *marked]
        print("| " + " | ".join(row).replace("\\|", "|") + " |")


if __name__ == "__main__":
    main(sys.argv[1])
