"""The pool as cards, and every request's table as lines to its blocks.

Lines run in lanes, one lane for each request, between the cards and never across them: from the
request to the gap above the block's row, along the gap, and down into the block.
"""

SCRIPT = r"""
function draw(k) {
  const step = steps[k], before = k ? steps[k - 1].blocks : null;
  const readers = step.blocks.map(() => []);
  for (const r of step.requests) r.table.forEach(b => readers[b].push(r.id));
  const cards = step.blocks.map((block, b) => card(block, b, readers[b], before?.[b]));
  const rows = step.requests.map(r => request(r, step));
  stage.innerHTML = `<svg id="arrows"></svg><div class="split">
    <section><h2>Requests and their block tables</h2>${rows.join("") || "nobody"}</section>
    <section><h2>Pool: ${header.n_blocks} blocks of ${header.block_size}</h2>
      <div class="pool">${cards.join("")}</div></section></div>
    <p class="key"><b>reader</b> a table that names the block &ensp;
    <b>cached</b> kept for its contents, read by nobody: found again, or evicted &ensp;
    <b>free</b> what it holds does not count &ensp; <b>outlined</b> changed in this step &ensp;
    <b>dashed line</b> copied</p>`;
  arrows(step);
}

function request(r, step) {
  const colour = colours[r.id], cells = r.table.map(b => `<i data-to="${b}"
    style="border-color:${colour};color:${colour}">${b}</i>`);
  const said = computed(r, step), drawn = step.news.filter(n => n.id === r.id && n.token !== null);
  const status = r.status === "running"
    ? `${r.n_computed} of ${r.n_tokens} tokens computed` : r.status;
  const words = said.length ? `<p class="said"><span>${text(say(said.slice(0, r.n_prompt)))}</span>
    ${text(say(said.slice(r.n_prompt)))}<u>${text(drawn.map(n => word(n.token)).join(""))}</u></p>`
    : "";
  return `<div class="request ${r.status}" data-id="${text(r.id)}"><div class="name">
    <span>${name(r.id)}</span><span>${status}</span></div>
    <div class="table">${cells.join("")}</div>${words}</div>`;
}

function card([state, refs, tokens], b, readers, was) {
  const changed = was && (was[0] !== state || was[1] !== refs);
  const stripes = readers.map((id, i) => `<div class="stripe" style="background:${colours[id]};
    top:${100 * i / readers.length}%;height:${100 / readers.length}%"></div>`);
  const cells = tokens.map(t =>
    `<span class="${t === null ? "empty" : ""}">${text(word(t))}</span>`);
  return `<div class="block ${state} ${changed ? "changed" : ""}" id="block-${b}">
    ${stripes.join("")}<div class="top"><span>${b}</span>
    <span>${state === "used" ? plural(refs, "reader") : state}</span></div>
    <div class="cells">${cells.join("")}</div></div>`;
}

// A line through these points, its corners rounded.
function bent(points) {
  let d = `M${points[0]}`;
  for (let i = 1; i + 1 < points.length; i++) {
    const [[ax, ay], [x, y], [bx, by]] = points.slice(i - 1, i + 2);
    const r = Math.min(6, Math.hypot(x - ax, y - ay) / 2, Math.hypot(bx - x, by - y) / 2);
    const from = [x - r * Math.sign(x - ax), y - r * Math.sign(y - ay)];
    const to = [x + r * Math.sign(bx - x), y + r * Math.sign(by - y)];
    d += `L${from}Q${[x, y]} ${to}`;
  }
  return d + `L${points.at(-1)}`;
}

function arrows(step) {
  const svg = document.getElementById("arrows"), origin = stage.getBoundingClientRect();
  const box = el => {
    const { left, right, top, bottom } = el.getBoundingClientRect();
    return { left: left - origin.left, right: right - origin.left, top: top - origin.top,
      bottom: bottom - origin.top };
  };
  const block = b => box(document.getElementById("block-" + b));
  const edge = block(0).left;
  let html = `<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6"
    markerHeight="6" orient="auto"><path d="M0 0 8 4 0 8z" fill="context-stroke"/></marker></defs>`;
  const line = (points, style) => `<path fill="none" d="${bent(points)}"
    marker-end="url(#tip)" ${style}/>`;
  const rows = [...stage.querySelectorAll(".request")];
  rows.forEach((row, i) => {
    const lane = i % 6, from = box(row), id = row.dataset.id;
    [...row.querySelectorAll("[data-to]")].forEach((cell, j, cells) => {
      const to = block(cell.dataset.to), gap = to.top - 5 - 3.2 * (5 - lane);
      const y = from.top + (from.bottom - from.top) * (j + 1) / (cells.length + 1);
      const turn = edge - 14 - 7 * lane, x = to.left + 22 + 17 * lane;
      html += line([[from.right, y], [turn, y], [turn, gap], [x, gap], [x, to.top]],
        `stroke="${colours[id]}" stroke-width="1.5" opacity=".75" data-of="${text(id)}"`);
    });
  });
  for (const [kind, src, dst] of step.moves)
    if (kind === "Copy") {
      const a = block(src), b = block(dst), y = a.bottom + 7;
      html += line([[a.right - 30, a.bottom], [a.right - 30, y], [b.right - 30, y],
        [b.right - 30, b.bottom]], `stroke="${INK}" stroke-width="1.7" stroke-dasharray="4 3"`);
    }
  svg.innerHTML = html;
  for (const row of rows) {
    const dim = on => svg.querySelectorAll("[data-of]").forEach(path => path.setAttribute(
      "opacity", !on ? .75 : path.dataset.of === row.dataset.id ? 1 : .08));
    row.onmouseenter = () => dim(true);
    row.onmouseleave = () => dim(false);
  }
}
"""
