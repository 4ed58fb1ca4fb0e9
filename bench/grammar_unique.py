"""Arrays of objects that must all differ: what a token costs as the array grows.

    python bench/grammar_unique.py path/to/maskbench.py [items]

For each kind of item the array is written token by token (the 32,000 tokens of Llama 2).  The lines
say how long a token takes, its mask and the step, among the first hundred items and the last, and
how much memory the process then has.
"""

import resource
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from backends.numba.grammar import CompiledTries
from backends.numba.grammar_constraint import compile_json_schema
from bench.grammar_semantics import harness_at
from refimpl.grammar.masks import Vocabulary


def objects(**properties):
    return {"type": "object", "properties": properties, "required": [*properties],
            "additionalProperties": False}  # fmt: skip


INTEGER, STRING, WORD = {"type": "integer"}, {"type": "string"}, {"enum": ["red", "green"]}
KINDS = {
    "id, name": (objects(id=INTEGER, name=STRING), '{"id":%d,"name":"n%d"}'),
    "name, id": (objects(id=INTEGER, name=STRING), '{"name":"n%d","id":%d}'),
    "id, a word": (objects(id=INTEGER, colour=WORD), '{"id":%d,"colour":"green"}'),
    "id": (objects(id=INTEGER), '{"id":%d}'),
    "two numbers": ({"type": "array", "items": {"type": "number"}, "minItems": 2}, "[%d,%d]"),
}


def written(schema, form, items, v, vocabulary, tries):
    """Microseconds of every token of the first and the last hundred items, by item."""
    c = compile_json_schema(schema, vocabulary, tries)
    state, out = c.start, []
    for i in range(items):
        timed = i < 100 or i >= items - 100
        for token in v.encode(("[" if i == 0 else ",") + form % ((i,) * form.count("%d"))):
            begun = time.perf_counter()
            if timed:
                c.mask(state)
            state = c.advance(state, token)
            out += [(i, (time.perf_counter() - begun) * 1e6)] if timed else []
    return np.array(out)


def main(path, items):
    v = harness_at(path).Vocab("llama2")
    vocabulary = Vocabulary.of(v.tokens, [v.eos])
    tries = CompiledTries(vocabulary)
    for name, (item, form) in KINDS.items():
        schema = {"type": "array", "items": item, "uniqueItems": True, "minItems": items}
        begun = time.perf_counter()
        times = written(schema, form, items, v, vocabulary, tries)
        seconds = time.perf_counter() - begun
        first, last = (
            np.percentile(times[at, 1], (50, 99)) / 1000
            for at in (times[:, 0] < 100, times[:, 0] >= items - 100)
        )
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        print(f"{name}: {first[0]:.1f}/{first[1]:.1f} ms a token at first, "
              f"{last[0]:.1f}/{last[1]:.1f} at last, {seconds:.0f} s, {peak} MiB")  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 3000)
