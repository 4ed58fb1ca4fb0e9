"""Documents that the embedded model writes under the schemas of the tests: how many are valid.

    python bench/grammar_documents.py RESULTS [number of documents] [seconds]

Each is asked to be complete within MAX_TOKENS.  The temperature is 1.5, at which the model alone
would not write one.  Documents for different schemas, and free requests, share their batches on the
Numba backend.  `jsonschema` is the judge.  RESULTS is a JSON file of what became of each document;
a run adds to it, until there are enough or its seconds are over, and `docs/make_grammar.py
--documents` writes the line of the page from it.
"""

import json
import sys
from itertools import count
from pathlib import Path
from time import perf_counter

import jsonschema

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from backends.numba.backend import NumbaBackend
from refimpl.engine.limits import Limits
from refimpl.engine.llm import LLM
from refimpl.model.find import find_model
from refimpl.model.load import load
from refimpl.sampling import SamplingParams

SCHEMAS = Path(__file__).resolve().parents[1] / "tests/unit/grammar/schemas.json"
PROMPTS = ("Once upon a time", "The answer is", "[1, 2,", '{"name": ')
MAX_TOKENS = 96
N_FREE = 8  # requests without a constraint in every batch


def is_valid(schema, text):
    validator = jsonschema.Draft202012Validator(
        schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
    )
    try:
        return validator.is_valid(json.loads(text))
    except ValueError:
        return False


def batch(llm, schemas, seed):
    """One document for each schema, and free requests beside them."""
    params = [
        SamplingParams(json_schema=schema, json_white_space=1, temperature=1.5, seed=seed,
                       max_tokens=MAX_TOKENS, close_in_time=True)
        for schema in schemas.values()
    ]  # fmt: skip
    free = [SamplingParams(temperature=1.5, seed=seed + i, max_tokens=40) for i in range(N_FREE)]
    prompts = [PROMPTS[seed % len(PROMPTS)]] * (len(params) + N_FREE)
    for name, result in zip(schemas, llm.generate(prompts, [*params, *free]), strict=False):
        [done] = result.completions
        yield {"schema": name, "seed": seed, "finish": str(done.finish), "text": done.text,
               "tokens": len(done.tokens), "error": str(done.error) if done.error else "",
               "valid": not done.error and is_valid(schemas[name], done.text)}  # fmt: skip


def main(path, wanted, seconds):
    schemas = json.loads(SCHEMAS.read_text())["SCHEMAS"]
    llm = LLM(load(find_model("tiny")), backend=NumbaBackend(), limits=Limits(max_seqs=64))
    done = json.loads(path.read_text()) if path.exists() else []
    began = perf_counter()
    for seed in count(len(done) // len(schemas)):
        if len(done) >= wanted or perf_counter() - began > seconds:
            break
        done = [*done, *batch(llm, schemas, seed)][:wanted]
        path.write_text(json.dumps(done, indent=0))
    print(f"{len(done)} documents, {sum(d['valid'] for d in done)} valid, "
          f"{perf_counter() - began:.0f} s in this run")  # fmt: skip
    for one in done:
        if not one["valid"]:
            print(one)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, [*sys.argv[2:], *("1000", "400")[len(sys.argv) - 2 :]]))
