"""How long opening a GGUF file takes, here and with the `gguf` package's reader.

    python bench/formats_open.py [FILE.gguf ...] [--rounds N] [--json PATH]

The first file is made up: 128,000 tokens, 280,000 merges, no tensors, which is what a Llama 3 model
carries.  Both readers open each file in turn, round after round, so that a slow moment of the
machine hits both; the figures are medians.  `+ vocabulary` also asks for the tokens and merges as
Python strings.
"""

import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click
import gguf

from refimpl.formats.gguf import GGUF, write_gguf

KEYS = ("tokenizer.ggml.tokens", "tokenizer.ggml.merges")


def write_vocabulary(path: Path) -> None:
    rng = random.Random(0)
    letters = "etaoinshrdluĠcmfwypvbgk"
    tokens = ["".join(rng.choices(letters, k=rng.randint(2, 10))) for _ in range(128_000)]
    merges = [f"{rng.choice(tokens)} {rng.choice(tokens)}" for _ in range(280_000)]
    write_gguf(path, {KEYS[0]: tokens, KEYS[1]: merges}, {})


def ours(path: Path) -> object:
    return GGUF.open(path)


def theirs(path: Path) -> object:
    return gguf.GGUFReader(path)


def our_vocabulary(path: Path) -> object:
    metadata = GGUF.open(path).metadata
    return [metadata[key] for key in KEYS if key in metadata]


def their_vocabulary(path: Path) -> object:
    fields = gguf.GGUFReader(path).fields
    return [fields[key].contents() for key in KEYS if key in fields]


def seconds(task: Callable[[Path], object], path: Path) -> float:
    start = time.perf_counter()
    result = task(path)
    elapsed = time.perf_counter() - start
    del result  # freeing it is not part of opening
    return elapsed


def compare(path: Path, rounds: int) -> dict[str, float]:
    tasks = (ours, theirs, our_vocabulary, their_vocabulary)
    times = [[seconds(task, path) for task in tasks] for _ in range(rounds)]
    medians = [statistics.median(column) for column in zip(*times, strict=True)]
    return dict(zip((task.__name__ for task in tasks), medians, strict=True))


@click.command(help=__doc__)
@click.argument("files", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option("--rounds", default=3, show_default=True)
@click.option("--json", "json_path", type=click.Path(path_type=Path))
def main(files: tuple[Path, ...], rounds: int, json_path: Path | None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        generated = Path(folder, "128k-tokens-280k-merges.gguf")
        write_vocabulary(generated)
        results = {path.name: compare(path, rounds) for path in (generated, *files)}
    print(f"{'milliseconds':44}{'refimpl':>10}{'gguf':>10}{'ratio':>8}")
    for name, t in results.items():
        for label, mine, other in (
            (name, t["ours"], t["theirs"]),
            ("  + vocabulary", t["our_vocabulary"], t["their_vocabulary"]),
        ):
            print(f"{label:44}{1e3 * mine:10.1f}{1e3 * other:10.1f}{other / mine:8.1f}")
    if json_path:
        json_path.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
