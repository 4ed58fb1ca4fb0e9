"""Writes the measured tables of grammar.md, from what the harness and the scripts of bench/ left.

    python docs/make_grammar.py [NAME=FILE...] [--walks FILE] [--documents FILE] [--semantics FILE]
                                [--vocabularies FILE]

NAME=FILE is a result of MaskBench's harness (a line of JSON for each schema) and what to call it;
the others are what `bench/grammar_walks.py`, `_documents.py`, `_semantics.py` and
`_vocabularies.py` left.
"""

import argparse
import json
from pathlib import Path

import numpy as np

PAGE = Path(__file__).with_name("grammar.md")
COLUMNS = (
    "", "schemas passed", "invalid accepted", "compile ms p50/p95", "mask us p50/p95/p99",
    "mask and advance us p50/p95", "tokens",
)  # fmt: skip
HEAD = f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|"


def row(name, path):
    cases = [json.loads(line) for line in path.read_text().splitlines()]
    made = [c for c in cases if "compile_us" in c]
    mask, step = (np.concatenate([c[k] for c in made if c[k]]) for k in ("mask_us", "step_us"))
    compiled = [c["compile_us"] / 1e3 for c in made]
    at = lambda values, *q: "/".join(f"{x:,.1f}" for x in np.percentile(values, q))
    passed, wrong = sum(c["ok"] for c in made), sum(bool(c["under"]) for c in made)
    share = f"{passed} of {len(cases)} ({100 * passed / len(cases):.1f} %)"
    return (f"| {name} | {share} | {wrong} | {at(compiled, 50, 95)} | {at(mask, 50, 95, 99)} "
            f"| {at(step, 50, 95)} | {len(mask):,} |")  # fmt: skip


def replaced(page, name, text):
    """The page with the part between two markers exchanged."""
    begin, end = f"<!-- {name} -->\n", f"\n<!-- end of {name} -->"
    before, rest = page.split(begin)
    return before + begin + text + end + rest.split(end, 1)[1]


def documents(path):
    """What became of the documents that the embedded model wrote."""
    done = json.loads(path.read_text())
    valid, cut = sum(d["valid"] for d in done), sum(d["finish"] == "length" for d in done)
    schemas, tokens = len({d["schema"] for d in done}), sum(d["tokens"] for d in done)
    return (f"{valid:,} of {len(done):,} documents valid, under {schemas} schemas, "
            f"{tokens:,} tokens; {cut} were closed as their tokens were used up")  # fmt: skip


def walks(path):
    """What became of the random walks."""
    done = json.loads(path.read_text()).values()
    total = lambda key: sum(d[key] if isinstance(d[key], int) else len(d[key]) for d in done)
    refused = sum(bool(d["refused"]) for d in done)
    return (f"{total('walks'):,} walks: {total('finished'):,} finished, {total('closed'):,} "
            f"of them closed after 120 tokens, {total('invalid')} invalid, "
            f"{total('dead')} dead ends, "
            f"{total('long')} not closed, {total('overflow')} with a number beyond doubles; "
            f"{refused} of {len(done)} schemas not walked")  # fmt: skip


def text_of(path):
    return path.read_text().strip()


def main():
    parts = {"walks": walks, "documents": documents, "semantics": text_of,
             "vocabularies": text_of}  # fmt: skip
    parser = argparse.ArgumentParser()
    parser.add_argument("results", nargs="*")
    for name in parts:
        parser.add_argument(f"--{name}", type=Path)
    args = parser.parse_args()
    pairs = [r.split("=", 1) for r in args.results]
    page = PAGE.read_text()
    if pairs:
        page = replaced(page, "figures", "\n".join([HEAD, *(row(n, Path(p)) for n, p in pairs)]))
    for name, read in parts.items():
        if path := getattr(args, name):
            page = replaced(page, name, read(path))
    PAGE.write_text(page)


if __name__ == "__main__":
    main()
