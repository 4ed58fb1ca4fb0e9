"""Random texts under the masks of real schemas: every one must be valid, and none may get stuck.

    python bench/grammar_walks.py path/to/maskbench.py [number of walks]

A walk draws its tokens from the mask alone, without a model; it likes to stop.  The schemas and the
32,000 tokens of Llama 2 come with the harness.  Needs `jsonschema-rs` as the judge.
"""

import json
import random
import sys
from pathlib import Path

import jsonschema_rs
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from backends.numba.grammar import CompiledTries
from backends.numba.grammar_constraint import compile_json_schema
from bench.grammar_semantics import harness_at
from refimpl.errors import RefimplError
from refimpl.grammar.masks import Vocabulary, unpack

LIKED = (b'"', b"}", b"]", b'"}', b'",', b'":', b'"]', b"0", b"1", b"true", b"null", b":", b",")
MAX_TOKENS = 120


def walk(constraint, rnd, liked):
    """The text of one walk; None if it grew too long.  A dead end is an empty list."""
    tokens, size = constraint.vocabulary.tokens, len(constraint.vocabulary.tokens)
    state, out = constraint.start, b""
    for _ in range(MAX_TOKENS):
        allowed = unpack(constraint.mask(state), size)
        stop = allowed[constraint.vocabulary.stops[0]]
        allowed[list(constraint.vocabulary.stops)] = False
        choices = np.flatnonzero(allowed)
        if stop and (rnd.random() < 0.8 or not choices.size):
            return out
        if not choices.size:
            raise AssertionError(f"dead end after {out!r}")
        near = choices[liked[choices]]
        pool = near if near.size and rnd.random() < 0.7 else choices
        token = int(pool[rnd.randrange(pool.size)])
        state, out = constraint.advance(state, token), out + tokens[token]
    return None


def main(path, wanted):
    harness = harness_at(path)
    v = harness.Vocab("llama2")
    vocabulary = Vocabulary.of(v.tokens, [v.eos])
    tries = CompiledTries(vocabulary)
    liked = np.array([t in LIKED for t in vocabulary.tokens])
    cases = list(harness.maskbench_cases(0))
    random.Random(0).shuffle(cases)
    each = -(-wanted // len(cases))
    walks = finished = long = overflow = refused = 0
    invalid, dead = [], []
    for n, case in enumerate(cases):
        if n % 50 == 0:
            print(f"{n} schemas, {walks} walks, {finished} finished, {len(invalid)} invalid, "
                  f"{len(dead)} dead ends", file=sys.stderr, flush=True)  # fmt: skip
        try:
            validator = jsonschema_rs.validator_for(case["schema"], validate_formats=True)
            constraint = compile_json_schema(case["schema"], vocabulary, tries)
        except (RefimplError, ValueError) as error:
            refused += 1
            print(f"not walked: {case['id']}: {str(error)[:100]}", file=sys.stderr)
            continue
        for seed in range(each):
            walks += 1
            try:
                text = walk(constraint, random.Random(f"{case['id']} {seed}"), liked)
            except AssertionError as error:
                dead.append((case["id"], str(error)))
                continue
            if text is None:
                long += 1
                continue
            finished += 1
            value = json.loads(text)
            if "Infinity" in json.dumps(value):
                overflow += 1  # 1e999, which no double can hold
            elif not validator.is_valid(value):
                invalid.append((case["id"], text.decode()[:200]))
    print(f"{walks} walks: {finished} finished, {len(invalid)} invalid, {len(dead)} dead ends, "
          f"{long} still going after {MAX_TOKENS} tokens, {overflow} with a number beyond doubles; "
          f"{refused} of {len(cases)} schemas not walked")  # fmt: skip
    for name, text in (*invalid, *dead):
        print(name, text)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 10_000)
