"""A real vocabulary: what it costs once, and its compiled masks compared with the definition's.

    python bench/grammar_vocabularies.py path/to/maskbench.py llama2|tekken [masks per schema]

The instances of the harness's schemas are followed token by token; at each of the first tokens the
mask of the compiled constraint must equal the NumPy one in every bit.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from backends.numba.grammar import CompiledTries
from backends.numba.grammar_constraint import compile_json_schema
from bench.grammar_semantics import harness_at
from refimpl.errors import RefimplError
from refimpl.grammar import constraint
from refimpl.grammar.masks import Vocabulary


def masks_of(case, encode, slow, fast, most):
    """Pairs of masks along the instances of a schema, at most so many."""
    for test in case["tests"]:
        state, quick = slow.start, fast.start
        for token in encode(json.dumps(test["data"], ensure_ascii=False)):
            mask = slow.mask(state)
            yield mask, fast.mask(quick)
            most -= 1
            if not most:
                return
            if not int(mask[token >> 5]) >> (token & 31) & 1:
                break
            state, quick = slow.advance(state, token), fast.advance(quick, token)


def main(path, name, most):
    harness = harness_at(path)
    v = harness.Vocab(name)
    CompiledTries(Vocabulary.of([b"</s>", b"a"], [0]))  # compiles what is still to be compiled
    begun = time.perf_counter()
    vocabulary = Vocabulary.of(v.tokens, [v.eos])
    tries = CompiledTries(vocabulary)
    seconds = time.perf_counter() - begun
    schemas = masks = differ = 0
    for case in harness.maskbench_cases(0):
        try:
            slow = constraint.compile_json_schema(case["schema"], vocabulary)
        except RefimplError:
            continue
        fast = compile_json_schema(case["schema"], vocabulary, tries)
        schemas += 1
        for a, b in masks_of(case, v.encode, slow, fast, most):
            masks += 1
            differ += not np.array_equal(a, b)
    print(f"{v.size} tokens: {seconds:.1f} s once; {masks} masks of {schemas} schemas compared, "
          f"{differ} differ")  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 10)
