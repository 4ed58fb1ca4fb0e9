"""One self-contained HTML page: the log as data, the style, and the script that draws it."""

import json
from html import escape

from refimpl.engine.show import view_blocks, view_radix, view_schedule
from refimpl.engine.show.record import Log
from refimpl.engine.show.script import HELPERS, SLIDER
from refimpl.engine.show.style import STYLE

VIEWS = {  # title, explanation, script
    "blocks": (
        "Blocks",
        "Where every token lives. A card is a block of the pool: its tokens, and who reads it. On "
        "the left are the requests; a request's table says which blocks hold its tokens, in order.",
        view_blocks.SCRIPT,
    ),
    "radix": (
        "Radix tree",
        "Every cached sequence is a path from the left. Locked nodes are in use; the others may be "
        "evicted, leaves first, the one used longest ago before the rest.",
        view_radix.SCRIPT,
    ),
    "schedule": (
        "Schedule",
        "Each column is a step: how its budget of tokens was dealt out. Running requests come "
        "first; a long prompt is computed in pieces, in what they leave.",
        view_schedule.SCRIPT,
    ),
}


def page(view: str, log: Log) -> str:
    """The picture of a run."""
    title, explanation, script = VIEWS[view]
    data = json.dumps({"view": view, "header": log[0], "steps": log[1:]}).replace("<", "\\u003c")
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{STYLE}</style>
<header>
<h1>{escape(title)}</h1>
<p>{escape(explanation)}</p>
<nav>
<button id="back" aria-label="one step back">&#9664;</button>
<button id="play" aria-label="play">play</button>
<button id="next" aria-label="one step on">&#9654;</button>
<input id="slider" type="range" min="0" value="0" aria-label="step">
<output id="number"></output>
</nav>
<ul id="story"></ul>
</header>
<main id="stage"></main>
<script type="application/json" id="data">{data}</script>
<script>{HELPERS}{script}{SLIDER}</script>
</html>
"""
