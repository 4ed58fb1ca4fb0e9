"""Measure speculation and beams, and write the tables of docs/speculation.md.

    python docs/make_speculation.py             measure again, then write
    python docs/make_speculation.py --write     write from docs/speculation.json

Timings are of the machine it runs on, and worth their ratios only.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
DATA, PAGE = HERE / "speculation.json", HERE / "speculation.md"
CASES = (
    ("numpy", "none", "stories", 0.0),
    ("numba", "none", "stories", 0.0),
    ("numba", "q8", "stories", 0.0),
    ("numba", "none", "stories", 0.8),
    ("numba", "none", "sums", 0.0),
)
GUESSES = 7
PUBLISHED = {2: (37.6, 44.3), 6: (55.2, 66.3)}
"""vLLM paper, section 6.3: blocks saved in beam search on Alpaca and ShareGPT, in percent."""


def speculation() -> list[dict]:
    cases = []
    for backend, act, text, temperature in CASES:
        command = [sys.executable, "cli.py", "bench", "speculative", "--json", "--threads", "1"]
        command += ["--backend", backend, "--act", act, "--text", text, "-k", str(GUESSES)]
        command += ["--temperature", str(temperature), "--repeats", "3", "-n", "96"]
        out = subprocess.run(command, cwd=HERE.parent, check=True, capture_output=True, text=True)
        cases.append({"act": act, **json.loads(out.stdout)})
    return cases


def beams() -> list[dict]:
    sys.path.insert(0, str(HERE.parent))
    from refimpl.commands.bench_speculative import OPENINGS
    from refimpl.engine.beam import BeamParams, beam_search
    from refimpl.engine.llm import LLM
    from refimpl.model.find import find_model
    from refimpl.model.load import load

    llm, rows = LLM(load(find_model("tiny"))), []
    for width in (2, 4, 6, 8):
        params = BeamParams(width=width, max_tokens=64, ignore_eos=True)
        sharing = [one.sharing for one in beam_search(llm, OPENINGS, params)]
        named, distinct, copies = (
            sum(getattr(one, name) for one in sharing)
            for name in ("n_named", "n_distinct", "n_copies")
        )
        rows.append({"width": width, "saved": 1 - distinct / named, "copies": copies})
    return rows


def machine() -> dict:
    names = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return {"cpu": names[0] if names else "unknown", "cores": os.cpu_count()}


def speculation_table(case: dict) -> str:
    head = (
        f"{case['text'].capitalize()}, temperature {case['temperature']:g}, {case['backend']}"
        f"{', act=q8' if case['act'] == 'q8' else ''}; a step with {case['guesses']} "
        f"guesses of the draft model costs {case['costs'][-1]:.2f} plain ones:\n\n"
        "| | tokens a step | guesses right, % | tokens/s | speed-up | the plain text |\n"
        "|---|---|---|---|---|---|\n"
    )
    return head + "\n".join(
        f"| {row['way']} | {row['tokens_per_step']:.2f} | "
        f"{'' if row['way'] == 'plain' else format(100 * row['rate'], '.1f')} | "
        f"{row['tokens_per_second']:.0f} | {row['speed_up']:.2f} | "
        f"{'yes' if row['is_same_text'] else 'no'} |"
        for row in case["rows"]
    )


def lengths_table(case: dict) -> str:
    """How many guesses were right, of the draft model's with a fixed length."""
    row = next(row for row in case["rows"] if row["way"] == f"draft model, {case['guesses']}")
    total = sum(row["accepted"].values())
    counts = [row["accepted"].get(str(n), 0) for n in range(case["guesses"] + 1)]
    return (
        f"| right guesses | {' | '.join(map(str, range(len(counts))))} |\n"
        f"|---{'|---' * len(counts)}|\n"
        f"| drafts, % | {' | '.join(f'{100 * n / total:.0f}' for n in counts)} |"
    )


def beams_table(rows: list[dict]) -> str:
    def published(width: int, which: int) -> str:
        value = PUBLISHED.get(width, (None, None))[which]
        return "" if value is None else str(value)

    lines = [
        f"| {row['width']} | {100 * row['saved']:.1f} | {row['copies']} | "
        f"{published(row['width'], 0)} | {published(row['width'], 1)} |"
        for row in rows
    ]
    return (
        "| beams | blocks saved, % | blocks copied | published: Alpaca | ShareGPT |\n"
        "|---|---|---|---|---|\n" + "\n".join(lines)
    )


def write(data: dict) -> None:
    page = PAGE.read_text()
    parts = {
        "speculation": "\n\n".join(map(speculation_table, data["speculation"])),
        "lengths": lengths_table(data["speculation"][1]),
        "beams": beams_table(data["beams"]),
        "machine": f"Measured on {data['machine']['cpu']}, one thread of {data['machine']['cores']}"
        " cores shared with other work, medians of three.",
    }
    for name, text in parts.items():
        place = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        page = place.sub(lambda found, text=text: f"{found[1]}{text}\n{found[2]}", page)
    PAGE.write_text(page)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="do not measure again")
    if not parser.parse_args().write:
        data = {"machine": machine(), "speculation": speculation(), "beams": beams()}
        DATA.write_text(json.dumps(data, indent=1) + "\n")
    write(json.loads(DATA.read_text()))


if __name__ == "__main__":
    main()
