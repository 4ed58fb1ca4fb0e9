"""docs/engine.md says what was measured, as docs/engine.json and docs/engine-cost.json have it."""

import json

from docs.make_engine import COST_PLOTS, DOCS, PLOTS, page
from refimpl.engine.simulate.table import Table

TOLD = json.loads((DOCS / "engine.json").read_text())
COST = json.loads((DOCS / "engine-cost.json").read_text())


def test_the_page_is_up_to_date():
    assert page(TOLD, COST) == (DOCS / "engine.md").read_text(), "run: python docs/make_engine.py"


def test_the_plots_are_up_to_date():
    plots = {file: TOLD[name] for name, file in PLOTS.items()}
    titles = {one["title"]: one for one in COST["tables"]}
    plots |= {f"cost-{file}": titles[title] for title, file in COST_PLOTS.items()}
    for file, told in plots.items():
        assert Table.of(told).svg() == (DOCS / f"engine-{file}.svg").read_text()


def test_the_growth_that_is_claimed_is_the_growth_of_the_points():
    """Flat: no curve grows faster than the cube root of the size, over two to four decades."""
    for told in COST["tables"]:
        powers = [float(note.rsplit(" ", 1)[1]) for note in told["notes"]]
        assert all(power < 1 / 3 for power in powers), told["title"]
