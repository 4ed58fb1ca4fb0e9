"""Pictures of a run: `record` writes what happened, `page` draws it, `demo` has runs worth drawing.

    blocks      the pool with its owners and counts, and block tables as arrows into it
    radix       the tree with hits, splits, locks and evictions
    schedule    each step's budget, and who got what of it

A page is one HTML file that needs nothing else.

>>> from refimpl.engine.llm import LLM
>>> from refimpl.oracle.models import random_model
>>> from refimpl.sampling import SamplingParams
>>> llm = LLM(random_model("llama", seed=0), n_blocks=8, record=True)
>>> _ = llm.generate([1, 2, 3], SamplingParams(max_tokens=2))
>>> html = picture("schedule", llm.log)
>>> html.startswith("<!doctype html>") and "http" not in html.split("<svg")[0]
True
"""

from pathlib import Path

from refimpl.engine.show.page import VIEWS, page
from refimpl.engine.show.record import Log, read
from refimpl.errors import InputError


def picture(view: str, log: Log | Path | None = None) -> str:
    """The page of one view: of a recorded run, or of one on the embedded model."""
    if view not in VIEWS:
        raise InputError(f"no picture {view!r}: choose one of {', '.join(VIEWS)}")
    if log is None:
        from refimpl.engine.show.demo import demonstration  # it runs an engine, which records

        log = demonstration(view)
    return page(view, read(log) if isinstance(log, Path) else log)
