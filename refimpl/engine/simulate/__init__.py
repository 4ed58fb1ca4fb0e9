"""The published tables, made again: the real scheduler, pools and trees, and no model.

    waste        how much of the memory holds tokens: contiguous allocation against blocks
    sharing      blocks saved when the samples of a prompt share it
    hits         cache hit rate of SGLang's workloads, by scheduling policy
    starvation   how long a request waits that shares nothing with anybody
    traces       hit rate against cache size on a trace of real block hashes

Each is a function from options to a `Table`, which prints itself, and writes CSV, JSON and a plot.

>>> table = run("sharing", n_requests=1, samples=(2,))
>>> table.columns
('lengths', 'samples', 'saved %', 'published %')
"""

from collections.abc import Callable
from typing import Any

from refimpl.engine.simulate.hits import hits
from refimpl.engine.simulate.sharing import sharing
from refimpl.engine.simulate.starvation import starvation
from refimpl.engine.simulate.table import Table
from refimpl.engine.simulate.traces import traces
from refimpl.engine.simulate.waste import waste
from refimpl.errors import InputError

SIMULATIONS: dict[str, Callable[..., Table]] = {
    "waste": waste,
    "sharing": sharing,
    "hits": hits,
    "starvation": starvation,
    "traces": traces,
}


def run(name: str, **options: Any) -> Table:
    """One of the tables, by name."""
    if name not in SIMULATIONS:
        raise InputError(f"no simulation {name!r}: choose one of {', '.join(SIMULATIONS)}")
    return SIMULATIONS[name](**options)
