"""A finite-state machine as a picture, and a generation walking through it.

States stand in columns by their distance from the start.  Moves between the same two states share
an arrow, labelled with their characters.  `page` makes one HTML page that needs nothing else: under
the machine runs the text, token by token, with the states each token passes and the tokens that
would have been allowed in its place.

>>> from refimpl.grammar.fsm import minimal
>>> from refimpl.grammar.regex import Regexes
>>> label(minimal(Regexes(), "[a-fx]").moves[0], 1)
'a-f x'
>>> place(minimal(Regexes(), "ab|c"))
[(0, 0.0), (1, -0.5), (1, 0.5)]
"""

import json
from dataclasses import dataclass
from html import escape

from refimpl.grammar.charset import MAX_CODE_POINT
from refimpl.grammar.fsm import Fsm, Moves

DX, DY, R = 124, 84, 20


@dataclass(frozen=True, kw_only=True)
class Stop:
    """One token of the generation: its text, the states it passed, and what else was allowed."""

    token: str
    states: list[int]
    n_allowed: int
    allowed: list[str]


def label(moves: Moves, target: int) -> str:
    """The characters that lead to a target, shortened."""
    parts = [_range(lo, hi) for lo, hi, t in moves if t == target]
    rest = len(parts) - 3
    return " ".join(parts[:3]) + (f" +{rest}" if rest > 0 else "")


def _range(lo: int, hi: int) -> str:
    if hi == MAX_CODE_POINT:
        return f"{_shown(lo)}-…"
    return _shown(lo) if lo == hi else f"{_shown(lo)}-{_shown(hi)}"


def _shown(code_point: int) -> str:
    c = chr(code_point)
    if c == " ":
        return "␣"
    return c if c.isprintable() and code_point < 0x250 else f"U+{code_point:04X}"


def place(fsm: Fsm) -> list[tuple[int, float]]:
    """(column, row) of each state: columns by distance, rows around the middle of the column."""
    distance = {fsm.start: 0}
    for state in (todo := [fsm.start]):
        for _, _, target in fsm.moves[state]:
            if target not in distance:
                distance[target] = distance[state] + 1
                todo.append(target)
    columns: dict[int, list[int]] = {}
    for state in todo:
        columns.setdefault(distance[state], []).append(state)
    rows = {s: i - (len(c) - 1) / 2 for c in columns.values() for i, s in enumerate(c)}
    return [(distance[s], rows[s]) for s in range(len(fsm.moves))]


def svg(fsm: Fsm) -> str:
    """The machine; arrows and states carry ids, so that a script can light them."""
    at = place(fsm)
    top = max(abs(row) for _, row in at) + 1.2
    points = [(70.0 + DX * column, DY * (row + top)) for column, row in at]
    width, height = 140 + DX * max(c for c, _ in at), int(2 * DY * top)
    parts = [arrow(fsm, points, s, t) for s in range(len(at)) for t in targets(fsm, s)]
    for state, (x, y) in enumerate(points):
        ring = f'<circle cx="{x}" cy="{y}" r="{R - 4}"/>' if state in fsm.accepting else ""
        parts.append(
            f'<g class="state" id="s{state}"><circle cx="{x}" cy="{y}" r="{R}"/>{ring}'
            f'<text x="{x}" y="{y + 5}">{state}</text></g>'
        )
    x, y = points[fsm.start]
    parts.append(f'<path class="begin" d="M{x - R - 34},{y} H{x - R - 3}"/>')
    return (
        f'<svg viewBox="0 0 {width} {height}"><defs><marker '
        'id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerUnits="userSpaceOnUse" markerWidth="9" '
        'markerHeight="9" '
        'orient="auto-start-reverse"><path d="M0,0 L8,4 L0,8 z"/></marker></defs>'
        f"{''.join(parts)}</svg>"
    )


def targets(fsm: Fsm, state: int) -> list[int]:
    return list(dict.fromkeys(t for _, _, t in fsm.moves[state]))


