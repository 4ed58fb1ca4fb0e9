"""Write docs/mutants.md: every planted bug, and who catches it.

    python docs/make_mutants.py            rewrite the page
    python docs/make_mutants.py --check    exit with status 1 if it would change

The list is the one that tests/meta runs, so what the page says has been tested.
"""

import sys
from itertools import groupby
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from tests.meta.mutants import MUTANTS  # noqa: E402

PAGE = ROOT / "docs" / "mutants.md"
HEAD = """# Planted bugs, and who catches them

A test that cannot fail proves nothing. So {n} bugs are planted, one at a time, one line each, in
{mechanisms} mechanisms, and `python -m pytest tests/meta` checks that the one named here catches
each of them. `conform` is a check of the suite ([conformance.md](conformance.md)) on a backend that
has the bug, compared with a reference that has not; anything else is a test or the examples in a
file's docstring. One survivor fails the build.

This page is written by `docs/make_mutants.py`.
"""


def page() -> str:
    """The whole text."""
    ordered = sorted(MUTANTS, key=lambda m: m.mechanism)
    groups = [(name, list(group)) for name, group in groupby(ordered, lambda m: m.mechanism)]
    text = HEAD.format(n=len(MUTANTS), mechanisms=len(groups))
    for mechanism, group in groups:
        text += f"\n## {mechanism[0].upper()}{mechanism[1:]}\n\n"
        text += "| bug | in | instead of | stands | caught by |\n|---|---|---|---|---|\n"
        for m in group:
            words = m.name.replace("_", " ")
            file = m.file.removeprefix("refimpl/")
            cells = (words, code(file), code(m.old), code(m.new), code(short(m.caught_by)))
            text += f"| {' | '.join(cells)} |\n"
    return text


def code(text: str) -> str:
    """One line of code in a cell of a table."""
    line = " ".join(text.split()).replace("|", "\\|")
    return f"`{line}`" if line else "nothing"


def short(catcher: str) -> str:
    """A test's own name is enough to find it."""
    return catcher.split("::")[-1]


def main() -> None:
    text = page()
    if "--check" in sys.argv:
        raise SystemExit(PAGE.read_text() != text)
    PAGE.write_text(text)


if __name__ == "__main__":
    main()
