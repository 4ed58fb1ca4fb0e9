"""Every simulation at its default size, for docs/engine.md.

    python bench/engine/tables.py --traces DIR [--json docs/engine.json]

DIR holds published traces, which are not ours to ship (`refimpl.engine.simulate.sources`).  No time
is measured: the same program gives the same tables anywhere.
"""

import argparse
import json
from pathlib import Path

from refimpl.engine.simulate import run
from refimpl.engine.simulate.lengths import from_trace
from refimpl.engine.simulate.sources import AZURE, MOONCAKE, find
from refimpl.engine.simulate.table import Table


def tables(traces: Path) -> dict[str, Table]:
    azure = from_trace(find(traces, AZURE))
    return {
        "waste": run("waste"),
        "waste, Azure's lengths": run("waste", lengths=azure, context=8192, n_slots=65_536),
        "sharing": run("sharing"),
        "hits": run("hits"),
        "hits, 16 at once": run("hits", at_once=16, policies=("lpm",)),
        "starvation": run("starvation"),
        "traces": run("traces", path=find(traces, MOONCAKE)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--traces", type=Path, required=True)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    made = tables(options.traces)
    for name, table in made.items():
        print(f"{name}\n{table}", end="\n\n")
    if options.json:
        told = {name: json.loads(table.json()) for name, table in made.items()}
        options.json.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
