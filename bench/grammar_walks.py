"""Random texts under the masks of real schemas: every one must be valid, and none may get stuck.

    python bench/grammar_walks.py path/to/maskbench.py RESULTS [number of walks] [seconds]

A walk draws its tokens from the mask alone, without a model; it likes to stop.  One that goes on
for MAX_TOKENS is then closed by the shortest way (`refimpl.grammar.closing`), whose bytes must be
in the masks like any other token, so every walk ends as a document.  The schemas and the 32,000
tokens of Llama 2 come with the harness.  RESULTS is a JSON file of what became of each schema's
walks; a run adds to it until its seconds are over, and `docs/make_grammar.py --walks` writes the
line of the page from it.  Needs `jsonschema-rs` as the judge.
"""

import json
import random
import sys
from pathlib import Path
from time import perf_counter

import jsonschema_rs
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from backends.numba.grammar import CompiledTries
from backends.numba.grammar_constraint import compile_json_schema
from bench.grammar_semantics import harness_at
from refimpl.errors import RefimplError
from refimpl.grammar.closing import Closing
from refimpl.grammar.machine import Machine
from refimpl.grammar.masks import Vocabulary, unpack

LIKED = (b'"', b"}", b"]", b'"}', b'",', b'":', b'"]', b"0", b"1", b"true", b"null", b":", b",")
MAX_TOKENS = 120


class Walker:
    """Random texts under one constraint."""

    def __init__(self, constraint, liked):
        self.constraint, self.vocabulary, self.liked = constraint, constraint.vocabulary, liked
        self.closing = Closing(Machine(constraint.machine.grammar))
        self.byte = {t: i for i, t in enumerate(self.vocabulary.tokens) if len(t) == 1}

    def allowed(self, state):
        """(the tokens allowed, whether the text may stop)"""
        allowed = unpack(self.constraint.mask(state), len(self.vocabulary.tokens))
        stop = bool(allowed[self.vocabulary.stops[0]])
        allowed[list(self.vocabulary.stops)] = False
        if not stop and not allowed.any():
            raise AssertionError("dead end")
        return allowed, stop

    def walk(self, rnd):
        """(text, whether it had to be closed)"""
        state, out = self.constraint.start, b""
        for _ in range(MAX_TOKENS):
            allowed, stop = self.allowed(state)
            choices = np.flatnonzero(allowed)
            if stop and (rnd.random() < 0.8 or not choices.size):
                return out, False
            near = choices[self.liked[choices]]
            pool = near if near.size and rnd.random() < 0.7 else choices
            token = int(pool[rnd.randrange(pool.size)])
            state, out = self.constraint.advance(state, token), out + self.vocabulary.tokens[token]
        return out + self.close(state, out), True

    def close(self, state, text):
        machine = self.closing.machine
        rest = self.closing.rest(machine.advance(machine.start, text))
        if rest is None:
            raise TimeoutError
        for i in range(len(rest)):
            token = self.byte[rest[i : i + 1]]
            if not self.allowed(state)[0][token]:
                raise AssertionError(f"the rest {rest!r} is not allowed")
            state = self.constraint.advance(state, token)
        if not self.allowed(state)[1]:
            raise AssertionError(f"after the rest {rest!r} the text may not end")
        return rest


def walks_of(case, vocabulary, tries, liked, each):
    """What became of one schema's walks."""
    out = {"walks": each, "finished": 0, "closed": 0, "overflow": 0, "long": 0}
    out |= {"invalid": [], "dead": [], "refused": ""}
    try:
        validator = jsonschema_rs.validator_for(case["schema"], validate_formats=True)
        walker = Walker(compile_json_schema(case["schema"], vocabulary, tries), liked)
        for seed in range(each):
            try:
                text, closed = walker.walk(random.Random(f"{case['id']} {seed}"))
            except AssertionError as error:
                out["dead"].append(str(error)[:200])
                continue
            except TimeoutError:
                out["long"] += 1
                continue
            value = json.loads(text)
            out["finished"] += 1
            out["closed"] += closed
            if "Infinity" in json.dumps(value):
                out["overflow"] += 1  # 1e999, which no double can hold
            elif not validator.is_valid(value):
                out["invalid"].append(text.decode()[:200])
    except (RefimplError, ValueError) as error:
        return out | {"walks": 0, "refused": f"{type(error).__name__}: {error}"[:200]}
    return out


def main(path, results, wanted, seconds):
    harness = harness_at(path)
    v = harness.Vocab("llama2")
    vocabulary = Vocabulary.of(v.tokens, [v.eos])
    tries = CompiledTries(vocabulary)
    liked = np.array([t in LIKED for t in vocabulary.tokens])
    cases = list(harness.maskbench_cases(0))
    done = json.loads(results.read_text()) if results.exists() else {}
    began, each = perf_counter(), -(-wanted // len(cases))
    for case in cases:
        if perf_counter() - began > seconds:
            break
        if case["id"] not in done:
            done[case["id"]] = walks_of(case, vocabulary, tries, liked, each)
            results.write_text(json.dumps(done, indent=0))
    print(f"{len(done)} of {len(cases)} schemas, {sum(d['finished'] for d in done.values())} walks "
          f"finished, {perf_counter() - began:.0f} s in this run")  # fmt: skip
    for name, one in done.items():
        if one["invalid"] or one["dead"] or one["refused"] or one["long"]:
            print(name, one)


if __name__ == "__main__":
    numbers = [*sys.argv[3:], *("10000", "400")[len(sys.argv) - 3 :]]
    main(sys.argv[1], Path(sys.argv[2]), *map(int, numbers))
