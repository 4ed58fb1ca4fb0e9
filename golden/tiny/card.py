"""Write the measured parts of docs/tiny.md from docs/tiny.json, and draw the curves.

    python -m golden.tiny.card            rewrite the parts between the card's markers
    python -m golden.tiny.card --check    exit with status 1 if that would change it

`docs/tiny.json` is what `evaluate` measured; `docs/tiny-training.json` is what the training runs
recorded of themselves, and their examination with PyTorch on the GPU.
"""

import json
import sys
import textwrap
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
CARD, CURVES = DOCS / "tiny.md", DOCS / "tiny-curves.svg"


def prose(text: str) -> str:
    return textwrap.fill(text, 98, break_on_hyphens=False, break_long_words=False)


def percent(share: float) -> str:
    return f"{100 * share:.1f}"


def interval(low: float, high: float) -> str:
    return f"{percent(low)}-{percent(high)}"


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def files(measured: dict, training: dict) -> str:
    parameters = {
        "tiny": training["stage1"]["parameters"],
        "tiny-draft": training["draft"]["parameters"],
    }
    return table(
        ["file", "parameters", "bytes", "sha256"],
        [
            [f"`{name}.gguf`", f"{parameters[name]:,}", f"{file['bytes']:,}", f"`{file['sha256']}`"]
            for name, file in measured["files"].items()
        ],
    )


def skills(measured: dict, training: dict) -> str:
    """One line a skill; on the right the larger examination on the GPU."""
    here = {(r["skill"], r["form"]): r for r in measured["exam"]}
    there = {(r["skill"], r["form"]): r for r in training["exam"]}
    rows = []
    for name in dict.fromkeys(r["skill"] for r in measured["exam"]):
        think, direct = here[name, "think"], here[name, "direct"]
        rows.append(
            [
                name,
                f"**{percent(think['share'])}** ({interval(*think['interval'])})",
                f"{think['tokens']:.0f}",
                f"{percent(direct['share'])} ({interval(*direct['interval'])})",
                f"{direct['tokens']:.0f}",
                f"{percent(there[name, 'think']['share'])} / "
                f"{percent(there[name, 'direct']['share'])}",
            ]
        )
    n, m = measured["exam"][0]["samples"], training["exam"][0]["samples"]
    head = ["skill", "thinking, %", "tokens", "directly, %", "tokens", f"GPU, n = {m}"]
    words = (
        f"n = {n} held-out questions for each skill and form, engine: {measured['engine']}; in "
        f"brackets the 95 % interval (Wilson)."
    )
    return f"{prose(words)}\n\n{table(head, rows)}"


def stories(measured: dict, training: dict) -> str:
    rows = [
        [
            f"`{name}`",
            f"{loss['nats_per_byte']:.4f}",
            f"{loss['bits_per_byte']:.4f}",
            f"{loss['nats_per_token']:.3f}",
            f"{loss['stories']} stories, {loss['bytes']:,} bytes",
        ]
        for name, loss in measured["loss"].items()
    ]
    head = ["model", "nats per byte", "bits per byte", "nats per token", "measured on"]
    asked, whole = measured["requests"], training["stage2"]["curve"][-1]
    words = (
        f"On all held-out stories, before its weights were rounded to Q8_0, `tiny` had "
        f"{whole['held_out_nats_per_byte']:.4f} nats per byte (the training run's own record). "
        f"Asked for a story about an animal, it speaks of that animal in {asked['right']} of "
        f"{asked['samples']} greedy stories ({interval(*asked['interval'])} %)."
    )
    return f"{table(head, rows)}\n\n{prose(words)}"


def draft(measured: dict) -> str:
    d = measured["draft"]
    return prose(
        f"After the first third of {d['stories']} held-out stories the target goes on greedily, "
        f"for {d['tokens']:,} tokens in all. The draft's own choice, given the same text, is the "
        f"target's for **{percent(d['share'])} %** of them ({interval(*d['interval'])}); between "
        f"two mistakes it is right {d['mean_run']} times in a row on average."
    )


def samples(measured: dict) -> str:
    parts = []
    for seed, story in enumerate(measured["samples"]):
        quoted = "\n>\n".join(textwrap.indent(prose(line), "> ") for line in story.splitlines())
        parts.append(f"**Seed {seed}**\n\n{quoted}")
    return "\n\n".join(parts)


def rewritten(card: str, measured: dict, training: dict) -> str:
    parts = {
        "files": files(measured, training),
        "skills": skills(measured, training),
        "stories": stories(measured, training),
        "draft": draft(measured),
        "samples": samples(measured),
    }
    for name, text in parts.items():
        before, marker, rest = card.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition("<!-- end -->")
        assert marker and end, f"the card has no place for {name}"
        card = f"{before}{marker}{text}\n{end}{after}"
    return card


def draw(training: dict) -> None:
    """Held-out and training loss of the stories, and the skills' loss, against tokens read."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    plt.rcParams["svg.hashsalt"] = "tiny"
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    before = 0
    for stage in ("stage1", "stage2"):
        curve = training[stage]["curve"]
        tokens = [(before + record["tokens"]) / 1e6 for record in curve]
        left.plot(tokens, [r["held_out_nats_per_byte"] for r in curve], color="C0")
        right.plot(tokens, [r["skills"] for r in curve], color="C2")
        before += curve[-1]["tokens"]
        for axes in (left, right):
            axes.axvline(before / 1e6, color="0.85", zorder=0)
    left.set(title="Held-out stories", ylabel="nats per byte", ylim=(0.45, 0.8))
    right.set(title="Skills, fresh questions", ylabel="nats per token", yscale="log")
    for axes in (left, right):
        axes.set_xlabel("tokens read, millions")
    figure.savefig(CURVES, metadata={"Date": None})


def main() -> int:
    measured = json.loads((DOCS / "tiny.json").read_text())
    training = json.loads((DOCS / "tiny-training.json").read_text())
    old = CARD.read_text(encoding="utf-8")
    new = rewritten(old, measured, training)
    if "--check" in sys.argv:
        return int(new != old)
    CARD.write_text(new, encoding="utf-8")
    draw(training)
    return 0


if __name__ == "__main__":
    sys.exit(main())
