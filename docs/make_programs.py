"""Write the measured parts of docs/programs.md from docs/programs.json (bench/programs.py).

python docs/make_programs.py            rewrite the parts between the page's markers
python docs/make_programs.py --check    exit with status 1 if that would change it
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
PAGE = DOCS / "programs.md"
ENGINES = ("nothing", "forks", "cache", "all")


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def workloads(measured: dict[str, Any]) -> str:
    """One line a workload: prompt tokens, and for each engine what it computed."""
    head = ["workload", "prompt tokens"]
    head += [f"computed: {name}" for name in ENGINES]
    head += ["hits: all", "steps: nothing / all", "wall s: nothing / all", "cpu s: nothing / all"]
    rows = []
    for name, told in measured.items():
        bare, whole = told["nothing"], told["all"]
        rows.append(
            [
                f"[{name}](../examples/{name}.py)",
                f"{bare['prompt']:,}",
                *(f"{told[engine]['prefilled']:,}" for engine in ENGINES),
                f"{whole['hit_rate']:.1%}",
                f"{bare['steps']} / {whole['steps']}",
                f"{bare['seconds']:.2f} / {whole['seconds']:.2f}",
                f"{bare['cpu']:.2f} / {whole['cpu']:.2f}",
            ]
        )
    return table(head, rows)


def summary(measured: dict[str, Any]) -> str:
    """The ratios, from the least to the greatest."""

    def ratios(key: str) -> str:
        found = sorted(one["nothing"][key] / one["all"][key] for one in measured.values())
        return f"{found[0]:.1f} to {found[-1]:.1f}"

    prefill, seconds, cpu = ratios("prefilled"), ratios("seconds"), ratios("cpu")
    hits = sorted(one["all"]["hit_rate"] for one in measured.values())
    return (
        f"All of it together: hit rates from {hits[0]:.0%} to {hits[-1]:.0%}, "
        f"{prefill} times less prefill, {cpu} times less processor time, "
        f"{seconds} times less wall time."
    )


def page(measured: dict[str, Any]) -> str:
    text = PAGE.read_text()
    for name, make in (("workloads", workloads), ("summary", summary)):
        part = f"<!-- {name} -->\n{make(measured)}\n<!-- end -->"
        text = re.sub(rf"<!-- {name} -->\n.*?<!-- end -->", lambda _, p=part: p, text, flags=re.S)
    return text


def main() -> None:
    new = page(json.loads((DOCS / "programs.json").read_text()))
    if "--check" in sys.argv:
        sys.exit(new != PAGE.read_text())
    PAGE.write_text(new)


if __name__ == "__main__":
    main()
