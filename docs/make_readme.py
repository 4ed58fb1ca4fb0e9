"""Write the parts of README.md that are facts: the transcript and the reading path.

    python docs/make_readme.py            rewrite README.md
    python docs/make_readme.py --check    exit with status 1 if it would change

The transcript is what the commands print, seeds fixed.  The reading path is the first sentence of
each file's docstring, or of the comment that a kernel opens with.
"""

import ast
import re
import subprocess
import sys
from itertools import takewhile
from pathlib import Path

ROOT = Path(__file__).parent.parent

COMMANDS = [
    'refimpl generate --seed 1 --max-tokens 100 "Once upon a time"',
    'refimpl generate --chat --temperature 0 "What is 17 + 25?"',
    'refimpl generate --seed 1 --regex "[0-9]{3}-[0-9]{4}" "Call me at "',
    'refimpl tokenize "What is 17 + 25?"',
]

PATH = {  # packages in reading order, and within each the files a newcomer should open first
    "refimpl/ops": [
        "numerics", "tensor", "norm", "activation", "rope", "attention", "moe", "bounds",
    ],
    "refimpl/formats": [
        "gguf/__init__", "gguf/reader", "gguf/writer", "safetensors",
        "quants/block", "quants/legacy", "quants/k", "quants/iq23", "quants/dot", "quantize",
        "packings/__init__",
    ],
    "refimpl/text": ["__init__", "merging", "bpe", "spm", "tokenizer", "detokenize", "chat"],
    "refimpl/model": [
        "families", "config", "forward", "parts", "cache", "generate", "stream",
        "checkpoint", "huggingface", "huggingface_tensors", "llama2c", "load", "convert",
    ],
    "refimpl/sampling": ["__init__", "params", "truncate", "chain", "philox", "choose"],
    "refimpl/kv": ["blocks", "lease", "prefix", "hashed", "radix", "tree", "eviction", "paged"],
    "refimpl": ["backend", "offload"],
    "refimpl/engine": [
        "core", "request", "scheduler", "policies", "admission", "victims", "batch", "draw",
        "overlap", "llm", "beam/search", "speculative/engine", "simulate/__init__", "show/__init__",
    ],
    "refimpl/grammar": [
        "__init__", "regex", "fsm", "trie", "masks", "cfg", "shapes", "schema", "machine",
        "constraint",
    ],
    "refimpl/lang": ["__init__", "state", "fork", "program", "pending", "choices", "remote"],
    "refimpl/oracle": [
        "__init__", "suite", "strategies", "comparison", "floor", "guards", "models",
    ],
    "backends/numba": [
        "__init__", "simd", "processor", "tile", "kernels/legacy", "kernels/k", "matmul",
        "attention", "pool", "step", "backend",
    ],
    "backends/cupy": [
        "tiles", "kernels/linear_q8.cu", "kernels/linear_q8_one.cu",
        "kernels/linear_half_hopper.cu", "kernels/attend_split.cu",
        "kernels/attend_combine.cu", "kernels/sample_pick.cu",
        "driver", "step", "graph", "backend",
    ],
}  # fmt: skip


def transcript() -> str:
    """Each command and what it prints on standard output."""
    blocks = []
    for command in COMMANDS:
        run = ["sh", "-c", command]
        told = subprocess.run(
            run, cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
        if told.returncode:
            raise SystemExit(f"{command}: {told.stderr}")
        blocks.append(f"```console\n$ {command}\n{told.stdout.rstrip()}\n```")
    return "\n\n".join(blocks)


def reading_path() -> str:
    """A list of files, each with the first sentence of its docstring."""
    lines = []
    for package, names in PATH.items():
        lines.append(f"- **{package}**")
        for name in names:
            file = f"{package}/{name}" if name.endswith(".cu") else f"{package}/{name}.py"
            label = f"{name.removesuffix('/__init__')}" if name != "__init__" else "the package"
            lines.append(f"  - [{label}]({file}): {first_sentence(ROOT / file)}")
    return "\n".join(lines)


def first_sentence(file: Path) -> str:
    docstring = opening(file.read_text("utf-8"), file.suffix)
    paragraph = " ".join(docstring.split("\n\n")[0].split())
    return re.split(r"(?<=[.:]) (?=[A-Z`])", paragraph)[0].rstrip(":.").removesuffix("?") + "."


def opening(text: str, suffix: str) -> str:
    """The docstring of a module; of a kernel the comment at its top."""
    if suffix == ".py":
        return ast.get_docstring(ast.parse(text)) or ""
    lines = takewhile(lambda line: line.startswith("//"), text.splitlines())
    return "\n".join(line.removeprefix("//").strip() for line in lines)


def replaced(text: str, marker: str, body: str) -> str:
    pattern = rf"(<!-- {marker}:[^>]*-->\n).*?(<!-- /{marker} -->)"
    return re.sub(pattern, lambda m: f"{m[1]}{body}\n{m[2]}", text, flags=re.DOTALL)


def main() -> None:
    readme = ROOT / "README.md"
    old = readme.read_text("utf-8")
    new = replaced(replaced(old, "transcript", transcript()), "path", reading_path())
    if "--check" in sys.argv:
        sys.exit(new != old)
    readme.write_text(new, "utf-8")


if __name__ == "__main__":
    main()