def arrow(fsm: Fsm, points: list[tuple[float, float]], source: int, target: int) -> str:
    """One arrow: over the state itself, straight on, or in a bow."""
    (x, y), (u, v) = points[source], points[target]
    text = escape(label(fsm.moves[source], target))
    if source == target:
        path = f"M{x - 10},{y - R + 2} C{x - 26},{y - 62} {x + 26},{y - 62} {x + 10},{y - R + 1}"
        spot = (x, y - 54)
    elif u - x == DX:
        path = f"M{x + R},{y} C{x + DX / 2},{y} {u - DX / 2},{v} {u - R - 2},{v}"
        spot = ((x + u) / 2, (y + v) / 2 - 7)
    elif u == x:  # up or down in the same column
        sign = 1 if v > y else -1
        side = 30 * sign
        path = (
            f"M{x + sign * 14},{y + sign * 14} C{x + side + 8 * sign},{y + sign * 34} "
            f"{x + side + 8 * sign},{v - sign * 34} {x + sign * 15},{v - sign * 15}"
        )
        spot = (x + side + 6 * sign, (y + v) / 2)
    else:  # to another column far away, or back
        bend = 46 + abs(u - x) * 0.22 if u <= x else -46 - abs(u - x) * 0.16
        sign = 1 if bend > 0 else -1
        path = (
            f"M{x},{y + sign * R} C{x},{y + bend + sign * R} {u},{v + bend + sign * R} "
            f"{u},{v + sign * (R + 2)}"
        )
        spot = ((x + u) / 2, (y + v) / 2 + bend * 0.75 + sign * R + 4)
    return (
        f'<g class="move" id="m{source}-{target}"><path d="{path}" marker-end="url(#tip)"/>'
        f'<text x="{spot[0]}" y="{spot[1]}">{text}</text></g>'
    )


def page(pattern: str, fsm: Fsm, walk: list[Stop], style: str) -> str:
    """The whole page."""
    data = json.dumps([vars(stop) for stop in walk]).replace("<", "\\u003c")
    n = len(fsm.moves)
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Automaton</title>
<style>{style}{_STYLE}</style>
<header>
<h1>Automaton</h1>
<p>The smallest machine for <code>{escape(pattern)}</code>: {n} states. A double ring may end the
text. The text below was sampled from a model; before each token, every token that the machine
cannot read is forbidden.</p>
<nav><button id="back" aria-label="one token back">&#9664;</button><button id="next"
aria-label="one token on">&#9654;</button><output id="number"></output></nav>
<p id="tokens"></p><ul id="story"></ul>
</header>
<main id="stage">{svg(fsm)}</main>
<script type="application/json" id="data">{data}</script>
<script>{_SCRIPT}</script>
</html>
"""


_STYLE = """
#stage svg { width: 100%; height: auto; max-height: 62vh; }
#tokens { margin: 16px 0 0; font: 17px/2 var(--mono); color: var(--ink); }
#tokens span { padding: 2px 3px; border-radius: 5px; box-shadow: inset 0 0 0 1px var(--line);
  margin-right: 2px; white-space: pre; color: #b9b2a5; cursor: pointer; }
#tokens span.past { color: var(--ink); }
#tokens span.now { color: var(--ink); background: #ffe3a8; }
#story li { font-family: var(--mono); white-space: pre; }
.state circle { fill: var(--card); stroke: var(--soft); stroke-width: 1.4; }
.state text { text-anchor: middle; font-size: 13px; }
.state.past circle { fill: #fff3d6; }
.state.now circle { fill: #ffd27a; stroke: var(--ink); }
.move path { fill: none; stroke: #c9c1b2; stroke-width: 1.4; }
.move text { text-anchor: middle; font: 12px var(--mono); fill: var(--soft); paint-order: stroke;
  stroke: var(--paper); stroke-width: 4px; }
.move.now path { stroke: #c77700; stroke-width: 2.6; }
.move.now text { fill: var(--ink); }
.begin { stroke: var(--soft); marker-end: url(#tip); }
marker path { fill: #9a9182; }
"""

_SCRIPT = """
const walk = JSON.parse(document.getElementById("data").textContent);
const by = (id) => document.getElementById(id);
let at = 0;
walk.forEach((stop, i) => {
  const span = document.createElement("span");
  span.textContent = stop.token;
  span.onclick = () => show(i);
  by("tokens").append(span);
});
function show(i) {
  if (!walk.length) return;
  at = Math.max(0, Math.min(walk.length - 1, i));
  const stop = walk[at];
  by("number").textContent = `token ${at + 1} of ${walk.length}`;
  [...by("tokens").children].forEach((span, j) =>
    span.className = j < at ? "past" : j === at ? "now" : "");
  document.querySelectorAll(".state, .move").forEach((g) => g.classList.remove("now", "past"));
  stop.states.forEach((s, j) => {
    by("s" + s).classList.add(j === stop.states.length - 1 ? "now" : "past");
    if (j) by("m" + stop.states[j - 1] + "-" + s)?.classList.add("now");
  });
  by("story").replaceChildren(...[`${stop.n_allowed} tokens allowed`, ...stop.allowed].map((t) => {
    const li = document.createElement("li");
    li.textContent = t;
    return li;
  }));
}
by("back").onclick = () => show(at - 1);
by("next").onclick = () => show(at + 1);
document.onkeydown = (e) => {
  if (e.key === "ArrowLeft") show(at - 1);
  if (e.key === "ArrowRight") show(at + 1);
};
show(0);
"""
