"""Documents that the embedded model writes under the schemas of the tests: how many are valid.

    python bench/grammar_documents.py [number of documents]

Each is asked to be complete within MAX_TOKENS.  The temperature is 1.5, at which the model alone
would not write one.  Documents for different schemas and free requests share their batches.
`jsonschema` is the judge.
"""

import json
import sys
from pathlib import Path
from time import perf_counter

import jsonschema

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from backends.numba.grammar_constraint import SchemaCompiler
from refimpl.backend import ReferenceBackend
from refimpl.engine.limits import Limits
from refimpl.engine.llm import LLM
from refimpl.model.find import find_model
from refimpl.model.load import load
from refimpl.sampling import SamplingParams

SCHEMAS = Path(__file__).resolve().parents[1] / "tests/unit/grammar/schemas.json"
MAX_TOKENS = 96


class WithMasks(ReferenceBackend):
    """The reference, with compiled masks."""

    compile_json_schema = SchemaCompiler()


def is_valid(validator, text):
    try:
        return validator.is_valid(json.loads(text))
    except ValueError:
        return False


def main(wanted):
    schemas = json.loads(SCHEMAS.read_text())["SCHEMAS"]
    names = sorted(schemas)
    llm = LLM(load(find_model("tiny")), backend=WithMasks(), limits=Limits(max_seqs=64))
    asked = [names[i % len(names)] for i in range(wanted)]
    params = [
        SamplingParams(json_schema=schemas[name], json_white_space=1, temperature=1.5, seed=i,
                       max_tokens=MAX_TOKENS, close_in_time=True)
        for i, name in enumerate(asked)
    ]  # fmt: skip
    free = [SamplingParams(temperature=1.5, seed=i, max_tokens=40) for i in range(50)]
    started = perf_counter()
    results = llm.generate(["Once upon a time"] * (wanted + len(free)), [*params, *free])
    valid, closed, wrong = 0, 0, []
    for name, result in zip(asked, results, strict=False):
        [done] = result.completions
        if done.error:
            wrong.append((name, str(done.error)))
            continue
        validator = jsonschema.Draft202012Validator(
            schemas[name], format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
        )
        if is_valid(validator, done.text):
            valid += 1
            closed += done.finish == "length"
        else:
            wrong.append((name, done.text))
    n_tokens = sum(len(r.completions[0].tokens) for r in results)
    seconds = perf_counter() - started
    print(f"{valid} of {wanted} documents valid, {len(wrong)} wrong; {closed} were closed because")
    print(f"{MAX_TOKENS} tokens were used up; {len(names)} schemas, {len(free)} free requests")
    print(f"beside them, {n_tokens} tokens in {seconds:.0f} s")
    for name, text in wrong:
        print(name, text[:160])


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
