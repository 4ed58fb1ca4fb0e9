"""What a page does: a slider over the steps, and one drawing function for each view."""

SCRIPT = r"""
const { view, header, steps } = JSON.parse(document.getElementById("data").textContent);
const PALETTE = ["#2f6fd0", "#c8553d", "#2c8c6a", "#8b57c9",
  "#c28a12", "#2592a3", "#b84a86", "#667788"];
const stage = document.getElementById("stage"), slider = document.getElementById("slider");
const colours = {};
for (const step of steps)
  for (const { id } of [...step.requests, ...step.shares])
    colours[id] ??= PALETTE[Object.keys(colours).length % PALETTE.length];

const word = t => t === null || t === undefined ? "" : header.words[t] ?? String(t);
const text = s => s.replace(/[&<>"]/g, c => "&#" + c.charCodeAt(0) + ";");
const chip = id => `<span class="chip" style="background:${colours[id]}"></span>`;
const name = id => `${chip(id)}<b>${text(id)}</b>`;
const plural = (n, what) => `${n} ${what}${n === 1 ? "" : "s"}`;

// ---- what happened, in words

function story(k) {
  const step = steps[k], before = k ? steps[k - 1].requests : [];
  const known = new Map(before.map(r => [r.id, r])), lines = [];
  for (const share of step.shares) {
    const was = known.get(share.id), came = !was || was.status !== "running";
    const hit = came && share.start ? `, ${share.start} found in the cache` : "";
    const drew = share.draws.length > 1 ? `, ${share.draws.length} samples drawn` : "";
    lines.push([came ? "good" : "", `${name(share.id)} ${came ? "starts: " : ""}`
      + `computes ${plural(share.n, "token")}${hit}${drew}`]);
  }
  for (const [kind, src, dst, id] of step.moves)
    lines.push(["", `${name(id)} block ${src} ${{ Copy: "copied to", SwapOut: "saved to host block",
      SwapIn: "brought back to" }[kind]} ${dst}`]);
  for (const id of step.preempted) lines.push(["warn", `${name(id)} gives way`]);
  for (const { id, finish } of step.news)
    if (finish) lines.push(["", `${name(id)} ends (${finish})`]);
  for (const r of step.requests)
    if (r.status === "waiting" && !step.preempted.includes(r.id))
      lines.push(["", `${name(r.id)} waits`]);
  return lines.map(([kind, html]) => `<li class="${kind}">${html}</li>`).join("");
}

// ---- blocks: the pool, and tables as arrows into it

function blocks(k) {
  const step = steps[k], before = k ? steps[k - 1].blocks : null;
  const readers = step.blocks.map(() => []);
  for (const r of step.requests) r.table.forEach(b => readers[b].push(r.id));
  const rows = step.requests.map(r => {
    const cells = r.table.map(b => `<i data-from="${text(r.id)}" data-to="${b}"
      style="border-color:${colours[r.id]};color:${colours[r.id]}">${b}</i>`);
    const status = r.status === "running"
      ? `${r.n_computed} of ${r.n_tokens} tokens computed` : r.status;
    return `<div class="request ${r.status}"><div class="name"><span>${name(r.id)}</span>
      <span>${status}</span></div><div class="table">${cells.join("")}</div></div>`;
  });
  const cards = step.blocks.map(([state, refs, tokens], b) => {
    const changed = before && (before[b][0] !== state || before[b][1] !== refs);
    const stripes = readers[b].map((id, i) => `<div class="stripe" style="background:${colours[id]};
      top:${100 * i / readers[b].length}%;height:${100 / readers[b].length}%"></div>`);
    const cells = tokens.map(t =>
      `<span class="${t === null ? "empty" : ""}">${text(word(t))}</span>`);
    return `<div class="block ${state} ${changed ? "changed" : ""}" id="block-${b}">
      ${stripes.join("")}<div class="top"><span>${b}</span>
      <span>${state === "used" ? plural(refs, "reader") : state}</span></div>
      <div class="cells">${cells.join("")}</div></div>`;
  });
  stage.innerHTML = `<svg id="arrows"></svg><div class="split">
    <section><h2>Requests</h2>${rows.join("") || "nobody"}</section>
    <section><h2>Pool</h2><div class="pool">${cards.join("")}</div></section></div>
    <p class="key"><b>reader</b> a table that names the block &ensp;
    <b>cached</b> full, named by its hash, read by nobody: found again, or evicted &ensp;
    <b>free</b> what it holds does not count &ensp; <b>outlined</b> changed in this step &ensp;
    <b>dashed arrow</b> copied</p>`;
  arrows(step);
}

function arrows(step) {
  const svg = document.getElementById("arrows"), origin = stage.getBoundingClientRect();
  const edge = (el, side, part) => {
    const box = el.getBoundingClientRect();
    return [box[side] - origin.left, box.top + box.height * part - origin.top];
  };
  const block = b => document.getElementById("block-" + b);
  let html = `<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7"
    markerHeight="7" orient="auto"><path d="M0 0 8 4 0 8z" fill="context-stroke"/></marker></defs>`;
  const line = ([x1, y1], [x2, y2], bend, { style, back = -bend }) => `<path fill="none"
    d="M${x1} ${y1} C${x1 + bend} ${y1} ${x2 + back} ${y2} ${x2} ${y2}"
    marker-end="url(#tip)" ${style}/>`;
  for (const row of stage.querySelectorAll(".request")) {
    const cells = [...row.querySelectorAll("[data-to]")];
    cells.forEach((cell, i) => {
      const start = edge(row, "right", (i + 1) / (cells.length + 1));
      const end = edge(block(cell.dataset.to), "left", .5);
      const style = `stroke="${colours[cell.dataset.from]}" stroke-width="1.4" opacity=".5"
        data-of="${text(cell.dataset.from)}"`;
      html += line(start, end, Math.max(34, (end[0] - start[0]) / 2), { style });
    });
  }
  const style = `stroke="#22201c" stroke-width="1.7" stroke-dasharray="4 3"`;
  for (const [kind, src, dst] of step.moves)
    if (kind === "Copy")
      html += line(edge(block(src), "right", .5), edge(block(dst), "right", .5), 24,
        { style, back: 24 });
  svg.innerHTML = html;
  for (const row of stage.querySelectorAll(".request")) {
    const id = row.querySelector("[data-from]")?.dataset.from;
    const dim = on => svg.querySelectorAll("[data-of]").forEach(path =>
      path.setAttribute("opacity", !on ? .5 : path.dataset.of === id ? 1 : .07));
    row.onmouseenter = () => id && dim(true);
    row.onmouseleave = () => dim(false);
  }
}

// ---- radix: the tree from left to right

function radix(k) {
  const step = steps[k], before = new Map((k ? steps[k - 1].tree : []).map(n => [n.id, n]));
  const nodes = new Map(step.tree.map(n => [n.id, { ...n, kids: [] }]));
  const gone = [...before.values()].filter(n => !nodes.has(n.id));
  const root = { id: 0, kids: [], x: 0, w: 46 };
  for (const n of nodes.values()) (nodes.get(n.parent) ?? root).kids.push(n);
  for (const n of [root, ...nodes.values()]) n.kids.sort((a, b) => a.id - b.id);
  for (const n of nodes.values()) dress(n, before);
  const [width, height] = lay_out(root);
  const parts = [...nodes.values()].map(n => tree_node(n, nodes.get(n.parent) ?? root));
  const ghosts = gone.map(n => `<span class="ghost">${text(label(n))}</span>`).join("");
  stage.innerHTML = `${pool_bar(step)}<p class="gone">${ghosts && "evicted: " + ghosts}</p>
    <div style="overflow-x:auto"><svg width="${width}" height="${height}"
      viewBox="-2 -2 ${width} ${height + 6}"><circle cx="30" cy="${root.y + 17}" r="7"
      fill="#22201c"/><path d="M37 ${root.y + 17}h9" stroke="#cfc8ba" stroke-width="1.6"/>
    ${parts.join("")}</svg></div>
    <p class="key"><b style="color:#c28a12">locked</b> a running request reads it &ensp;
    <b style="color:#2f6fd0">used now</b> found or touched in this step &ensp;
    <b style="color:#2c8c6a">new</b> computed in this step &ensp;
    <b style="color:#8b57c9">cut</b> two sequences part inside what was one node</p>`;
}

const label = n => n.tokens.map(t => t in header.words ? header.words[t] : " " + t).join("").trim();

function lay_out(root) {
  let row = 0, right = 0;
  const place = n => {
    for (const kid of n.kids) {
      kid.x = n.x + n.w + 44;
      kid.w = Math.max(22 + 7.4 * label(kid).length, 5.7 * kid.caption.length - 34);
      place(kid);
    }
    n.y = n.kids.length ? (n.kids[0].y + n.kids.at(-1).y) / 2 : 64 * row++;
    right = Math.max(right, n.x + n.w);
  };
  place(root);
  return [Math.max(900, right + 20), Math.max(80, 64 * row + 10)];
}

function dress(n, before) {
  const old = before.get(n.id), tail = [...before.values()].find(o => n.kids.some(kid =>
    kid.id === o.id && kid.tokens.length < o.tokens.length));
  const fill = n.locks ? "#fff0d2" : "#fff";
  let what;
  [n.fill, n.stroke, what] = !old && tail ? [fill, "#8b57c9", "cut"]
    : !old ? ["#e6f4e3", "#2c8c6a", "new"]
    : old.last_used !== n.last_used ? [fill, "#2f6fd0", "used now"]
    : [fill, n.locks ? "#c28a12" : "#cfc8ba", ""];
  const lock = n.locks ? `locked by ${n.locks}` : "";
  n.caption = [plural(n.pages.length, "page"), lock, what].filter(Boolean).join(" · ");
}

function tree_node(n, parent) {
  const x1 = parent.x + parent.w, y1 = parent.y + 17, y2 = n.y + 17, m = (x1 + n.x) / 2;
  return `<path d="M${x1} ${y1} C${m} ${y1} ${m} ${y2} ${n.x} ${y2}" fill="none"
    stroke="${n.locks ? "#c28a12" : "#cfc8ba"}" stroke-width="${n.locks ? 2.4 : 1.6}"/>
    <rect x="${n.x}" y="${n.y}" width="${n.w}" height="34" rx="8" fill="${n.fill}"
      stroke="${n.stroke}" stroke-width="1.8"/>
    <text class="mono" font-size="12.3" x="${n.x + 11}" y="${n.y + 21.5}">${text(label(n))}</text>
    <text class="soft" font-size="11" x="${n.x + 2}" y="${n.y + 48}">${n.caption}</text>`;
}

function pool_bar(step) {
  const kinds = [["used", "#e3b04b", "in use"], ["cached", "#d8d1c3", "cached"],
    ["free", "#f3efe6", "free"]];
  return `<div class="bar">${kinds.map(([state, fill, says]) => {
    const n = step.blocks.filter(b => b[0] === state).length;
    return n ? `<div style="flex:${n} 0 64px;background:${fill}">${n} ${says}</div>` : "";
  }).join("")}</div>`;
}

// ---- schedule: budgets as columns, requests as rows

const WIDE = 30, LEFT = 96, TOP = 14, TALL = 170, ROW = 30;
const column = s => LEFT + WIDE * s, level = n => TOP + TALL - TALL * n / header.budget;
const line_of = i => TOP + TALL + 46 + ROW * i;

function schedule(k) {
  const ids = Object.keys(colours), right = column(steps.length), foot = line_of(ids.length);
  const names = ids.map((id, i) => `<rect x="4" y="${line_of(i) - 5}" width="10" height="10" rx="3"
    fill="${colours[id]}"/><text x="20" y="${line_of(i) + 4.5}" font-size="13">${text(id)}</text>`);
  stage.innerHTML = `<div style="overflow-x:auto"><svg width="${right + 20}" height="${foot}">
    <rect x="${column(k) + 1}" y="0" width="${WIDE - 2}" height="${foot - 12}" rx="7"
      fill="#efeae0"/>${names.join("")}
    ${steps.map((step, s) => `<g opacity="${s > k ? .22 : 1}">${budget_column(step, s)}
      ${ids.map((id, i) => request_cell(step, s, id, i)).join("")}</g>`).join("")}
    <path d="M${LEFT} ${TOP}H${right}" stroke="#22201c" stroke-dasharray="5 4" opacity=".55"/>
    <text x="4" y="${TOP + 4}" font-size="12">budget ${header.budget}</text>
    <path d="M${LEFT} ${level(0)}H${right}" stroke="#cfc8ba"/></svg></div>
    <p class="key"><b>number</b> tokens computed in that step &ensp; <b>pale</b> decoding, one token
    &ensp; <b>○</b> waits &ensp; <b style="color:#c8553d">✕</b> gave way &ensp;
    <b>bar at the right</b> has ended</p>`;
}

function budget_column(step, s) {
  let n = 0;
  const bars = step.shares.map(share => {
    const top = level(n += share.n), tall = Math.max(1, level(n - share.n) - top - 1.6);
    return `<rect x="${column(s) + 4}" y="${top + .8}" width="${WIDE - 8}" height="${tall}" rx="3"
      fill="${colours[share.id]}"/>`;
  });
  return `${bars.join("")}<text class="soft" x="${column(s) + WIDE / 2}" y="${TOP + TALL + 17}"
    text-anchor="middle" font-size="11">${s}</text>`;
}

function request_cell(step, s, id, i) {
  const share = step.shares.find(one => one.id === id);
  const stands = step.requests.find(r => r.id === id);
  const x = column(s) + WIDE / 2, y = line_of(i), at = `x="${x}" y="${y + 4.5}"`;
  const ended = step.news.some(n => n.id === id && n.finish) ? `<path d="M${x + 13} ${y - 11}v22"
    stroke="${colours[id]}" stroke-width="3"/>` : "";
  if (share) return `<rect x="${x - 12}" y="${y - 11}" width="24" height="22" rx="6"
    fill="${colours[id]}" opacity="${share.n > 1 ? 1 : .5}"/><text class="count" ${at}>${share.n}
    </text>${ended}`;
  if (step.preempted.includes(id)) return `<text class="cross" ${at}>✕</text>`;
  if (stands && stands.status !== "running") return `<circle cx="${x}" cy="${y}" r="3.2"
    fill="none" stroke="${colours[id]}" stroke-width="1.5"/>`;
  return ended;
}

// ---- the slider

const draw = { blocks, radix, schedule }[view];
let timer = null;
function show(k) {
  slider.value = k;
  document.getElementById("number").textContent = `step ${k} of ${steps.length - 1}`;
  document.getElementById("story").innerHTML = story(k);
  draw(k);
}
function stop() {
  clearInterval(timer);
  timer = null;
  document.getElementById("play").textContent = "play";
}
slider.max = steps.length - 1;
slider.oninput = () => { stop(); show(+slider.value); };
const move = by => show(Math.min(steps.length - 1, Math.max(0, +slider.value + by)));
document.getElementById("next").onclick = () => { stop(); move(1); };
document.getElementById("back").onclick = () => { stop(); move(-1); };
document.getElementById("play").onclick = () => {
  if (timer) return stop();
  document.getElementById("play").textContent = "pause";
  if (+slider.value === steps.length - 1) show(0);
  timer = setInterval(() => { move(1); if (+slider.value === steps.length - 1) stop(); }, 900);
};
onkeydown = e => { if (e.key === "ArrowRight") move(1); if (e.key === "ArrowLeft") move(-1); };
onresize = () => show(+slider.value);
show(+(location.hash.slice(1) || 0));
"""
